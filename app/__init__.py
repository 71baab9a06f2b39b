"""The service: its HTTP API, pages, database and command line. Imports neither torch nor the workers."""
