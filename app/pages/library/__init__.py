"""Pages of the inputs of jobs: vectors, traits, models, and for administrators the devices."""
