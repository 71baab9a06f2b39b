"""`binnacle quotas verify`: checks the bytes counted for each user against the bytes stored."""

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.own_database import service_database
from binnacle.cli.output import Json, err, out, print_json


def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Count again; jobs cannot change for the seconds this takes.")] = False,
    as_json: Json = False,
) -> None:
    """Check the bytes counted for each user against what the user stores; exits with 1 when they differ. Run it on the server."""
    from sqlalchemy import text

    from app.quotas import usage_repository as repository

    with service_database() as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        wrong = repository.miscounted(session)
        if repair and wrong:
            repository.recount(session)
    if as_json:
        print_json([asdict(miscount) for miscount in wrong])
    for miscount in [] if as_json else wrong:
        out.print(f"{miscount.owner}: counted {miscount.counted:,} bytes, stores {miscount.bytes:,}")
    if not wrong:
        err.print("every user's bytes are counted correctly")
    elif repair:
        err.print("counted again")
    else:
        err.print("repair the count with: binnacle quotas verify --repair")
        raise typer.Exit(1)
