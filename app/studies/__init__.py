"""Studies: graphs of jobs that end in tables and a report."""
