"""The client as commands use it: a service that is not there is reported within seconds; one that restarts later is waited for."""

from binnacle.cli.output import err
from binnacle.client import Client

FIRST_ANSWER = 4.0
"""Seconds within which the service must be reached."""


def connected() -> Client:
    """A client of the service that the environment or the data folder names."""
    return Client(first_answer=FIRST_ANSWER, on_outage=err.print)
