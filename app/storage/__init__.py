"""Object storage: stores bytes, tracks the rows that refer to them, and sends them. Independent of jobs and models."""
