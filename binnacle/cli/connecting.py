"""Creates the client of commands. A service that cannot be reached at first is an error within seconds; later a restart is waited for."""

from binnacle.cli.output import err
from binnacle.client import Client

FIRST_ANSWER = 4.0
"""Seconds within which the service must be reached for the first time."""


def connected() -> Client:
    """Returns a client of the service named by the environment or the data folder. Creating it sends no request."""
    return Client(first_answer=FIRST_ANSWER, on_outage=err.print)
