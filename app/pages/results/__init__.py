"""The content of a finished job's page, by kind. Pure: turns stored numbers into figures and rows."""
