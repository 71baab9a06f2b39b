"""Administration of users, groups and keys, and the audit over HTTP. `app.auth` authenticates callers."""
