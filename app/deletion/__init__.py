"""Deleting one's own: finished jobs with what they made, imported vectors, traits. Refused while something uses them."""
