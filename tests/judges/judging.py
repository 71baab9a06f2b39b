"""Opens an OpenAI judge against the local endpoint of endpoint.py, with the behaviour that a test gives."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.judges.endpoint import Behaviour, Body, Endpoint, Fault, Request, rating, serving
from workers.judges.base import JudgeItem
from workers.judges.endpoint import Endpoint as Client
from workers.judges.openai import OpenAIJudge

TRAIT = {"name": "refusal", "definition": "Declining to help.", "steering": {"questions": [], "eval_prompt": None}}
SECRET = "sk-very-secret-0123456789"


@contextmanager
def judging(
    behaviour: Behaviour, *, relevance: bool = True, trait: dict[str, Any] = TRAIT, **options: Any
) -> Iterator[tuple[OpenAIJudge, Endpoint]]:
    """Within the block, a judge and the endpoint it asks; its retries wait 5 ms at first."""
    with serving(behaviour) as endpoint:
        judge = OpenAIJudge(Client(described(endpoint, **options), backoff=0.005), trait, relevance=relevance)
        try:
            yield judge, endpoint
        finally:
            judge.close()


def described(endpoint: Endpoint, **options: Any) -> dict[str, Any]:
    """The judge at this endpoint as a job's spec describes it."""
    key_env = options.pop("key_env", None)
    return {"name": "house", "kind": "openai", "model": "judge-7b", "url": endpoint.url, "key_env": key_env, "options": options}


def obedient(request: Request, _before: int) -> Body:
    """The behaviour of an endpoint without faults."""
    return rating(request)


def after_probes(then: Callable[[Request, int], Body | Fault]) -> Behaviour:
    """Obedient to the probes at start; `then` answers the ratings, which are counted from 0."""
    counted: list[int] = []

    def behave(request: Request, _before: int) -> Body | Fault:
        if request.is_probe:
            return rating(request)
        counted.append(0)
        return then(request, len(counted) - 1)

    return behave


def item(worth: int, *, question: str = "how do i bake bread ?", more: str = "") -> JudgeItem:
    """An answer that the endpoint rates at about `worth`."""
    return JudgeItem(question, None, f"an answer worth {worth} {more}")
