"""The OpenAI judge when its endpoint fails: retries, rate limits, timeouts, failure counts and cost, and that the key is never shown."""

import email.utils
import socket
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


def test_transient_faults_are_retried() -> None:
    faults = [Fault(500), Fault(0), Fault(503), Fault(502, b"<html>bad gateway</html>"), Fault(200, b"<html>maintenance</html>")]

    def flaky(request: Request, before: int) -> Body | Fault:
        return faults[before] if before < len(faults) else rating(request)

    with judging(after_probes(flaky), relevance=False, concurrency=1) as (judge, _endpoint):
        [score] = judge.score([item(40)])
    assert score.trait == pytest.approx(42.5)
    assert judge.tally["retries"] == len(faults)


def test_a_rate_limit_holds_all_requests_back_for_the_stated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, hold = threading.Event(), module.Pace.hold

    def limited(request: Request, before: int) -> Body | Fault:
        if before == 0:
            return Fault(429, b"{}", {"Retry-After": "0.5"})
        heard.wait(20)  # the first requests must still be under way when the judge hears of the limit
        return rating(request)

    def noted(pace: module.Pace, seconds: float) -> None:
        hold(pace, seconds)
        heard.set()

    monkeypatch.setattr(module.Pace, "hold", noted)
    with judging(after_probes(limited), relevance=False, concurrency=4) as (judge, endpoint):
        judge.score([item(worth) for worth in range(10, 60, 10)])
    began = sorted(request.began for request in endpoint.ratings)
    assert len(began) == 11  # trait and coherence of 5 items, and the one that is repeated
    assert all(at - began[0] >= 0.45 for at in began[4:])  # the first four began together, before the limit


def test_a_long_rate_limit_sends_the_job_back_to_the_queue() -> None:
    limited = after_probes(lambda _request, _before: Fault(429, b"", {"Retry-After": "3600"}))
    with judging(limited) as (judge, _endpoint), pytest.raises(TransientFault, match="wait 3600 seconds"):
        judge.score([item(40)])


def test_retry_after_is_read_as_seconds_or_a_date() -> None:
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
def test_an_endpoint_that_stays_away_is_transient_and_scores_are_kept(fault: Fault) -> None:
    away = threading.Event()

    def behave(request: Request, _before: int) -> Body | Fault:
        return fault if away.is_set() and "worth 60" in request.text else rating(request)

    with judging(behave, relevance=False, concurrency=2) as (judge, endpoint):
        judge.score([item(40)])
        away.set()
        with pytest.raises(TransientFault, match=f"did not answer in {TRIES} tries"):
            judge.score([item(40), item(60)])
        while len(judge._asked) > 2:  # both about the first answer are remembered; another about the second is in its last tries
            time.sleep(0.01)
        away.clear()
        before = len(endpoint.ratings)
        assert [score.trait for score in judge.score([item(40), item(60)])] == [pytest.approx(42.5), pytest.approx(62.5)]
        assert not any("worth 40" in request.text for request in endpoint.ratings[before:])


def test_a_slow_reply_is_abandoned_and_retried() -> None:
    def slow(request: Request, before: int) -> Body | Fault:
        return Fault(200, b"{}", delay=1.5) if before == 0 else rating(request)

    with judging(after_probes(slow), relevance=False, timeout_seconds=0.3) as (judge, _endpoint):
        [score] = judge.score([item(40)])
    assert score.trait == pytest.approx(42.5)
    assert judge.tally["retries"] >= 1


def test_a_refused_connection_is_transient() -> None:
    with serving(obedient) as endpoint, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # it is kept and never listens
        gone = described(endpoint) | {"url": f"http://127.0.0.1:{closed.getsockname()[1]}/v1"}
        with pytest.raises(TransientFault, match="ConnectError"):
            OpenAIJudge(Client(gone, backoff=0.001), TRAIT)


@pytest.mark.parametrize("status", [401, 403, 404, 307])
def test_a_status_that_no_retry_helps_ends_the_job(status: int) -> None:
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


def test_a_refused_request_fails_only_its_own_answer() -> None:
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
def test_broken_replies_are_counted_and_too_many_end_the_job(body: Body, failure: str) -> None:
    """One broken reply is a failure of its answer, never a score of 0; too many end the job with the count."""

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


def test_requests_stay_within_concurrency_and_submit_does_not_wait() -> None:
    """The endpoint holds every reply until both batches are submitted, so a `submit` that waited for replies would never return."""
    handed_over = threading.Event()
    held: list[bool] = []

    def patient(request: Request, _before: int) -> Body:
        held.append(handed_over.wait(timeout=120))
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
    assert began[-1] - began[0] >= (len(began) - 1) * 0.05 * 0.9  # 1200 a minute is one in 0.05 s; 10 % for the clock


def test_cost_is_counted() -> None:
    with judging(obedient, relevance=False) as (judge, endpoint):
        judge.score([item(40), item(50)])
        tally = judge.tally
    assert tally["requests"] == len(endpoint.requests) == 5 + 4  # probes, and trait and coherence of two items
    assert (tally["prompt_tokens"], tally["completion_tokens"]) == (900, 9)
    assert (tally["items"], tally["replies"]) == (2, 4)


def test_the_key_is_read_from_the_named_variable_and_never_shown(
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


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_that_no_header_can_carry_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("HOUSE_JUDGE_KEY", key)
    with serving(obedient) as endpoint, pytest.raises(JobFault) as fault:
        Client(described(endpoint, key_env="HOUSE_JUDGE_KEY"))
    assert fault.value.code == "judge_key_invalid"
    assert "HOUSE_JUDGE_KEY" in fault.value.detail
    assert key not in fault.value.detail


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOUSE_JUDGE_KEY", raising=False)
    with serving(obedient) as endpoint, pytest.raises(JobFault) as fault:
        Client(described(endpoint, key_env="HOUSE_JUDGE_KEY"))
    assert fault.value.code == "judge_key_missing"
    assert "HOUSE_JUDGE_KEY" in fault.value.detail


def test_a_reply_over_the_size_limit_is_retried() -> None:
    def endless(request: Request, before: int) -> Body | Fault:
        return Fault(200, b"x" * (2 << 20)) if before == 0 else rating(request)

    with judging(after_probes(endless), relevance=False) as (judge, _endpoint):
        assert judge.score([item(40)])[0].trait == pytest.approx(42.5)
        assert judge.tally["retries"] >= 1


def test_closing_ends_a_request_that_waits_for_its_retry() -> None:
    with judging(after_probes(lambda _request, _before: Fault(503))) as (judge, _endpoint):
        judge._endpoint._backoff = 200
        waiting = judge.submit([item(40)])
        time.sleep(0.2)  # time for the first request to fail and the wait for its retry to begin
        began = time.monotonic()
        judge.close()
        with pytest.raises(TransientFault):
            waiting.result(120)
        assert time.monotonic() - began < 60, "the retry would come after 100 to 200 s"


def test_a_judge_is_opened_with_the_options_of_its_spec() -> None:
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
