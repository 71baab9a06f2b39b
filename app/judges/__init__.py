"""Judges that an administrator named."""
