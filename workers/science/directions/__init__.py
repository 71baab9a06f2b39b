"""Methods that fit directions to labelled rows: one file per method, registered by name (docs/science.md, 3.4).

`fitting` runs every method at one layer.
"""
