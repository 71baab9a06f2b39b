"""Vectors in the formats that others read and write, with numpy alone. Independent of jobs and of the database."""
