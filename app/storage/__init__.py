"""Object storage: where bytes are kept, which rows refer to them, how they are sent. Knows no jobs or models."""
