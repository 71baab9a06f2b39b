"""How much text the built-in judges are fitted on, for the worker that fits them and the API that states the cost; and the words that are
scores on a judge model's scales, for the worker that reads them and the pages that show them. `JudgeSpec` is a judge as specs name it."""

from typing_extensions import TypedDict

from terms.values import JsonObject

FITTED = ("reference", "phrases")
"""Kinds of judges that read texts with the steered model and are fitted on its own answers."""
MOST_QUESTIONS = 200
"""Most questions of each set that are answered unsteered to fit a judge."""
MOST_UNRELATED = 40
"""Most unrelated questions that are answered unsteered to fit a judge."""
NUMBERS = {str(number): float(number) for number in range(101)}
LETTERS = {letter: 10.0 * place for place, letter in enumerate("ABCDEFGHIJK")}
"""The scores of a judge model's one-word replies, on its two scales."""


class JudgeOptions(TypedDict, total=False):
    """How requests to a judge's endpoint are made; a local model uses only `relevance`. Judges of earlier versions may lack any of them."""

    concurrency: int
    timeout_seconds: float
    requests_per_minute: int | None
    relevance: bool
    token_limit_field: str
    private_hosts: list[str]
    extra: JsonObject


class JudgeSpec(TypedDict):
    """A judge. The built-in judges have no `options`."""

    name: str
    kind: str
    model: str | None
    url: str | None
    key_env: str | None
    options: JudgeOptions
