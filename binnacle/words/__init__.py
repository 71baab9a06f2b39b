"""Words and formats shared by both sides of the API: plain functions on plain data, using only the standard library."""
