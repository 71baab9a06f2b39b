"""The matrix of references: every field of a request body that names an object, for each kind of caller and visibility of the object.

Fields come from the API's description; one that is not classified fails the first test. An object that a caller may not see is refused in the
same words as a missing one, by the request and its dry run; a retry is refused once its caller may no longer see what the job names.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from app.auth import repository
from tests.api.conftest import Running
from tests.api.naming import (
    NAMES,
    SHARED,
    SITUATIONS,
    Reference,
    all_strings,
    made,
    missing,
    plain,
    references,
    remove,
    share,
    unknown,
)
from tests.api.test_authorization import MATRIX
from tests.api.world import CALLERS, GROUP, OWNER, Caller, World
from tests.hostile.routes import placed

BY_NAME = {one.name: one for one in CALLERS}
PEOPLE = [BY_NAME[name] for name in ("the owner", "a colleague", "a stranger", "an administrator")]
STRANGER = BY_NAME["a stranger"]
EXCLUDES = {"POST /v1/steerings: vectors": "extraction"}
"""By operation and field, another field that a body may not hold beside it."""
TRIED_DRY = {"private", "public", "the group", "a model", "no model", "a judge", "no judge", "no webhook"}
"""Objects that are tried in a dry run too."""
Answer = tuple[int, str]
"""A status; of a refusal its code and words."""


@pytest.fixture
def world(api: Running) -> World:
    """All callers, a disabled user, and the usual objects that bodies name in their other fields."""
    world = World(api)
    world.people()
    with api.sessions.begin() as session:
        repository.add_user(session, "dora", "test")
        session.execute(text("UPDATE users SET disabled_at = now() WHERE name = 'dora'"))
    for kind in ("calibration", "vector", "extraction"):
        world.made[f"usual {kind}", "public"] = made(world, kind, OWNER, "public")[0]
    return world


@pytest.fixture
def client(api: Running) -> Iterator[httpx2.Client]:
    """A client without a key: each request brings its caller's."""
    with httpx2.Client(base_url=api.url, timeout=120) as client:
        yield client


def test_every_string_of_every_body_is_known() -> None:
    assert unknown() == [], "say in tests/api/naming.py what these fields name, if anything"
    assert len(references()) > 35
    assert {one.kind for one in references()} >= {*SHARED, "model", "judge", "webhook", "group"}
    assert {one.operation for one in references()} <= MATRIX.keys()


@pytest.mark.timeout(1800)
def test_an_object_that_a_caller_may_not_see_is_refused_like_a_missing_one_in_every_field(
    world: World, client: httpx2.Client
) -> None:
    things = {
        (kind, situation): made(world, kind, owner, "public" if situation == "unshared" else visibility)
        for kind in SHARED
        for situation, (owner, visibility) in SITUATIONS.items()
    }
    for kind in SHARED:
        share(world, things[kind, "unshared"], "private")
    wrong, asked = [], 0
    for field in references():
        if MATRIX[field.operation].demands == "administration":
            continue
        for caller in _askers(field):
            nothing: dict[str, Answer] = {}
            for what, value, seen in _values(things, field, caller):
                got = _send(client, world, field, caller, value)
                asked += 1
                form = value.split("_", maxsplit=1)[0] if "_" in value else ""
                if not seen and form not in nothing:
                    nothing[form] = _send(client, world, field, caller, missing(field.kind, value))
                if got[0] >= 300 if seen else got[0] < 400 or got != nothing[form]:
                    wrong.append(f"{caller.name}, {field.operation}, /{field.field} of {what}: {got}")
                if field.dry and what in TRIED_DRY:
                    dry = _send(client, world, field, caller, value, "?dry_run=true")
                    if _code(dry) != _code(got):
                        wrong.append(f"{caller.name}, {field.operation}, /{field.field} of {what}: dry run {dry}, request {got}")
    assert asked > 700  # so that no loop was empty
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(1800)
def test_a_retry_may_name_what_its_caller_may_see_today(world: World, client: httpx2.Client) -> None:
    """The object was public when the job was submitted, and is private now, or was deleted from the list of models or judges."""
    wrong, asked = [], 0
    for field in references():
        demands = MATRIX[field.operation].demands
        if demands not in ("submit", "sight and submit") or field.kind not in (*SHARED, "judge", "model"):
            continue
        if field.operation == "POST /v1/steerings" and field.kind == "model":
            continue  # it would need an extraction of the other model; the check knows no kinds of jobs
        names = made(world, field.kind, OWNER, "public")
        for value in names:
            share(world, names, "public")
            job = _submitted(client, world, field, value)
            if job is None:
                continue
            _fail_all(world)
            share(world, names, "private")
            if field.kind in ("judge", "model"):
                remove(world, field.kind, value)
            before = _jobs(world)
            refused = client.post(f"/v1/jobs/{job}/retry", headers=_key(world, STRANGER))
            asked += 1
            if (refused.status_code, refused.json().get("code"), _jobs(world)) != (409, "not_shared", before):
                wrong.append(f"{field.operation}, /{field.field}: {refused.status_code} {refused.text[:200]}")
                continue
            if field.kind in SHARED:
                share(world, names, "public")
                allowed = client.post(f"/v1/jobs/{job}/retry", headers=_key(world, STRANGER))
                if (allowed.status_code, allowed.json().get("owner")) != (202, STRANGER.owner):
                    wrong.append(f"{field.operation}, /{field.field} shared again: {allowed.status_code} {allowed.text[:200]}")
    assert asked > 30
    assert not wrong, "\n".join(wrong)


