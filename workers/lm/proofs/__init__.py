"""What a model shows of itself, on its own files and weights, before a number measured on it is believed. One file a proof."""
