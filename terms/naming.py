"""Which fields of a spec name things: for what refers to a job, and for ids that a retry replaces."""

NAMING = ("job", "extraction", "rows_from", "steering", "id", "version", "digest")
"""Fields, at any depth of a spec, that name jobs, results, vectors or files. A text in another field names nothing, even if it is an id."""
