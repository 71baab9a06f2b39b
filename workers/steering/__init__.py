"""The work of a steering job, from vectors and questions to runs and their summary. Uses the model, the science and a judge; no SQL, no HTTP."""
