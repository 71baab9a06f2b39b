"""Describes the result of a dry run: the size with its arithmetic, the time, and what is left of the quotas. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.models.running import RunningOut
from app.pages.forms.kinds import FormKind
from app.pages.forms.labels import labelled
from app.pages.wording import duration, size, whole
from app.quotas.schemas import Admission, QuotaUse
from binnacle.words.counting import counted

QUOTAS = {"max_queued": "Jobs in the queue", "device_seconds_per_day": "Device time today", "stored_bytes": "Storage"}
SAID: dict[str, Callable[[float], str]] = {"device_seconds_per_day": duration, "stored_bytes": lambda value: size(int(value))}


@dataclass(frozen=True)
class Price:
    """An estimate: `lines` say what would be done, `warnings` what the result would lack, `quotas` what is left; `fits`: whether the job
    would be admitted now, and `why` if not.
    """

    lines: list[str]
    warnings: list[str]
    quotas: list[str]
    fits: bool
    why: str


class Cost(RunningOut):
    """The answer of a dry run of any kind of job. A kind may lack the fields that have a default here."""

    arithmetic: str
    limit: int | None = None
    estimated_seconds: float | None = None
    waits_for: Sequence[str] = ()
    reused: int = 0
    makes_extraction: bool = False
    warnings: Sequence[str] = ()
    admission: Admission


def price(cost: Cost, form: FormKind | None = None) -> Price:
    """Returns the estimate from the answer of the service's dry run, in the words of the form."""
    admission = cost.admission
    said = [f"{cost.arithmetic[:1].upper()}{cost.arithmetic[1:].rstrip('.')}."]
    if cost.limit:
        said.append(f"The limit of this server is {whole(cost.limit)}.")
    said += [_time(cost), *_slower(cost), *_memory(cost), *_first(cost)]
    quotas = [_quota(use) for use in admission.quotas]
    warnings = [labelled(form, warning) for warning in cost.warnings]
    return Price(said, warnings, quotas, admission.would_pass, labelled(form, admission.detail or ""))


def _time(cost: Cost) -> str:
    slower = cost.engine is not None and cost.engine.slower
    if "estimated_seconds" not in cost.model_fields_set:
        return f"It goes before longer jobs and takes seconds on a loaded model{', more than on the faster engine' if slower else ''}."
    if cost.estimated_seconds is None:
        said = "The time is not known yet: too few jobs of this kind and size have run on this model."
        return f"{said} Estimates from models on the faster engine would be too short." if slower else said
    said = f"About {duration(cost.estimated_seconds)} of device time, by earlier jobs of the model"
    return f"{said}: this includes the slower engine." if slower else f"{said}."


def _slower(cost: Cost) -> list[str]:
    """Returns why the model generates text more slowly than others, if it does."""
    return [cost.engine.sentence] if cost.engine is not None and cost.engine.slower else []


def _memory(cost: Cost) -> list[str]:
    """Returns the memory of a row on the first worker that can hold it."""
    fitting = [fit for fit in cost.memory or () if fit.fits]
    return [f"Memory on {fitting[0].worker}: {fitting[0].arithmetic}."] if fitting else []


def _first(cost: Cost) -> list[str]:
    """Returns which jobs would run first."""
    lines = []
    if cost.makes_extraction:
        lines.append("An extraction is made first, because no existing one fits.")
    if cost.waits_for:
        lines.append(f"It waits for {counted(len(cost.waits_for), 'job')}.")
    if cost.reused:
        lines.append(f"Finished jobs that are reused: {cost.reused}.")
    return lines


def _quota(use: QuotaUse) -> str:
    said = SAID.get(use.quota, whole)
    adding = f", and this adds {said(use.adding)}" if use.adding else ""
    return f"{QUOTAS[use.quota]}: {said(use.used)} of {said(use.limit)} used{adding}."
