"""Worker nodes as shared devices: pausing and draining them, and why a node starts no jobs."""
