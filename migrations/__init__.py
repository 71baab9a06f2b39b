"""The history of the schema: one head, numbered revisions, run under an advisory lock by `app.migrate`."""
