"""The authorization matrix: every route answers each kind of caller as MATRIX says, for private, group and public objects.

MATRIX names what each route demands; `world.Caller` states the rules independently of the service. A route without an entry in MATRIX
fails the first test.
"""

import base64
import io
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
import numpy as np
import pytest

from app.auth.visibility import Visibility
from app.offering.wheel import FILENAME
from tests.api.conftest import Running
from tests.api.test_access import routes
from tests.api.world import CALLERS, OWNER, VISIBILITIES, Caller, World

Demand = Literal["nothing", "a key", "submit", "sight", "sight and submit", "ownership", "identity", "administration"]
_numbers = itertools.count()


@dataclass(frozen=True)
class Rule:
    """What a route demands, and its status for callers who meet that.

    `of`: the kind of object of each path parameter (see `World.get`), or after `=` its value.
    """

    demands: Demand
    status: int = 200
    of: dict[str, str] = field(default_factory=dict)
    body: Callable[[], Any] | None = None
    query: str = ""

    def expected(self, caller: Caller, visibility: Visibility) -> int:
        """The status that `caller` must get for an object of that visibility."""
        if not caller.alive:
            return 401
        if self.demands == "administration":
            return self.status if caller.administers else 403
        if self.demands == "identity":
            return self.status if caller.manages else 404
        if self.demands not in {"a key", "sight"} and not caller.submits:
            return 403
        if self.demands in ("sight", "sight and submit", "ownership") and not caller.sees(visibility):
            return 404
        return 403 if self.demands == "ownership" and not caller.manages else self.status

    @property
    def has_owner(self) -> bool:
        return self.demands in ("sight", "sight and submit", "ownership")


def _just(**body: Any) -> Callable[[], Any]:
    """Makes this body."""
    return lambda: body


def _named(**body: Any) -> Callable[[], Any]:
    """Makes this body with a new name each time."""
    return lambda: {"name": f"n{next(_numbers)}", **body}


def _npy() -> dict[str, Any]:
    out = io.BytesIO()
    np.save(out, np.random.default_rng(next(_numbers)).standard_normal(64).astype(np.float32))
    return {"model": "demo", "layers": [1], "file": base64.b64encode(out.getvalue()).decode()}


def _trait() -> dict[str, Any]:
    rows = {"positive": ["Thank them.", "Praise it."], "negative": ["Snub them.", "Scorn it."]}
    return {"name": f"t{next(_numbers)}", **rows, "steering": {"questions": ["How do I ask?", "What do I write?"]}}


def _seen(**of: str) -> Rule:
    return Rule("sight", of=of)


def _admin(status: int = 200, body: Callable[[], Any] | None = None, **of: str) -> Rule:
    return Rule("administration", status, of, body)


