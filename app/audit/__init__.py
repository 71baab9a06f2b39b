"""Who did what: the record of administrative acts."""
