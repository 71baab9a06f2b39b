"""Judges that administrators add."""