LIST = Rule("a key")
PRIVATE = _just(visibility="private")
MATRIX = {
    "GET /livez": Rule("nothing"),
    "GET /readyz": Rule("nothing"),
    "GET /openapi.json": Rule("nothing"),
    "GET /client/": Rule("nothing"),
    f"GET /client/{FILENAME}": Rule("nothing"),
    "GET /v1/status": LIST,
    "GET /v1/me": LIST,
    "POST /v1/tickets": Rule("a key", 201),
    "GET /v1/jobs": LIST,
    "GET /v1/jobs/{job_id}": _seen(job_id="job"),
    "PATCH /v1/jobs/{job_id}": Rule("ownership", 200, {"job_id": "new job"}, PRIVATE),
    "DELETE /v1/jobs/{job_id}": Rule("ownership", 200, {"job_id": "new job"}),
    "GET /v1/jobs/{job_id}/events": _seen(job_id="job"),
    "POST /v1/jobs/{job_id}/cancel": Rule("ownership", 202, {"job_id": "new queued job"}),
    "POST /v1/jobs/{job_id}/retry": Rule("ownership", 202, {"job_id": "new failed job"}),
    "GET /v1/jobs/{job_id}/artifacts/{name}": _seen(job_id="job", name="=calibration.json"),
    "POST /v1/calibrations": Rule("submit", 202, body=_just(model="demo")),
    "GET /v1/calibrations": LIST,
    "GET /v1/calibrations/{calibration_id}": _seen(calibration_id="calibration"),
    "GET /v1/calibrations/{calibration_id}/calibration.json": _seen(calibration_id="calibration"),
    "POST /v1/calibrations/{calibration_id}/exports": Rule("sight and submit", 202, {"calibration_id": "calibration"}, _just()),
    "GET /v1/devices": LIST,
    "POST /v1/devices/{device}/pause": _admin(device="device"),
    "POST /v1/devices/{device}/drain": _admin(device="device"),
    "POST /v1/devices/{device}/resume": _admin(device="device"),
    "POST /v1/extractions": Rule("submit", 202, body=_just(model="demo", trait="refusal")),
    "GET /v1/extractions": LIST,
    "GET /v1/extractions/{extraction_id}": _seen(extraction_id="extraction"),
    "GET /v1/extractions/{extraction_id}/cosines": _seen(extraction_id="extraction"),
    "GET /v1/extractions/{extraction_id}/{name}": _seen(extraction_id="extraction", name="=vectors.safetensors"),
    "POST /v1/extractions/{extraction_id}/exports": Rule(
        "sight and submit", 202, {"extraction_id": "extraction"}, _just(format="npy")
    ),
    "GET /v1/vectors": LIST,
    "POST /v1/vectors": Rule("submit", 201, body=_npy),
    "GET /v1/vectors/{vector_id}": _seen(vector_id="vector"),
    "PATCH /v1/vectors/{vector_id}": Rule("ownership", 200, {"vector_id": "new vector"}, PRIVATE),
    "DELETE /v1/vectors/{vector_id}": Rule("ownership", 200, {"vector_id": "new vector"}),
    "GET /v1/vectors/{vector_id}/download": _seen(vector_id="extracted vector"),
    "POST /v1/steerings": Rule("submit", 422, body=_just(model="demo")),
    "GET /v1/steerings": LIST,
    "GET /v1/steerings/{steering_id}": _seen(steering_id="steering"),
    "GET /v1/steerings/{steering_id}/runs": _seen(steering_id="steering"),
    "GET /v1/steerings/{steering_id}/responses": _seen(steering_id="steering"),
    "GET /v1/steerings/{steering_id}/{name}": _seen(steering_id="steering", name="=summary.json"),
    "POST /v1/steerings/{steering_id}/rescore": Rule(
        "sight and submit", 202, {"steering_id": "steering"}, _just(judge="reference")
    ),
    "POST /v1/generations": Rule("submit", 202, body=_just(model="demo", prompts=[{"prompt": "Hello."}])),
    "GET /v1/generations/{job_id}": _seen(job_id="generation"),
    "POST /v1/studies": Rule("submit", 202, body=_just(models=["demo"], traits=["refusal"])),
    "GET /v1/studies": LIST,
    "GET /v1/studies/{study_id}": _seen(study_id="study"),
    "GET /v1/studies/{study_id}/{name}": _seen(study_id="study", name="=report.html"),
    "POST /v1/studies/{study_id}/retry": Rule("ownership", 202, {"study_id": "new failed study"}),
    "POST /v1/studies/{study_id}/labels": Rule(
        "sight and submit", 202, {"study_id": "study"}, _just(labels={"0123456789ab": 100})
    ),
    "GET /v1/traits": LIST,
    "POST /v1/traits": Rule("submit", 201, body=_trait),
    "GET /v1/traits/{reference}": _seen(reference="trait"),
    "PATCH /v1/traits/{reference}": Rule("ownership", 200, {"reference": "new trait"}, PRIVATE),
    "DELETE /v1/traits/{reference}": Rule("ownership", 200, {"reference": "new trait"}),
    "GET /v1/traits/{reference}/dataset.json": _seen(reference="trait"),
    "GET /v1/judges": LIST,
    "POST /v1/judges": _admin(201, _named(kind="local", model="demo")),
    "DELETE /v1/judges/{name}": _admin(204, name="new judge"),
    "GET /v1/models": LIST,
    "POST /v1/models": _admin(202, _named(source="/models/x")),
    "GET /v1/models/{name}": Rule("a key", of={"name": "model"}),
    "POST /v1/models/{name}/inspect": _admin(202, name="new model"),
    "DELETE /v1/models/{name}": _admin(204, name="new model"),
    "GET /v1/users": _admin(),
    "POST /v1/users": _admin(201, _named()),
    "GET /v1/users/{name}": _admin(name="user"),
    "PATCH /v1/users/{name}": _admin(200, _just(disabled=True), name="user"),
    "GET /v1/groups": _admin(),
    "POST /v1/groups": _admin(201, _named()),
    "GET /v1/groups/{name}": _admin(name="group"),
    "DELETE /v1/groups/{name}": _admin(204, name="new group"),
    "PUT /v1/groups/{name}/members/{user}": _admin(name="group", user="user"),
    "DELETE /v1/groups/{name}/members/{user}": _admin(404, name="new group", user="new user"),
    "GET /v1/keys": _admin(),
    "POST /v1/keys": _admin(201, _just(owner="olga")),
    "GET /v1/keys/{key_id}": _admin(key_id="key"),
    "POST /v1/keys/{key_id}/rotate": _admin(201, key_id="new key"),
    "POST /v1/keys/{key_id}/revoke": _admin(key_id="new key"),
    "GET /v1/audit": _admin(),
    "GET /v1/quotas": _admin(),
    "PUT /v1/quotas": _admin(body=_just(max_running=1000)),
    "GET /v1/quotas/{user}": Rule("identity", of={"user": f"={OWNER}"}),
    "PUT /v1/quotas/{user}": _admin(body=_just(max_running=1000), user="new user"),
    "DELETE /v1/quotas/{user}": _admin(404, user="new user"),
    "GET /v1/usage": LIST,
    "GET /v1/retention": Rule("administration", query="?older_than_days=36500"),
    "POST /v1/retention": _admin(body=_just(older_than_days=36500)),
    "GET /v1/webhooks": LIST,
    "POST /v1/webhooks": _admin(201, _named(url="https://hooks.example.org/x")),
    "DELETE /v1/webhooks/{name}": _admin(204, name="new webhook"),
    "POST /v1/webhooks/{name}/test": _admin(202, name="webhook"),
    "GET /v1/deliveries": LIST,
}
DOWNLOADS = (
    f"/client/{FILENAME}",
    "/v1/jobs/{job_id}/artifacts/{name}",
    "/v1/calibrations/{calibration_id}/calibration.json",
    "/v1/extractions/{extraction_id}/{name}",
    "/v1/vectors/{vector_id}/download",
    "/v1/steerings/{steering_id}/{name}",
    "/v1/studies/{study_id}/{name}",
    "/v1/traits/{reference}/dataset.json",
)
MATRIX |= {f"HEAD {path}": MATRIX[f"GET {path}"] for path in DOWNLOADS}


