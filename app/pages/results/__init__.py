"""What a finished job of each kind shows. Pure: stored numbers in, figures and rows out."""
