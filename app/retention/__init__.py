"""Retention: which old results can be removed, and their removal."""
