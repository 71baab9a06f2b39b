"""The checks of `binnacle doctor`, one module for each part of a machine and a service."""
