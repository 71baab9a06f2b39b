"""The judge behind an endpoint when the endpoint fails: what is tried again, given up, spaced, counted and never told."""

import email.utils
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.judges.endpoint import Body, Fault, Request, completion, rating, serving
from tests.judges.judging import SECRET, TRAIT, after_probes, described, item, judging, obedient
from workers.job import JobFault, TransientFault
from workers.judges import endpoint as module
from workers.judges import openai
from workers.judges.endpoint import TRIES
from workers.judges.endpoint import Endpoint as Client
from workers.judges.material import Material
from workers.judges.openai import OpenAIJudge
from workers.judges.opening import open_judge


def test_what_may_pass_is_tried_again() -> None:
    faults = [Fault(500), Fault(0), Fault(503), Fault(502, b"<html>bad gateway</html>"), Fault(200, b"<html>maintenance</html>")]

    def flaky(request: Request, before: int) -> Body | Fault:
        return faults[before] if before < len(faults) else rating(request)

    with judging(after_probes(flaky), relevance=False, concurrency=1) as (judge, _endpoint):
        [score] = judge.score([item(40)])
    assert score.trait == pytest.approx(42.5)
    assert judge.tally["retries"] == len(faults)


def test_a_rate_limit_holds_everybody_back_as_long_as_it_says() -> None:
    def limited(request: Request, before: int) -> Body | Fault:
        if before == 0:
            return Fault(429, b"{}", {"Retry-After": "0.5"})
        time.sleep(0.15)  # so that those under way are still so when the limit is heard of
        return rating(request)

    with judging(after_probes(limited), relevance=False, concurrency=4) as (judge, endpoint):
        judge.score([item(worth) for worth in range(10, 60, 10)])
    began = sorted(request.began for request in endpoint.ratings)
    assert len(began) == 11
    assert all(at - began[0] >= 0.45 for at in began[4:])  # the first to begin need not be the one that was limited


def test_a_long_rate_limit_sends_the_job_back_to_the_queue() -> None:
    limited = after_probes(lambda _request, _before: Fault(429, b"", {"Retry-After": "3600"}))
    with judging(limited) as (judge, _endpoint), pytest.raises(TransientFault, match="wait 3600 seconds"):
        judge.score([item(40)])


def test_a_retry_date_is_understood() -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)
    assert 20 < (module._seconds(email.utils.format_datetime(later)) or 0) <= 30
    assert module._seconds("-5") == 0
    assert module._seconds("soon") is None
    assert module._seconds(None) is None


@pytest.mark.parametrize(
    "fault",
    [
        Fault(503),
        Fault(0),
        Fault(200, b"<html>down for maintenance</html>"),
        Fault(200, b"[" * 100_000),
        Fault(200, b"not gzip", {"Content-Encoding": "gzip"}),
    ],
)
def test_a_judge_that_stays_away_is_transient_and_what_was_scored_is_not_asked_for_again(fault: Fault) -> None:
    away = threading.Event()

    def behave(request: Request, _before: int) -> Body | Fault:
        return fault if away.is_set() and "worth 60" in request.text else rating(request)

    with judging(behave, relevance=False, concurrency=2) as (judge, endpoint):
        judge.score([item(40)])
        away.set()
        with pytest.raises(TransientFault, match=f"did not answer in {TRIES} tries"):
            judge.score([item(40), item(60)])
        away.clear()
        time.sleep(0.2)  # the other request about that answer is in its last tries
        before = len(endpoint.ratings)
        assert [score.trait for score in judge.score([item(40), item(60)])] == [pytest.approx(42.5), pytest.approx(62.5)]
        assert not any("worth 40" in request.text for request in endpoint.ratings[before:])


def test_a_slow_reply_is_given_up_and_tried_again() -> None:
    def slow(request: Request, before: int) -> Body | Fault:
        return Fault(200, b"{}", delay=1.5) if before == 0 else rating(request)

    with judging(after_probes(slow), relevance=False, timeout_seconds=0.3) as (judge, _endpoint):
        [score] = judge.score([item(40)])
    assert score.trait == pytest.approx(42.5)
    assert judge.tally["retries"] >= 1


