"""Formulas on arrays: statistics, directions, doses and intervals. Knows neither jobs nor the service."""
