"""Programs for those who maintain Binnacle. Not installed with it."""
