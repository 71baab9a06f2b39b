"""A steering job's work, from vectors and questions to runs and their summary. Speaks to the model, the science and a judge; no SQL, no HTTP."""
