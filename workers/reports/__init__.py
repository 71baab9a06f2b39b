"""The report of a study: gathers its jobs' results into tables and recommendations, as JSON, Markdown and one HTML file."""
