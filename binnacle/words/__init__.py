"""Words and formats that both sides of the wire must read alike: plain functions on plain data, no imports beyond the standard library."""
