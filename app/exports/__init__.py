"""Vectors in the formats that others read, written with numpy alone."""
