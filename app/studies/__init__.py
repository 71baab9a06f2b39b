"""Studies: a graph of jobs and the tables it ends in."""
