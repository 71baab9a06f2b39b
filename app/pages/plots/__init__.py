"""Plots as SVG, drawn here from a result's numbers: they need no script and comply with the pages' content security policy."""
