"""Ranges of characters that are written without spaces between words."""

IDEOGRAMS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Characters of Chinese and Japanese, which write no spaces between words; for character classes of regular expressions."""
