"""Calibrations: requests, limits, finished results and their routes."""
