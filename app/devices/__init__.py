"""Worker nodes as things people share: paused or drained for a while, and why one claims nothing."""
