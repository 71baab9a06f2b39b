"""The version of the client and of the server; only this file contains it, and both distributions read it from here."""

VERSION = "0.1.0"
DISTRIBUTION = "binnacle-interp-client"
"""The client's name on package indexes, where `binnacle` is another project."""
