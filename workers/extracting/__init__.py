"""The work of an extraction job: examples and their responses, activation rows, fitted vectors, and the resulting files. No SQL, no HTTP."""
