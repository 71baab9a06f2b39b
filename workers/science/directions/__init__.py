"""Directions from labelled rows: one file a method, registered by name (docs/science.md, 3.4). `fitting` puts them together for one layer."""
