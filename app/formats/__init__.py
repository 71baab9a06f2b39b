"""Vectors in the formats that others read and write, with numpy alone. Knows no jobs and no database."""
