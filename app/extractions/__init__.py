"""Extractions, and the vectors that they produce."""
