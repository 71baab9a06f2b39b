"""The list of models that jobs can use, their inspection and their proofs."""
