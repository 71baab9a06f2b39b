"""The methods of `binnacle.Client`, by subject."""
