"""Finds the prompts under which a text's opening is most likely, without computing the opening under all prompts.

Every prompt's last token predicts the text's first token. A log-likelihood is at most 0, so the summed log-likelihood of a beginning is an upper
bound for the opening's. A prompt is skipped where by that bound its opening

    costs more than the whole text does after the best prompt so far: it cannot be better for the text (`is_beaten`); or
    is below the openings of READERS prompts already read: it is not among the best.

The LEAD prompts with the likeliest first token are read first, and then the prompts that are not skipped. Values are settled to PRECISION, so
each may be off by half of that and MARGIN; the bounds allow for this. In float32 the result therefore equals that of reading the opening under
all prompts. Likelihoods of an opening are means over its tokens, as for a text.
"""

from collections.abc import Callable, Sequence

from workers.judges.preparing import Ids, Scores
from workers.lm.likelihood import MARGIN, PRECISION

OPENING = 12
"""Number of a text's first tokens by which prompts are ranked."""
READERS = 5
LEAD = 8
"""Number of prompts read first, enough for a high score in fifth place: on the shipped models 4, 8 or 16 save the same to a tenth."""
SLACK = PRECISION / 2 + MARGIN
"""The largest difference between a settled mean and the exact mean."""


class Ranking:
    """Ranks the prompts for one text after another. Remembers earlier readings, which never changes a result."""

    def __init__(self, prompts: Sequence[Ids], scores: Scores, fits: Callable[[Ids, Ids], bool]) -> None:
        """`scores` computes rows of a prompt and a text; `fits` says whether both fit the context together."""
        self._prompts, self._scores, self._fits = prompts, scores, fits
        self._first: dict[int, dict[int, float]] = {}
        self._read: dict[Ids, dict[int, float]] = {}

    def best(self, texts: Sequence[tuple[Ids, float | None]]) -> list[list[tuple[float, int]]]:
        """Returns for each text the READERS prompts that give its opening the highest likelihood, as (mean log-likelihood of the opening,
        number), best first. Each text comes with its mean log-likelihood after the best prompt so far; prompts that this beats may be missing
        from the result."""
        fitting = {text: [n for n, prompt in enumerate(self._prompts) if self._fits(prompt, text)] for text, _ in texts}
        self._read_first([(text[0], number) for text in fitting for number in fitting[text]])
        for most in (LEAD, len(self._prompts)):
            wanted = [(number, text[:OPENING]) for text, best in texts for number in self._open(text, best, fitting[text])[:most]]
            self._read_openings(list(dict.fromkeys(wanted)))
        return [self._ranked(text, fitting[text])[:READERS] for text, _ in texts]

    def _read_first(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Computes the log-likelihoods of the first tokens after the prompts of these numbers."""
        missing = [(token, number) for token, number in dict.fromkeys(wanted) if number not in self._first.get(token, {})]
        scores = self._scores([(self._prompts[number], (token,)) for token, number in missing])
        for (token, number), score in zip(missing, scores, strict=True):
            self._first.setdefault(token, {})[number] = score

    def _read_openings(self, wanted: Sequence[tuple[int, Ids]]) -> None:
        scores = self._scores([(self._prompts[number], opening) for number, opening in wanted])
        for (number, opening), score in zip(wanted, scores, strict=True):
            self._read.setdefault(opening, {})[number] = score

    def _open(self, text: Ids, best: float | None, fitting: Sequence[int]) -> list[int]:
        """The prompts neither read nor skipped, by descending likelihood of the first token."""
        read, first = self._read.get(text[:OPENING], {}), self._first.get(text[0], {})
        ranked = [score for score, _ in self._ranked(text, fitting)]
        fifth = ranked[READERS - 1] if len(ranked) >= READERS else None

        def may_be_best(number: int) -> bool:
            most = (first[number] + SLACK) / min(OPENING, len(text)) + SLACK
            return not (best is not None and is_beaten(most, len(text), best)) and (fifth is None or most >= fifth)

        unread = [number for number in fitting if number not in read and may_be_best(number)]
        return sorted(unread, key=lambda number: (-first[number], number))

    def _ranked(self, text: Ids, fitting: Sequence[int]) -> list[tuple[float, int]]:
        read = self._read.get(text[:OPENING], {})
        return sorted(((read[number], number) for number in fitting if number in read), key=lambda one: (-one[0], one[1]))


def is_beaten(opening: float, length: int, best: float) -> bool:
    """Whether the opening alone, by its mean, costs more than the whole text after its best prompt: further tokens can only add cost."""
    return opening * min(OPENING, length) <= best * length