def test_a_text_that_is_an_id_names_nothing_in_any_field(world: World, client: httpx2.Client) -> None:
    """Anyone could keep a colleague's job from being deleted by a label with its id, and the job with the label could not be retried."""
    private = made(world, "job", OWNER, "private")[0]
    with world.api.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET state = 'succeeded', finished_at = now() WHERE id = :id"), {"id": private})
    wrong, taken = [], set()
    for operation, schema, place in all_strings():
        if MATRIX[operation].demands != "submit" or plain(place) in NAMES:
            continue
        field = Reference(operation, schema, place, "text")
        answer = _ask(client, world, field, STRANGER, private)
        if answer.status_code != 202:
            continue
        taken.add(plain(place))
        deleted = client.delete(f"/v1/jobs/{private}?dry_run=true", headers=_key(world, BY_NAME["the owner"]))
        _fail_all(world)
        again = client.post(f"/v1/jobs/{answer.json()['id']}/retry", headers=_key(world, STRANGER))
        _fail_all(world)
        if (deleted.status_code, again.status_code) != (200, 202):
            wrong.append(f"{field.operation}, /{field.field}: {deleted.status_code} {deleted.text[:200]}, {again.text[:200]}")
    assert taken >= {"experiment", "model_variant", "prompts", "prompts/prompt", "published/source", "published/definition"}
    assert not wrong, "\n".join(wrong)


def test_a_job_about_a_result_is_retried_only_while_its_caller_may_see_the_result(world: World, client: httpx2.Client) -> None:
    """The id in the address counts as much as those in the body."""
    asked = 0
    for name, rule in MATRIX.items():
        if rule.demands != "sight and submit" or rule.status != 202 or "study" in name:
            continue
        [(parameter, kind)] = rule.of.items()
        identifier = made(world, kind, OWNER, "public")[0] if kind == "extraction" else world.get(f"new {kind}", "public")
        path = name.split(" ")[1].replace(f"{{{parameter}}}", identifier)
        answer = client.post(path, json=rule.body and rule.body(), headers=_key(world, STRANGER))
        assert answer.status_code == 202, answer.text
        job = answer.json()["id"]
        _fail_all(world)
        made_by = f"(SELECT job_id FROM {kind}s WHERE id = :id)"
        with world.api.sessions.begin() as session:
            session.execute(text(f"UPDATE jobs SET visibility = 'private' WHERE id = {made_by}"), {"id": identifier})
        refused = client.post(f"/v1/jobs/{job}/retry", headers=_key(world, STRANGER))
        assert (refused.status_code, refused.json()["code"]) == (409, "not_shared"), name
        asked += 1
    assert asked >= 2


def _code(answer: Answer) -> str:
    """The code of a refusal; nothing for an object that was made, or would be."""
    return answer[1].partition(":")[0]


