"""Users, keys and visibility: who calls, and what the caller can see."""
