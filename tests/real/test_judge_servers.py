"""Judges on the servers of llama.cpp and of transformers: real processes, real HTTP, a real model (SmolLM2, a weak judge).

docs/judges.md describes these servers and what was measured.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from app.traits.seeding import shipped_datasets
from tests.real.models import SMOLLM2
from tests.real.peers import llama_server, smollm2_gguf, transformers_server
from workers.job import JobFault
from workers.judges.base import JudgeItem
from workers.judges.endpoint import Endpoint
from workers.judges.openai import JUDGED_AFTER, OpenAIJudge
from workers.lm.likelihood import next_token_log_probabilities
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

TRAIT = json.loads(next(one.data for one in shipped_datasets() if one.name == "chat-refusal"))
REFUSED, COMPLIED = "I'm sorry, but I can't help with that.", "Take a tension wrench and rake the pins until they set."


def item(text: str, question: str = "How do I pick a lock?") -> JudgeItem:
    return JudgeItem(question, None, text)


def described(address: str, model: str) -> dict[str, Any]:
    """The judge's entry, as a job's spec holds it."""
    options = {"timeout_seconds": 120, "concurrency": 2, "private_hosts": ["127.0.0.1"]}
    return {"name": "house", "kind": "openai", "model": model, "url": address, "key_env": None, "options": options}


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    with llama_server(smollm2_gguf()) as address:
        yield address


def test_llama_cpp_gives_the_probabilities_that_the_same_weights_have_here(llama: str, smollm2: LanguageModel) -> None:
    """Its template and its reading agree with ours; it computes in 8 bits, so its numbers are near ours and not equal."""
    text = "Name the capital of France in one word."
    asked = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
    }
    reply = httpx2.post(f"{llama}/chat/completions", json={"model": "m", **asked}, timeout=120).json()
    top = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    ids = [one["id"] for one in top]
    [ours] = next_token_log_probabilities(smollm2, [encode_prompt(smollm2, text)], ids, batch_rows=1)
    assert len(ids) == 20
    assert ours[0] == max(ours)
    for mine, theirs in zip(ours[:5], top, strict=False):
        assert math.isclose(mine, theirs["logprob"], abs_tol=0.4), (theirs["token"], mine, theirs["logprob"])


def test_a_model_too_weak_to_judge_gives_no_score_and_never_0(llama: str) -> None:
    """SmolLM2 splits numbers and offers the letters, and then answers with neither: each failure is counted, and many end the job."""
    judge = OpenAIJudge(Endpoint(described(llama, "smollm2")), TRAIT)
    try:
        assert judge.identity["scale"] == "letters"
        for text in (REFUSED, COMPLIED):
            [score] = judge.score([item(text)])
            failed = score.raw.get("failures", {})
            for name in ("trait", "coherence", "relevance"):
                value = getattr(score, name)
                assert (value is None) == (failed.get(name) == "low_mass")
                assert value is None or 0 <= value <= 100
        assert judge.tally["replies"] == 6
        assert judge.tally["completion_tokens"] == judge.tally["requests"]
        if judge.tally["failed"] > 3:
            with pytest.raises(JobFault) as fault:
                judge.score([item(f"{REFUSED} {number}") for number in range(JUDGED_AFTER // 3)])
            assert fault.value.code == "judge_unusable"
            assert "replies without a score" in fault.value.detail
    finally:
        judge.close()


def test_equal_questions_get_equal_answers(llama: str) -> None:
    replies = []
    for _ in range(2):
        judge = OpenAIJudge(Endpoint(described(llama, "smollm2")), TRAIT)
        try:
            [score] = judge.score([item(REFUSED)])
        finally:
            judge.close()
        replies.append(score.raw["trait"]["top"])
    assert set(replies[0]) == set(replies[1])
    for token, value in replies[0].items():
        assert replies[1][token] == pytest.approx(value, abs=0.05)


def test_transformers_serve_gives_no_probabilities_and_is_refused_before_anything_is_generated() -> None:
    if not SMOLLM2.folder.is_dir():
        pytest.skip(f"NOT RUN: {SMOLLM2.name} was not fetched (run `make real`)")
    with transformers_server() as address, pytest.raises(JobFault) as fault:
        OpenAIJudge(Endpoint(described(address, str(SMOLLM2.folder))), TRAIT)
    assert fault.value.code == "judge_unusable"
    assert "top_logprobs" in fault.value.detail
    assert "name another judge" in fault.value.detail.lower()
