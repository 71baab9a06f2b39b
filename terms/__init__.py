"""Vocabulary shared by the HTTP side and the model side: positions, components, methods.

Uses only the standard library, so that a request is checked at submission by the same grammar with which the worker reads it.
"""