def test_every_route_says_what_it_demands(api: Running) -> None:
    served = {f"{method} {path}" for method, path in routes(api.settings)}
    assert served - MATRIX.keys() == set(), "give these routes an entry in MATRIX"
    assert MATRIX.keys() - served == set(), "these routes are gone"


@pytest.mark.timeout(1200)
def test_every_route_answers_everybody_as_it_demands(api: Running) -> None:
    world = World(api)
    world.people()
    wrong, asked = [], 0
    with httpx2.Client(base_url=api.url, timeout=120) as client:
        for name, rule in MATRIX.items():
            for visibility in VISIBILITIES if rule.has_owner else VISIBILITIES[:1]:
                got = _ask(client, world, name, rule, visibility, None)
                wrong += [f"nobody, {name}: {got}"] if got != (200 if rule.demands == "nothing" else 401) else []
                for caller in CALLERS if rule.demands != "nothing" else ():
                    got, expected = (
                        _ask(client, world, name, rule, visibility, caller),
                        rule.expected(caller, visibility),
                    )
                    asked += 1
                    if got != expected:
                        wrong.append(f"{caller.name}, {name}, {visibility}: {got} and not {expected}")
    assert asked > 1_500  # so that no loop was empty
    assert wrong == []


HEADERS = ("etag", "content-length", "content-type", "content-disposition")


def test_the_head_of_a_download_has_the_headers_of_its_get(api: Running) -> None:
    world = World(api)
    world.people()
    reader = next(caller for caller in CALLERS if caller.alive and caller.sees("public"))
    with httpx2.Client(base_url=api.url, timeout=120, headers={"Authorization": f"Bearer {world.keys[reader.name]}"}) as client:
        for template in DOWNLOADS:
            path = template
            for parameter, kind in MATRIX[f"GET {template}"].of.items():
                value = kind[1:] if kind.startswith("=") else world.get(kind, "public")
                path = path.replace(f"{{{parameter}}}", value)
            got, head = client.get(path), client.head(path)
            assert head.status_code == got.status_code == 200, path
            assert head.content == b""
            assert int(head.headers["content-length"]) == len(got.content) > 0, path
            assert [head.headers.get(name) for name in HEADERS] == [got.headers.get(name) for name in HEADERS], path
            assert client.head(path, headers={"If-None-Match": got.headers["etag"]}).status_code == (
                200 if path.startswith("/client/") else 304
            )


def _ask(client: httpx2.Client, world: World, name: str, rule: Rule, visibility: Visibility, caller: Caller | None) -> int:
    method, path = name.split(" ")
    for parameter, kind in rule.of.items():
        value = kind[1:] if kind.startswith("=") else world.get(kind, visibility)
        path = path.replace(f"{{{parameter}}}", value)
    assert re.search(r"[{}]", path) is None, name
    headers = {} if caller is None else {"Authorization": f"Bearer {world.keys[caller.name]}"}
    body = {} if rule.body is None else {"json": rule.body()}
    return client.request(method, path + rule.query, headers=headers, **body).status_code
