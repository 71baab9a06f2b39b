"""Deletes finished jobs with their results, imported vectors and traits; refused while they are in use."""