def _askers(field: Reference) -> list[Caller]:
    return PEOPLE[:1] if MATRIX[field.operation].demands == "ownership" else PEOPLE


def _values(things: Any, field: Reference, caller: Caller) -> Iterator[tuple[str, str, bool]]:
    """What to put into the field: in words, the name, and whether the caller may use it."""
    if field.kind == "group":
        yield "the group", GROUP, caller.colleague
    elif field.kind == "model":
        yield "a model", "demo", True
        yield "no model", "no-such", False
    elif field.kind == "judge":
        yield "a judge", "reference", True
        yield "no judge", "no-such", False
    elif field.kind == "webhook":
        yield "no webhook", "no-such", False
    else:
        for situation, (owner, visibility) in SITUATIONS.items():
            shared = visibility == "public" or (visibility == "group" and caller.colleague)
            for name in things[field.kind, situation]:
                yield f"{situation}", name, caller.administers or caller.owner == owner or shared


def _key(world: World, caller: Caller) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.keys[caller.name]}"}


def _body(world: World, field: Reference, value: str) -> dict[str, Any]:
    usual = {kind: world.made[f"usual {kind}", "public"] for kind in ("calibration", "vector", "extraction")}
    bases: dict[str, dict[str, Any]] = {
        "POST /v1/steerings": {
            "model": "demo", "trait": "refusal", "extraction": usual["extraction"], "calibration": usual["calibration"],
            "methods": ["probe"], "off_target": [{"trait": "refusal"}],
        },
        "POST /v1/generations": {
            "model": "demo", "prompts": [{"prompt": "Hello."}], "vectors": [usual["vector"]], "calibration": usual["calibration"],
        },
        "POST /v1/studies": {
            "models": ["demo"], "traits": ["refusal"], "methods": ["mean_diff"], "layers": [2],
            "published": [{"model": "demo", "trait": "refusal", "method": "a", "value": 1.0, "definition": "a", "source": "b"}],
        },
    }  # fmt: skip
    rule = MATRIX[field.operation]
    base = dict(bases.get(field.operation) or (rule.body() if rule.body else {}))
    base.pop(EXCLUDES.get(f"{field.operation}: {field.field}", ""), None)
    if field.kind == "vector":
        base.pop("methods", None)
    if field.kind == "model" and value != "demo":
        base.pop("vectors", None)  # they are demo's
        if field.operation == "POST /v1/generations":
            base.pop("calibration")
    if field.kind == "group":
        base["visibility"] = "group"
    return placed(field.schema, base, field.place, value)


def _ask(client: httpx2.Client, world: World, field: Reference, caller: Caller, value: str, query: str = "") -> httpx2.Response:
    method, path = field.operation.split(" ")
    for parameter, kind in MATRIX[field.operation].of.items():
        path = path.replace(f"{{{parameter}}}", world.get("new queued job" if kind == "new job" else kind, "public"))
    return client.request(method, path + query, headers=_key(world, caller), json=_body(world, field, value))


def _send(client: httpx2.Client, world: World, field: Reference, caller: Caller, value: str, query: str = "") -> Answer:
    """Status, and of a refusal its code and words, with the name taken out."""
    got = _ask(client, world, field, caller, value, query)
    if got.status_code < 300:
        return got.status_code, ""
    said = got.json()
    words = re.sub(rf"{re.escape(value)}\b", "NAME", f"{said['code']}: {said['detail']}")
    return got.status_code, words


def _submitted(client: httpx2.Client, world: World, field: Reference, value: str) -> str | None:
    """The stranger's job, if the operation makes one."""
    answer = _ask(client, world, field, STRANGER, value)
    assert answer.status_code in (200, 201, 202), f"{field.operation} /{field.field}: {answer.text}"
    return str(answer.json()["id"]) if answer.status_code == 202 else None


def _fail_all(world: World) -> None:
    """Every queued job of the stranger's has failed."""
    with world.api.sessions.begin() as session:
        session.execute(
            text("UPDATE jobs SET state = 'failed', finished_at = now() WHERE owner = :owner AND state = 'queued'"),
            {"owner": STRANGER.owner},
        )


def _jobs(world: World) -> int:
    with world.api.sessions() as session:
        return int(session.execute(text("SELECT count(*) FROM jobs")).scalar_one())
