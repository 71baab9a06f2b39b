"""Judges with a model behind an OpenAI-compatible endpoint: one token per score, read from its 20 likeliest alternatives.

At start the judge requests numbers that the model must know as single tokens, because a model that splits "85" would answer 8. If it splits
numbers, letters stand for 0 to 100; a model that fails with letters too is refused. Failures are counted; a judge that fails too often is
unusable.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from terms.documents.judge import JudgeIdentity
from terms.documents.trait import TraitDataset
from terms.judging import LETTERS, NUMBERS
from workers.job import JobFault, TransientFault
from workers.judges.base import JudgeItem, Score
from workers.judges.endpoint import Endpoint, RequestRefused
from workers.judges.prompts import ENGAGES, Kind, ReplyScale, messages, probe, prompt_hash
from workers.judges.replies import Parsed, combined, parse

VERSION = "1"
PROBED: Mapping[ReplyScale, Sequence[str]] = {"numbers": ("0", "7", "42", "85", "100"), "letters": ("A", "F", "K")}
VALUES: Mapping[ReplyScale, Mapping[str, float]] = {"numbers": NUMBERS, "letters": LETTERS}
MOST_FAILURES = 0.3
JUDGED_AFTER = 20
"""Number of replies after which a share of failures above MOST_FAILURES ends the job."""


class OpenAIJudge:
    """Scores answers on its own threads; equal requests are made once."""

    uses_device = False

    def __init__(self, endpoint: Endpoint, trait: TraitDataset, *, relevance: bool = True) -> None:
        """Tests which scale the endpoint can use. Raises JobFault judge_unusable, TransientFault."""
        self._endpoint, self._trait = endpoint, trait
        self._kinds: tuple[Kind, ...] = ("trait", "coherence", "relevance") if relevance else ("trait", "coherence")
        self._requests = ThreadPoolExecutor(endpoint.concurrency, thread_name_prefix="judge-request")
        self._submitted = ThreadPoolExecutor(2, thread_name_prefix="judge")
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, ...], Future[Parsed]] = {}
        self._counts: Counter[str] = Counter()
        self._fault: Exception | None = None
        try:
            self._scale = self._find_scale()
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> JudgeIdentity:
        """The judge's name, model, scale, and the hash of its prompts."""
        return {
            "name": self._endpoint.name,
            "version": VERSION,
            "prompt_hash": prompt_hash(self._trait, self._scale),
            "kind": "openai",
            "model": self._endpoint.model,
            "scale": self._scale,
        }

    @property
    def tally(self) -> Mapping[str, int]:
        """Counts of items, replies and failures by kind, and of requests, retries and tokens, which show the cost."""
        with self._lock:
            return {**self._counts, **self._endpoint.counts}

    def score(self, items: Sequence[JudgeItem]) -> list[Score]:
        """Returns scores in order. Raises TransientFault when the endpoint stays unreachable, JobFault judge_unusable when its replies are
        unusable. Finished scores are remembered, so that a second try requests only the rest."""
        asked = [{kind: self._ask(kind, item) for kind in self._kinds_for(item)} for item in items]
        try:
            scores = [
                combined(item, {kind: future.result() for kind, future in row.items()})
                for item, row in zip(items, asked, strict=True)
            ]
        except CancelledError:
            raise self._fault or TransientFault(f"the judge {self._endpoint.name} was closed") from None
        except BaseException as error:
            self._fault = self._fault or (error if isinstance(error, Exception) else None)
            for future in (future for row in asked for future in row.values()):
                future.cancel()
            raise
        with self._lock:
            self._counts["items"] += len(items)
        return scores

    def submit(self, items: Sequence[JudgeItem]) -> Future[list[Score]]:
        """Starts `score` in parallel with the caller's own work."""
        return self._submitted.submit(self.score, items)

    def close(self) -> None:
        """Ends running scores with TransientFault. Returns at once, without waiting for requests already sent."""
        self._endpoint.close()
        self._requests.shutdown(wait=False, cancel_futures=True)
        self._submitted.shutdown(wait=False, cancel_futures=True)

    def _kinds_for(self, item: JudgeItem) -> Sequence[Kind]:
        """The kinds of score to request. An empty answer needs no request for coherence or relevance: both are 0."""
        return self._kinds if item.text.strip() else ("trait",)

    def _ask(self, kind: Kind, item: JudgeItem) -> Future[Parsed]:
        """The reply, from the memory, a running request or a new request. A request that raised is forgotten, so that a later call makes it
        again; a reply without a score is remembered. Raises TransientFault once the judge is closed."""
        key = (kind, item.text) if kind == "coherence" else (kind, item.question, item.text)
        with self._lock:
            if key in self._asked:
                return self._asked[key]
            try:
                future = self._asked[key] = self._requests.submit(self._reply, kind, item)
            except RuntimeError:  # no executor takes work after its shutdown
                raise TransientFault(f"the judge {self._endpoint.name} was closed") from None
        future.add_done_callback(lambda ended: self._forget_failed(key, ended))
        return future

    def _forget_failed(self, key: tuple[str, ...], future: Future[Parsed]) -> None:
        if future.cancelled() or future.exception() is not None:
            self._asked.pop(key, None)  # without the lock: `close` calls this while a thread that holds it waits for `close`

    def _reply(self, kind: Kind, item: JudgeItem) -> Parsed:
        values = ENGAGES if kind == "relevance" else VALUES[self._scale]
        try:
            parsed = parse(self._endpoint.ask(messages(kind, item, self._trait, self._scale)), values)
        except RequestRefused as refused:
            parsed = Parsed(None, 0.0, {}, failure=f"refused: {refused}")
        with self._lock:
            self._counts["replies"] += 1
            if parsed.failure is not None:
                self._counts[f"failed_{kind}"] += 1
                self._counts["failed"] += 1
            replies, failed = self._counts["replies"], self._counts["failed"]
        if replies >= JUDGED_AFTER and failed > MOST_FAILURES * replies:
            raise JobFault(
                "judge_unusable",
                f"The judge {self._endpoint.name} gave {failed} of {replies} replies without a score (the last: {parsed.failure}, "
                f"{parsed.words[:80]!r}); at most {100 * MOST_FAILURES:.0f} % may fail. Name another judge; the "
                "generated texts are kept and can be scored again.",
                failed=failed,
                replies=replies,
            )
        return parsed

    def _find_scale(self) -> ReplyScale:
        for scale, words in PROBED.items():
            if all(self._has_token(word, scale) for word in words):
                return scale
        raise JobFault(
            "judge_unusable",
            f"The judge {self._endpoint.name} ({self._endpoint.model}) gives neither whole numbers nor letters as single tokens with their "
            "probabilities, so no score can be read from it. A judge must return logprobs with 20 top_logprobs; name another judge.",
        )

    def _has_token(self, word: str, scale: ReplyScale) -> bool:
        """Whether the word is among the alternatives when requested. A model that splits the word cannot offer it as a token."""
        asked = f"the number {word}" if scale == "numbers" else f"the letter {word}"
        try:
            parsed = parse(self._endpoint.ask(probe(asked)), {word: 1.0})
        except RequestRefused as refused:
            raise JobFault(
                "judge_unusable",
                f"The judge {self._endpoint.name} refuses a request for one token with 20 top_logprobs ({refused}). "
                "Its endpoint or model does not support that. Name another judge.",
            ) from refused
        return word in {token.strip() for token in parsed.top}
