"""Types of the files and results that jobs write and later jobs, pages and reports read: a TypedDict for each JSON object.

Keys that files of earlier versions lack are `NotRequired`. Each writer decides the names and bytes of its files; `tests/terms` compares files
of real jobs with these types.
"""
