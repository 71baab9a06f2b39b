"""Judges score answers: how much of a trait they show, how coherent they are, whether they engage. `base` holds their common interface."""
