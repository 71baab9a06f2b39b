"""Models' answers: the runs of a steering, their texts next to the unsteered ones, and the judge's scores."""
