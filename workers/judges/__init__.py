"""Judges of answers: how much of a trait they show, how coherent they are, whether they engage. `base` says what all of them share."""
