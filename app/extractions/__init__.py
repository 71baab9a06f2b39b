"""Extractions and the vectors they leave."""
