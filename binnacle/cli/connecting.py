"""Creates the client for commands: a service that cannot be reached is reported within seconds; one that restarts later is waited for."""

from binnacle.cli.output import err
from binnacle.client import Client

FIRST_ANSWER = 4.0
"""Seconds within which the service must be reached."""


def connected() -> Client:
    """Returns a client of the service named by the environment or the data folder."""
    return Client(first_answer=FIRST_ANSWER, on_outage=err.print)
