"""A process that stages, refers to and collects objects, and dies at STEP: `python -m tests.storage.crash URL FOLDER STEP`."""

import os
import sys

from sqlalchemy import event

from app.db import make_engine, make_sessions
from app.storage.blobs import collect, reference_lock, stage
from app.storage.factory import open_storage
from tests.storage.references import Meddling, age, insert_artifact, new_job

STEPS = [
    "before upsert",
    "upsert, uncommitted",
    "before put",
    "after put",
    "locked",
    "referenced, uncommitted",
    "referenced",
    "before delete",
    "after delete",
    "collected",
]
SHARED, GARBAGE = b"kept and staged again", b"nobody refers to this"


def main(url: str, folder: str, step: str) -> None:
    """Stages SHARED and refers to it, then stages GARBAGE, makes it 25 hours old and collects it; exits with status 9 at `step`."""

    def reached(here: str) -> None:
        if here == step:
            os._exit(9)

    engine = make_engine(url)
    sessions = make_sessions(engine)
    storage = Meddling(
        open_storage(f"file://{folder}"),
        before=lambda name, _: reached(f"before {name}"),
        after=lambda name, _: reached(f"after {name}"),
    )
    job_id = new_job(sessions)
    reached("before upsert")
    if step == "upsert, uncommitted":
        event.listen(engine, "after_cursor_execute", lambda *call: "INTO blobs" in call[2] and os._exit(9))
    blob = stage(sessions, storage, SHARED)
    with sessions.begin() as session:
        reference_lock(session, blob)
        reached("locked")
        insert_artifact(session, job_id, blob)
        reached("referenced, uncommitted")
    reached("referenced")
    garbage = stage(sessions, storage, GARBAGE)
    age(sessions, 90_000, garbage.digest)
    collect(sessions, storage)
    reached("collected")


if __name__ == "__main__":
    main(*sys.argv[1:])
