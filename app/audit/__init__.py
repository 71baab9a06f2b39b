"""The audit: a record of administrative actions."""
