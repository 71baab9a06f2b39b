"""Steerings: dose-response curves of vectors, scored by a judge."""
