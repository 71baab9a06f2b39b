"""The tables of a study (docs/science.md, 5), from what was gathered: a file for each question that they answer.

The definition of every number stands in the note of its table.
"""
