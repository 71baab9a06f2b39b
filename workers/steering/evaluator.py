"""Turns run specs into runs: generates the answers of several runs in shared batches, judges them, and stores each finished run as a cell.

Uses the model, the judge and the job's cells: `run/` (runs), `part/` (answers of an unfinished run), `texts/` (answers that are not judged yet).

Stored runs are reused, never generated or judged again. Runs are processed in waves, so that a kill loses at most one wave. In float32, where a
text does not depend on the rest of its batch, a wave is small enough for a slow model to report progress within seconds. Where the judge does
not use this device, one wave is judged while the next is generated, and texts are stored before they are judged, so that an unreachable judge
costs no text. Where the judge uses the device, a run that takes longer than a wave is cut into pieces, and each piece is stored when it ends: a
job that waits for the device then waits for one piece. The scores of every text are stored with its mean log-likelihood under the unsteered
model.
"""

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch

from terms.documents.judge import RawScore
from terms.documents.steering import PushEffect
from terms.specs import Sampling as SamplingSpec
from workers.job import JobContext
from workers.judges.base import Judge, JudgeItem, Score
from workers.judges.coherence import OWN
from workers.judges.waiting import Judging
from workers.judges.words import repeated_share
from workers.lm.errors import ModelFault
from workers.lm.likelihood import settled_log_likelihoods
from workers.lm.model import LanguageModel
from workers.lm.sampling import Sampling
from workers.lm.steered import SteeredAnswer, SteeredRow, generate_steered, settled_change
from workers.steering.questions import Question
from workers.steering.retries import texts_cell
from workers.steering.runs import Part, Run, RunSpec, judged

WAVE_BATCHES = 4
"""Number of batches in a wave: enough to keep batches full, few enough that a lost wave costs little."""
WAVE_SECONDS = 10.0
"""Pieces of a run that take longer are halved. Waves that take at least half as long are halved, quicker ones doubled up to WAVE_BATCHES, where
that changes no text."""
FIRST_ROWS = 4
"""Number of answers in the first piece, when the model's pace is still unknown."""


@dataclass(frozen=True)
class _Piece:
    """The questions of a run from number `start` up to but not including `stop`."""

    spec: RunSpec
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def questions(self) -> Sequence[Question]:
        """The piece's questions."""
        return self.spec.questions[self.start : self.stop]


