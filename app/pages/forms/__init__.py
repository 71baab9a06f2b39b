"""Forms that submit jobs: their fields, choices, estimated cost, and the request that they produce."""
