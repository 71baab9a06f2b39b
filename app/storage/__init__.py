"""Bytes of finished work: where they lie, who refers to them, how they are sent. Knows nothing of jobs or models."""
