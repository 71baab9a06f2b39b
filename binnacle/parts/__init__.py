"""What `binnacle.Client` is made of: its methods, by what they are about."""
