"""Proofs: checks of a model on its own files and weights, before its numbers are trusted. One file for each proof."""
