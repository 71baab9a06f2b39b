"""Directions from labelled rows: one file a method, registered by name (science: Methods). `fitting` puts them together for one layer."""