def test_nobody_listening_is_transient() -> None:
    with serving(obedient) as endpoint:
        gone = described(endpoint)
    with pytest.raises(TransientFault, match="ConnectError"):
        OpenAIJudge(Client(gone, backoff=0.001), TRAIT)


@pytest.mark.parametrize("status", [401, 403, 404, 307])
def test_a_judge_that_will_not_have_us_ends_the_job(status: int) -> None:
    with (
        judging(after_probes(lambda _request, _before: Fault(status, b"", {"Location": "http://127.0.0.1:1/"}))) as (
            judge,
            _endpoint,
        ),
        pytest.raises(JobFault) as fault,
    ):
        judge.score([item(40)])
    assert fault.value.code == "judge_unusable"
    assert f"HTTP {status}" in fault.value.detail
    assert "scored again" in fault.value.detail


def test_one_refused_request_is_a_failure_of_that_answer() -> None:
    def filtered(request: Request, _before: int) -> Body | Fault:
        return Fault(400, b'{"error": "content filter"}') if "worth 66" in request.text else rating(request)

    with judging(filtered, relevance=False) as (judge, _endpoint):
        good, bad = judge.score([item(40), item(66)])
    assert good.trait is not None
    assert bad.raw["failures"] == {"trait": "refused: HTTP 400", "coherence": "refused: HTTP 400"}


BROKEN: list[tuple[str, Body, str]] = [
    ("prose", completion({"I": 0.9, "As": 0.1}, "I would say about eighty"), "low_mass"),
    ("no choices", {"choices": []}, "no_choices"),
    ("an error in 200", {"error": {"message": "overloaded"}}, "no_choices"),
    ("no logprobs", {"choices": [{"message": {"content": "80"}, "logprobs": None}]}, "no_logprobs"),
    ("NaN", {"choices": [{"logprobs": {"content": [{"top_logprobs": [{"token": "80", "logprob": float("nan")}]}]}}]}, "bad_logprobs"),
    ("a probability over 1", {"choices": [{"logprobs": {"content": [{"top_logprobs": [{"token": "80", "logprob": 3.0}]}]}}]}, "bad_logprobs"),
    ("a list", [1, 2], "no_choices"),  # type: ignore[list-item]
    ("strings for lists", {"choices": [{"message": "x", "logprobs": "y"}]}, "no_choices"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "failure"), [(body, failure) for _, body, failure in BROKEN], ids=[name for name, *_ in BROKEN])
def test_broken_replies_are_counted_and_bounded(body: Body, failure: str) -> None:
    """One is a failure of its answer; when they become many the job ends, says so, and has not scored any of them 0."""

    def broken(request: Request, _before: int) -> Body:
        return body if "worth 66" in request.text or "worth 9" in request.text else rating(request)

    with judging(after_probes(broken), relevance=False, concurrency=2) as (judge, _endpoint):
        scores = judge.score([item(66), *(item(worth) for worth in range(10, 50))])
        assert scores[0].trait is None
        assert scores[0].raw["failures"]["trait"] == failure
        assert all(score.trait is not None for score in scores[1:])
        with pytest.raises(JobFault) as fault:
            judge.score([item(90, more=str(number)) for number in range(60)])
    assert fault.value.code == "judge_unusable"
    assert fault.value.facts["failed"] > openai.MOST_FAILURES * fault.value.facts["replies"]
    assert failure in fault.value.detail


