"""Stores the rows and the file of a finished extraction, without running a model, for tests of vectors over HTTP."""

from typing import Any

import numpy as np
from sqlalchemy.orm import Session, sessionmaker

from app.extractions.models import Extraction, Vector
from app.formats.tensorfile import to_bytes
from app.ids import new_id
from app.jobs import service as jobs
from app.jobs.models import Artifact
from app.jobs.states import State
from app.storage.base import Storage
from app.storage.blobs import reference_lock, stage
from tests.api.conftest import FACTS

LAYERS = [2, 5]
METHODS = ["probe", "mean_diff"]
CONTROLS = ["random", "shuffled__of-probe"]
WIDTH = 64
MASSIVE = {"rule": "peeling", "dims": [7], "share": 0.5}


def numbers(method: str, layer: int) -> np.ndarray:
    """A unit vector, another for each method and layer; dim 7 is massive in mean_diff."""
    made = np.random.default_rng([layer, *method.encode()]).standard_normal(WIDTH)
    if method == "mean_diff":
        made[7] = 30
    return (made / np.linalg.norm(made)).astype(np.float32)


def store_extraction(
    sessions: sessionmaker[Session], storage: Storage, owner: str, trait_version: str, **changes: Any
) -> tuple[str, str]:
    """Stores an extraction with one vector for each method and layer; returns its id and its job's id.

    Held-out accuracy grows with the layer; controls have none.
    """
    place = {"model": "demo", **{name: FACTS[name] for name in ("weight_hash", "reading_hash")}, **changes}
    keys = [(method, layer) for layer in LAYERS for method in (*METHODS, *CONTROLS)]
    tensors = {f"response[:5]/residual/{method}/{layer}": numbers(method, layer) for method, layer in keys}
    blob = stage(sessions, storage, to_bytes(tensors, {}))
    trait = {"name": "refusal", "version": trait_version}
    spec = {
        "kind": "extract", "model": place["model"], "trait": trait, "methods": METHODS, "controls": CONTROLS, "refits": [], "layers": LAYERS,
        "positions": ["response[:5]"], "components": ["residual"], "responses": "generate",
        "weight_hash": place["weight_hash"], "reading_hash": place["reading_hash"], "calibration": None, "max_new_tokens": 5,
        "validation_share": 0.2, "seed": 0, "resamples": 0, "keep_rows": False, "vetting": None, "rows_from": None, "rows_key": None,
    }  # fmt: skip
    with sessions.begin() as session:
        asked = jobs.Submission(kind="extract", spec={}, owner=owner, job_class="model", model=place["model"])
        job = jobs.submit(session, asked).job
        job.spec, job.state = (
            spec,
            State.SUCCEEDED,
        )  # set afterwards: a submission with a trait version that is not stored is refused
        row = Extraction(
            id=new_id("ext"), job_id=job.id, owner=owner, trait="refusal", trait_version=trait_version, positions=["response[:5]"],
            components=["residual"], layers=LAYERS, methods=METHODS, summary={}, **place,
        )  # fmt: skip
        session.add(row)
        reference_lock(session, blob)
        session.add(
            Artifact(
                id=new_id("art"), job_id=job.id, name="vectors.safetensors", digest=blob.digest, size=blob.size, media_type="x/y"
            )
        )
        session.flush()
        for method, layer in keys:
            control = method in CONTROLS
            session.add(
                Vector(
                    id=new_id("vec"), source="extracted", extraction_id=row.id, owner=owner, trait="refusal", trait_version=trait_version,
                    position="response[:5]", component="residual", method=method, layer=layer, width=WIDTH, digest=blob.digest,
                    key=f"response[:5]/residual/{method}/{layer}", accuracy=None if control else layer / 10 + (method == "probe") / 100,
                    massive_share=float(numbers(method, layer)[7] ** 2), facts={"massive": MASSIVE}, **place,
                )
            )  # fmt: skip
        return row.id, job.id
