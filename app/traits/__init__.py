"""Trait datasets: uploaded, versioned by content, listed."""
