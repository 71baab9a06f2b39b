"""Forms that submit jobs: their fields, the choices they offer, what they would cost, and the request they stand for."""
