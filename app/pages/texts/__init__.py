"""What models answered: the runs of a steering, their texts beside the unsteered ones, and what the judge said of them."""
