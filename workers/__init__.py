"""Worker nodes: they claim jobs, run models and write results."""
