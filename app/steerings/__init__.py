"""Steerings: dose-responses of vectors, judged."""
