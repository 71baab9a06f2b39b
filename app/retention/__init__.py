"""How long results stay: what is old and may go, and taking it away."""
