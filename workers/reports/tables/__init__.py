"""The tables of a study (docs/science.md, 5), built from the gathered results: one file for each question that they answer.

Every number is defined in the note of its table.
"""
