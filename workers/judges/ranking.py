"""Finds the prompts after which the opening of a text is most likely, without computing the opening after every prompt.

The opening is the first OPENING tokens of a text. Its likelihood, like that of a whole text, is the mean log-likelihood of its tokens. The first
token alone is computed after every prompt; it bounds the opening's likelihood from above, because no log-likelihood is above 0. A prompt is
skipped where this bound shows that

    the opening alone costs at least as much as the whole text after the best prompt so far, so that the text cannot gain (`is_beaten`); or
    CANDIDATES prompts give the opening a higher likelihood.

Openings are computed first after the LEAD prompts with the likeliest first token, then after the other prompts that are not skipped. Values are
settled, that is rounded to PRECISION (workers/lm/likelihood.py), so each may be off by half of PRECISION and MARGIN; the bounds allow for this.
In float32 the result therefore equals that of computing the opening after all prompts.
"""

from collections.abc import Callable, Sequence

from workers.judges.preparing import Ids, Scores
from workers.lm.likelihood import MARGIN, PRECISION

OPENING = 12
"""Number of a text's first tokens by which prompts are ranked."""
CANDIDATES = 5
"""Largest number of prompts returned for a text. The caller reads the whole text after them, best first, while its score can still rise."""
LEAD = 8
"""Number of prompts after which an opening is computed first. The CANDIDATES-th best of them bounds the others; on the shipped models 4, 8 or
16 save the same to a tenth."""
SLACK = PRECISION / 2 + MARGIN
"""The largest difference between a settled mean and the exact mean."""


class Ranking:
    """Ranks a fixed list of prompts for many texts. Keeps computed likelihoods for later texts, which never changes a result."""

    def __init__(self, prompts: Sequence[Ids], scores: Scores, fits: Callable[[Ids, Ids], bool]) -> None:
        """`scores` returns the settled likelihood of each (prompt, text); `fits(prompt, text)` says whether both fit the context."""
        self._prompts, self._scores, self._fits = prompts, scores, fits
        self._first: dict[int, dict[int, float]] = {}
        self._read: dict[Ids, dict[int, float]] = {}

    def best(self, texts: Sequence[tuple[Ids, float | None]]) -> list[list[tuple[float, int]]]:
        """Returns for each text at most CANDIDATES prompts that give its opening the highest likelihood, as (likelihood of the opening, index of
        the prompt), best first.

        Each text comes with its likelihood after the best prompt so far, or None. Prompts with an opening that this beats (`is_beaten`) may be
        missing from the result.
        """
        fitting = {text: [n for n, prompt in enumerate(self._prompts) if self._fits(prompt, text)] for text, _ in texts}
        self._read_first([(text[0], number) for text in fitting for number in fitting[text]])
        for most in (LEAD, len(self._prompts)):
            wanted = [(number, text[:OPENING]) for text, best in texts for number in self._open(text, best, fitting[text])[:most]]
            self._read_openings(list(dict.fromkeys(wanted)))
        return [self._ranked(text, fitting[text])[:CANDIDATES] for text, _ in texts]

    def _read_first(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Computes the log-likelihood of each (token, index of a prompt), the token directly after the prompt, unless it is known."""
        missing = [(token, number) for token, number in dict.fromkeys(wanted) if number not in self._first.get(token, {})]
        scores = self._scores([(self._prompts[number], (token,)) for token, number in missing])
        for (token, number), score in zip(missing, scores, strict=True):
            self._first.setdefault(token, {})[number] = score

    def _read_openings(self, wanted: Sequence[tuple[int, Ids]]) -> None:
        """Computes the likelihood of each (index of a prompt, opening)."""
        scores = self._scores([(self._prompts[number], opening) for number, opening in wanted])
        for (number, opening), score in zip(wanted, scores, strict=True):
            self._read.setdefault(opening, {})[number] = score

    def _open(self, text: Ids, best: float | None, fitting: Sequence[int]) -> list[int]:
        """The indices of the prompts that are neither computed for this opening nor skipped, by descending likelihood of the first token."""
        read, first = self._read.get(text[:OPENING], {}), self._first.get(text[0], {})
        ranked = [score for score, _ in self._ranked(text, fitting)]
        fifth = ranked[CANDIDATES - 1] if len(ranked) >= CANDIDATES else None

        def may_be_best(number: int) -> bool:
            most = (first[number] + SLACK) / min(OPENING, len(text)) + SLACK
            return not (best is not None and is_beaten(most, len(text), best)) and (fifth is None or most >= fifth)

        unread = [number for number in fitting if number not in read and may_be_best(number)]
        return sorted(unread, key=lambda number: (-first[number], number))

    def _ranked(self, text: Ids, fitting: Sequence[int]) -> list[tuple[float, int]]:
        """All computed (likelihood of the opening, index of the prompt), best first."""
        read = self._read.get(text[:OPENING], {})
        return sorted(((read[number], number) for number in fitting if number in read), key=lambda pair: (-pair[0], pair[1]))


def is_beaten(opening: float, length: int, best: float) -> bool:
    """Whether the opening alone costs at least as much as the whole text after its best prompt: the tokens that follow can only add cost.

    `opening` and `best` are mean log-likelihoods, of the opening and of the whole text; `length` is the number of tokens of the text.
    """
    return opening * min(OPENING, length) <= best * length
