"""Jobs: submission, queue, leases, states, history and their routes."""
