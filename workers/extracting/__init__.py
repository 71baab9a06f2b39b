"""An extraction job's work: examples and their responses, captured rows, fitted vectors, and the files they end in. No SQL, no HTTP."""
