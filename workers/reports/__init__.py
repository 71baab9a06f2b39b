"""A study's end: its jobs' results gathered, tables and recommendations made of them, and written as JSON, Markdown and one HTML file."""
