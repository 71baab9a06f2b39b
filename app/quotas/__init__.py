"""What a user may have and use at once and in a day, and what is used of it."""
