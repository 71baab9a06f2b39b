"""Adds, deletes and finds judges. Functions run in the caller's transaction and raise Problem for invalid requests.

A submission stores the whole description of its judge in the spec (never a key), so that deleting a judge breaks no job.
"""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from app import addresses
from app.audit import service as audit
from app.auth.viewer import Viewer
from app.errors import Problem, invalid, not_found
from app.jobs.holding import Reads, hold
from app.judges import repository
from app.judges.models import Judge
from app.judges.schemas import BUILT_IN, JudgeList, JudgeOut, JudgeRequest
from app.models import service as models
from app.text import check_text
from terms.judging import JudgeSpec

LOOK_UP_SECONDS = 3
RESERVED = ("BINNACLE_", "AWS_")
OURS = ("model", "messages", "temperature", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "stream", "n")
"""Fields of a request that decide what a score means."""
NAMED = 20


async def addresses_of(request: JudgeRequest) -> list[str]:
    """Returns the addresses of the endpoint's host now; empty without a URL or if the look-up fails: workers look again before each request."""
    if request.url is None:
        return []
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            return await addresses.look_up(addresses.host_of(request.url))
    except (TimeoutError, OSError, ValueError):
        return []


def add(session: Session, request: JudgeRequest, viewer: Viewer, leads_to: Sequence[str]) -> JudgeOut:
    """Allows a judge. Raises Problem 409 when the name is taken, 422 for an address, key or model that cannot be used.

    leads_to: what `addresses_of` found.
    """
    check_text(request.model_dump(mode="json"))
    if request.kind == "openai":
        _check_endpoint(request)
        _check_addresses(request, leads_to)
    else:
        _check_local(session, request)
    row = {**request.model_dump(mode="json"), "created_by": viewer.owner}
    made = None if request.name in BUILT_IN else repository.add(session, row)
    if made is None:
        detail = f"A judge named {request.name} already exists. Delete it first (DELETE /v1/judges/{request.name}), or choose another name."
        raise Problem(409, "judge_exists", detail)
    audit.record(session, viewer, "judge.add", request.name, kind=request.kind, model=request.model, url=request.url)
    return view(made)


def _check_endpoint(request: JudgeRequest) -> None:
    if request.url is None:
        raise invalid(
            "/url", "url_missing", "/url is missing: an openai judge needs its endpoint's address, up to and including /v1."
        )
    _check_url(request.url)
    if request.key_env is not None and request.key_env.startswith(RESERVED):
        detail = f"/key_env must not begin with {' or '.join(RESERVED)}: such variables hold secrets of this service."
        raise invalid("/key_env", "reserved_key_env", detail)
    taken = sorted(set(request.options.extra) & set(OURS))
    if taken:
        detail = f"/options/extra may not set {', '.join(taken)}: these fields decide what a score means."
        raise invalid("/options/extra", "reserved_field", detail)


def _check_url(url: str) -> None:
    """Raises Problem 422 for anything but http or https, a host, perhaps a port, and a path."""
    try:
        parts = urlsplit(url)
        port_is_fine = (parts.port is None or 0 < parts.port < 65536) and bool(addresses.host_of(url))
    except ValueError:
        raise invalid("/url", "invalid_url", "/url is not a valid address: its host or port cannot be read.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine or any(c.isspace() for c in url):
        raise invalid("/url", "invalid_url", "/url must be an http:// or https:// address such as https://judge.example.org/v1.")
    if parts.username is not None or parts.password is not None:
        raise invalid(
            "/url",
            "credentials_in_url",
            "/url holds a user or password. Put the key into an environment variable and name the variable in /key_env.",
        )
    if parts.query or parts.fragment:
        raise invalid("/url", "invalid_url", "/url has a query or a fragment; give the address up to and including /v1.")


def _check_addresses(request: JudgeRequest, leads_to: Sequence[str]) -> None:
    host = addresses.host_of(request.url or "")
    wrong = addresses.refused(host, leads_to, request.options.private_hosts)
    if wrong is not None:
        detail = (
            f"/url names {host}, which leads to {wrong}. This is not a public address. If the judge is in "
            "your own network, allow it by name: "
            f'"options": {{"private_hosts": ["{host}"]}}, or an address or network such as "{wrong}".'
        )
        raise invalid("/url", "private_address", detail)


def _check_local(session: Session, request: JudgeRequest) -> None:
    for field in ("url", "key_env"):
        if getattr(request, field) is not None:
            raise invalid(
                f"/{field}",
                "not_for_local",
                f"/{field} belongs to an endpoint; a local judge is a registered model. Leave it out.",
            )
    models.usable(session, request.model)
    hold(session, Reads(models={request.model}))  # a model that is a judge's is not removed


def delete(session: Session, name: str, viewer: Viewer) -> None:
    """Takes the judge off the list; jobs that were submitted with it keep it. Raises Problem 404, and 409 for the reference judge."""
    if name in BUILT_IN:
        raise Problem(409, "judge_built_in", f"The judge {name} is part of this service and cannot be deleted.")
    if not repository.delete(session, name):
        raise not_found("judge", name)
    audit.record(session, viewer, "judge.delete", name)


def resolve(session: Session, name: str) -> JudgeSpec | None:
    """Returns the judge as a job stores it: `{"name", "kind", "model", "url", "key_env", "options"}`; None when no judge has this name."""
    if name in BUILT_IN:
        return {"name": name, "kind": BUILT_IN[name], "model": None, "url": None, "key_env": None, "options": {}}
    judge = repository.find(session, name)
    if judge is None:
        return None
    return {
        "name": judge.name,
        "kind": judge.kind,
        "model": judge.model,
        "url": judge.url,
        "key_env": judge.key_env,
        "options": judge.options,
    }


def usable(session: Session, name: str, pointer: str = "/judge") -> JudgeSpec:
    """Returns the judge as a job stores it. Raises Problem 422 for an unknown name, with the names of the judges."""
    judge = resolve(session, name)
    if judge is None:
        names = [*BUILT_IN, *repository.names(session)]
        more = f" and {len(names) - NAMED} more (GET /v1/judges)" if len(names) > NAMED else ""
        detail = f"No judge is called {name!r}. This server has: {', '.join(names[:NAMED])}{more}."
        raise invalid(pointer, "unknown_judge", detail)
    return judge


def listing(session: Session) -> JudgeList:
    """Returns all judges: the built-in judges first, then the others by name."""
    ours = [JudgeOut(**resolved, created_by=None, created_at=None) for name in BUILT_IN if (resolved := resolve(session, name))]
    return JudgeList(items=[*ours, *(view(judge) for judge in repository.listing(session))])


def view(judge: Judge) -> JudgeOut:
    """Returns the judge as the API shows it."""
    return JudgeOut(**{name: getattr(judge, name) for name in JudgeOut.model_fields})
