"""One language model on one device: loading, layers, positions, capture, generation, memory. Usable from a notebook without the service."""
