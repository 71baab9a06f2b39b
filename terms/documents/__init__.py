"""Files and results that jobs write and later jobs, pages and reports read: a TypedDict for each object in them.

Keys that files of earlier versions lack are `NotRequired`. What a file's name and its bytes are is up to its writer; `tests/terms` compares
what real jobs write with these types.
"""
