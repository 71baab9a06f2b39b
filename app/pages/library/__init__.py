"""What jobs are made of: vectors, traits, models, and for administrators the devices."""
