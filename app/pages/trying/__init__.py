"""The page Try: a prompt, a model and up to four vectors, each at a dose; every try is a generation job."""