class Evaluator:
    """Runs specs on one model under one judge. `batch_rows` is the largest batch; `sampling` None means greedy."""

    def __init__(
        self,
        lm: LanguageModel,
        context: JobContext,
        judge: Judge,
        *,
        max_new_tokens: int,
        batch_rows: int,
        sampling: SamplingSpec | None = None,
    ) -> None:
        self._lm = lm
        self._context = context
        self._judge = judge
        self._max_new_tokens = max_new_tokens
        self._batch_rows = batch_rows
        self._sampling = sampling
        self._known: dict[str, Run] = {}
        self._done = 0
        self._wave_rows = max(1, batch_rows // WAVE_BATCHES)
        self._piece_rows = FIRST_ROWS
        self._parts: dict[str, list[Part]] = {}
        self.tokens = 0
        self.generated_runs = 0

    @property
    def runs(self) -> list[Run]:
        """Every run so far, in the order of the first request."""
        return list(self._known.values())

    def begin(self, phase: str, answers: int, share: float | None = None, *, unit: str = "answers") -> None:
        """Begins a phase of about `answers` answers, or of other units that the caller counts with `tick`."""
        self._context.phase(phase, answers, unit, share=share)
        self._done = 0

    def alive(self) -> None:
        """Reports that the job is alive, without progress. Raises what the context raises when the job must stop."""
        self._context.progress(self._done)

    def tick(self) -> None:
        """Counts one finished unit of the phase."""
        self._done += 1
        self._context.progress(self._done)

    def evaluate(self, specs: Sequence[RunSpec]) -> list[Run]:
        """Returns the runs, in the specs' order. Raises ModelFault no_effect when an intervention never fired."""
        fresh = {spec.id: spec for spec in specs if spec.id not in self._known}
        missing = []
        for spec in fresh.values():
            kept = self._context.cell(f"run/{spec.id}")
            if kept is None:
                missing.append(spec)
            else:
                self._known[spec.id] = Run.from_bytes(spec, kept)
        unfinished = {spec.id for spec in missing}
        distinct = {spec.id: len(spec.questions) for spec in specs}
        self._done += sum(count for name, count in distinct.items() if name not in unfinished)
        self._context.progress(self._done)
        self._fill(missing)
        # runs in the order of the requests, also after a resume, as runs.jsonl lists them in this order
        self._known = {key: self._known[key] for key in [*(k for k in self._known if k not in fresh), *fresh]}
        return [self._known[spec.id] for spec in specs]

    def _fill(self, missing: Sequence[RunSpec]) -> None:
        with Judging(self._judge, self._context) as judging:
            pending: list[tuple[_Piece, list[SteeredAnswer], Future[list[Score]]]] = []
            for wave in self._waves(missing):
                for piece, answered in zip(wave, self._texts(wave), strict=True):
                    items = [
                        _item(question, answer, self._text(answer))
                        for question, answer in zip(piece.questions, answered, strict=True)
                    ]
                    pending.append((piece, answered, judging.submit(items)))
                waiting = pending if self._judge.uses_device else [submitted for submitted in pending if submitted[2].done()]
                pending = [submitted for submitted in pending if submitted not in waiting]
                for piece, answered, scores in waiting:
                    self._keep(piece, answered, judging.result(scores, self._done))
                self._context.may_yield()
            for piece, answered, scores in pending:
                self._keep(piece, answered, judging.result(scores, self._done))

    def _waves(self, specs: Sequence[RunSpec]) -> Iterator[list[_Piece]]:
        """Divides the specs, in order, into waves of WAVE_BATCHES batches of answers (or the rest); fewer where the last wave took too long."""
        most = WAVE_BATCHES * self._batch_rows
        rest = deque(_Piece(spec, self._kept_of(spec) if self._cuts else 0, len(spec.questions)) for spec in specs)
        while rest:
            rows = most if self._lm.dtype != torch.float32 else min(most, self._wave_rows)
            wave, filled = [self._next(rest)], 0
            while rest and (filled := filled + len(wave[-1])) < rows:
                wave.append(self._next(rest))
            began = time.monotonic()
            yield wave
            seconds = time.monotonic() - began
            quick = seconds < WAVE_SECONDS / 2
            self._wave_rows = min(most, self._wave_rows * 2 if quick else max(1, self._wave_rows // 2))
            if quick:
                self._piece_rows = min(most, self._piece_rows * 2)
            elif len(wave) == 1 and seconds > WAVE_SECONDS:
                self._piece_rows = max(1, len(wave[0]) // 2)

    @property
    def _cuts(self) -> bool:
        """Whether a run may be cut into pieces: only where this changes no text and no remote judge needs many texts at once."""
        return self._judge.uses_device and self._lm.dtype == torch.float32

    def _next(self, rest: deque[_Piece]) -> _Piece:
        """The first piece, cut if it is too long."""
        piece = rest.popleft()
        if not self._cuts or len(piece) <= self._piece_rows:
            return piece
        middle = piece.start + self._piece_rows
        rest.appendleft(_Piece(piece.spec, middle, piece.stop))
        return _Piece(piece.spec, piece.start, middle)

    def _kept_of(self, spec: RunSpec) -> int:
        """The number of answers of the run that an earlier attempt stored; this attempt then continues with pieces of the same size as the
        last."""
        parts: list[Part] = []
        done = 0
        while (kept := self._context.cell(_part_cell(spec.id, done))) is not None:
            parts.append(Part.from_bytes(kept))
            done += len(parts[-1].answers)
        if parts:
            self._parts[spec.id] = parts
            self._piece_rows = min(self._piece_rows, len(parts[-1].answers))
            self._done += done
        return done

    def _texts(self, wave: Sequence[_Piece]) -> list[list[SteeredAnswer]]:
        """The answers of each piece: stored by an attempt that could not reach its judge, or generated now."""
        if self._judge.uses_device:
            return self._generate(wave)
        kept = {piece.spec.id: self._context.cell(texts_cell(piece.spec.id)) for piece in wave}
        fresh = [piece for piece in wave if kept[piece.spec.id] is None]
        answers = dict(zip((piece.spec.id for piece in fresh), self._generate(fresh), strict=True)) if fresh else {}
        for name, answered in answers.items():
            lines = [[list(answer.ids), answer.ended, answer.finite, dict(answer.effect)] for answer in answered]
            self._context.commit_cell(texts_cell(name), json.dumps(lines, separators=(",", ":")).encode())
        stored = {name: [SteeredAnswer(*line) for line in json.loads(data)] for name, data in kept.items() if data is not None}
        return [(answers | stored)[piece.spec.id] for piece in wave]

    def _generate(self, wave: Sequence[_Piece]) -> list[list[SteeredAnswer]]:
        rows = [
            SteeredRow(question.prompt_ids, piece.spec.pushes, self._row_sampling(place))
            for piece in wave
            for place, question in enumerate(piece.questions, piece.start)
        ]
        answers = iter(
            generate_steered(
                self._lm,
                rows,
                max_new_tokens=self._max_new_tokens,
                batch_rows=self._batch_rows,
                on_step=lambda _counts: self._context.progress(self._done),
            )
        )
        return [[next(answers) for _ in piece.questions] for piece in wave]

    def _row_sampling(self, place: int) -> Sampling | None:
        """The sampling of a question: each question draws from its own stream, which is the same for every intervention."""
        if self._sampling is None:
            return None
        return Sampling(self._sampling["temperature"], self._sampling["top_p"], self._sampling["seed"] * 1_000_003 + place)

    def _text(self, answer: SteeredAnswer) -> str:
        return str(self._lm.tokenizer.decode(list(answer.ids), skip_special_tokens=True))

    def _keep(self, piece: _Piece, answered: Sequence[SteeredAnswer], scores: Sequence[Score]) -> None:
        answers = [
            judged(answer.ids, self._text(answer), ended=answer.ended, finite=answer.finite, score=score, raw=raw)
            for answer, score, raw in zip(answered, scores, self._read(piece, answered, scores), strict=True)
        ]
        changes = tuple(
            (int(answer.effect["fires"]), float(answer.effect["mean_change"])) for answer in answered if piece.spec.pushes
        )
        self._add(piece, Part(tuple(answers), changes))
        self.tokens += sum(len(answer.ids) for answer in answered)
        self._done += len(answers)
        self._context.progress(self._done)

    def _add(self, piece: _Piece, part: Part) -> None:
        """Stores a part; the last part completes and stores the run."""
        spec = piece.spec
        parts = self._parts.setdefault(spec.id, [])
        parts.append(part)
        if piece.stop < len(spec.questions):
            self._context.commit_cell(_part_cell(spec.id, piece.start), part.to_bytes())
            return
        run = Run(spec, tuple(answer for part in parts for answer in part.answers), _effect(spec, parts))
        self._context.commit_cell(f"run/{spec.id}", run.to_bytes())
        self._known[spec.id] = run
        self.generated_runs += 1
        del self._parts[spec.id]

    def _read(self, piece: _Piece, answered: Sequence[SteeredAnswer], scores: Sequence[Score]) -> list[RawScore]:
        """The judge's `raw` of each answer, with the likelihood after its own prompt where the judge did not compute it."""
        raws = [score.raw for score in scores]
        unread = [i for i, answer in enumerate(answered) if answer.ids and "log_likelihood" not in raws[i]]
        prompts, texts = [piece.questions[i].prompt_ids for i in unread], [answered[i].ids for i in unread]
        likelihoods = self._likelihoods(prompts, texts) if unread else []
        for i, value in zip(unread, likelihoods, strict=True):
            raws[i] = {
                **raws[i],
                "log_likelihood": value,
                "repeated": round(repeated_share(answered[i].ids), 4),
                "read_after": OWN,
            }
        return raws

    def _likelihoods(self, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> list[float]:
        return settled_log_likelihoods(self._lm, prompts, texts, batch_rows=self._batch_rows, on_rows=lambda _rows: self.alive())


def _item(question: Question, answer: SteeredAnswer, text: str) -> JudgeItem:
    return JudgeItem(question.question, question.system_prompt, text, answer.ids, question.prompt_ids)


def _part_cell(run: str, start: int) -> str:
    """The name of the cell for a run's answers from question `start` to the end of that piece."""
    return f"part/{run}/{start}"


def _effect(spec: RunSpec, parts: Sequence[Part]) -> PushEffect:
    """The effect of the push over all answers of a run. An intervention that never fired is a fault, not a score of 0 (docs/science.md, 4.1):
    in any answer, or for the scope `response` in all of them, because it has nothing to change where an answer ends at its first token.
    """
    if not spec.pushes:
        return {}
    changes = [pair for part in parts for pair in part.changes]
    fired = [(count, change) for count, change in changes if count]
    needed = 1 if all(push.scope == "response" for push in spec.pushes) else len(changes)
    if len(fired) < needed:
        raise ModelFault(
            "no_effect",
            f"The intervention of {spec.id} fired for {len(fired)} of {len(changes)} answers. Such a run would look like a run without "
            "effect: the site of the hook does not fit this model, or every answer ended at its first token.",
        )
    change = float(np.mean([change for _, change in fired]))
    not_finite = sum(not answer.finite for part in parts for answer in part.answers)
    return {"fires": sum(count for count, _ in fired), "mean_change": settled_change(change), "not_finite": not_finite}
