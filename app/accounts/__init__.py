"""Administration of users, groups and keys, and the audit over HTTP. `app.auth` finds out who calls."""
