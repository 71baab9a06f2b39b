"""The version of the client and of the server: this file is the one place that names it; both distributions read it from here."""

VERSION = "0.1.0"
DISTRIBUTION = "binnacle-interp-client"
"""The client's name on package indexes, where `binnacle` is another project."""
