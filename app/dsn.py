"""Converts the address of the database to the form that SQLAlchemy takes. Errors never show the address, which contains a password."""

import os
from collections.abc import Mapping

from binnacle.errors import BinnacleError

DRIVER = "postgresql+psycopg"
SCHEMES = frozenset({"postgres", "postgresql", DRIVER})
FORM = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
ESCAPES = {"@": "%40", "/": "%2F", ":": "%3A", "%": "%25", "?": "%3F", "#": "%23"}


def database_url(text: str) -> str:
    """Returns the address with the driver's name.

    Raises ValueError for another kind of database, a password that needs percent-encoding, a port that is not a number, and several hosts
    with ports in the form that only libpq reads.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"It must begin with postgresql://, as in {FORM}: Binnacle needs Postgres.")
    before_options = rest.partition("?")[0]
    cut_short = "@" in rest.partition("/")[0].partition("?")[2]  # the ? stands in the password
    if cut_short or before_options.count("@") > 1 or "@" in before_options.partition("/")[2]:
        escapes = ", ".join(f"{code} for {sign}" for sign, code in ESCAPES.items())
        raise ValueError(f"The user name or password holds a character with a special meaning in addresses. Write {escapes}.")
    host = before_options.partition("/")[0].rpartition("@")[2].rpartition("]")[2]
    first, colon, port = host.rpartition(":")
    if ":" in first:
        raise ValueError("Write several hosts as postgresql://USER:PASSWORD@/DATABASE?host=HOST1:5432&host=HOST2:5432.")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise ValueError(f"The port must be a number from 1 to 65535, as in {FORM}.")
    return f"{DRIVER}://{rest}"


def given_database(environment: Mapping[str, str] = os.environ) -> str | None:
    """Returns the address in DATABASE_URL with the driver's name; None when it is not set. Raises BinnacleError `settings_invalid`."""
    given = environment.get("DATABASE_URL")
    try:
        return database_url(given) if given else None
    except ValueError as error:
        raise BinnacleError("settings_invalid", f"DATABASE_URL is not valid. {error}") from None
