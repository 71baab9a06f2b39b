"""Shared by all routes: keys, bodies, pages of lists, errors, and the OpenAPI document. Independent of the domains."""
