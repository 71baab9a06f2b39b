"""What every route shares: keys, bodies, pages of lists, errors, and the words of OpenAPI. Knows no domain."""