def test_no_more_requests_are_under_way_than_allowed_and_judging_overlaps_with_other_work() -> None:
    """The endpoint holds every reply until both batches were handed over: were `submit` to wait for its replies, it would never come back."""
    handed_over = threading.Event()
    held: list[bool] = []

    def patient(request: Request, _before: int) -> Body:
        held.append(handed_over.wait(timeout=30))
        time.sleep(0.02)
        return rating(request)

    with judging(after_probes(patient), relevance=False, concurrency=3) as (judge, endpoint):
        first, second = judge.submit([item(worth) for worth in range(20)]), judge.submit([item(worth) for worth in range(20, 40)])
        handed_over.set()
        scores = [*first.result(), *second.result()]
    assert held
    assert all(held)
    assert endpoint.together == 3
    assert [round(score.trait or -1, 1) for score in scores[:3]] == [2.5, 3.5, 4.5]


def test_requests_are_spaced_under_a_limit_per_minute() -> None:
    with judging(obedient, relevance=False, concurrency=8, requests_per_minute=1200) as (judge, endpoint):
        judge.score([item(worth) for worth in range(4)])
    began = sorted(request.began for request in endpoint.requests)
    assert began[-1] - began[0] >= (len(began) - 1) * 0.05 * 0.9


def test_cost_is_counted() -> None:
    with judging(obedient, relevance=False) as (judge, endpoint):
        judge.score([item(40), item(50)])
        tally = judge.tally
    assert tally["requests"] == len(endpoint.requests) == 5 + 4
    assert (tally["prompt_tokens"], tally["completion_tokens"]) == (900, 9)
    assert (tally["items"], tally["replies"]) == (2, 4)


def test_the_key_comes_from_the_named_variable_and_is_never_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOUSE_JUDGE_KEY", f"{SECRET}\n")
    caplog.set_level(0)
    with judging(obedient, key_env="HOUSE_JUDGE_KEY") as (judge, endpoint):
        [score] = judge.score([item(40)])
    assert endpoint.requests[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in caplog.text + repr(judge.identity) + repr(score) + repr(judge.tally)
    with (
        serving(lambda request, _: Fault(401, request.headers["Authorization"].encode())) as leaking,
        pytest.raises(JobFault) as fault,
    ):
        OpenAIJudge(Client(described(leaking, key_env="HOUSE_JUDGE_KEY")), TRAIT)
    assert SECRET not in str(fault.value) + caplog.text


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOUSE_JUDGE_KEY", raising=False)
    with serving(obedient) as endpoint, pytest.raises(JobFault) as fault:
        Client(described(endpoint, key_env="HOUSE_JUDGE_KEY"))
    assert fault.value.code == "judge_key_missing"
    assert "HOUSE_JUDGE_KEY" in fault.value.detail


def test_a_reply_without_end_is_cut() -> None:
    def endless(request: Request, before: int) -> Body | Fault:
        return Fault(200, b"x" * (2 << 20)) if before == 0 else rating(request)

    with judging(after_probes(endless), relevance=False) as (judge, _endpoint):
        assert judge.score([item(40)])[0].trait == pytest.approx(42.5)
        assert judge.tally["retries"] >= 1


def test_closing_ends_what_waits() -> None:
    with judging(after_probes(lambda _request, _before: Fault(503))) as (judge, _endpoint):
        judge._endpoint._backoff = 30
        waiting = judge.submit([item(40)])
        time.sleep(0.2)
        began = time.monotonic()
        judge.close()
        with pytest.raises(TransientFault):
            waiting.result(5)
        assert time.monotonic() - began < 5


def test_a_judge_is_opened_from_what_a_spec_holds() -> None:
    more = {
        "extra": {"chat_template_kwargs": {"enable_thinking": False}},
        "token_limit_field": "max_completion_tokens",
        "relevance": False,
    }
    with serving(obedient) as endpoint:
        judge = open_judge(described(endpoint, **more), None, Material(TRAIT, None, 8), None)  # type: ignore[arg-type]
        [score] = judge.score([item(40)])
        judge.close()
    assert score.relevance is None
    sent = endpoint.ratings[0].body
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}
    assert "max_tokens" not in sent
    assert sent["max_completion_tokens"] == 1
