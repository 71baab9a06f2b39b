"""Counts the answers of a steering and checks its limits at submission; each error shows the product."""

from dataclasses import dataclass

from app.errors import invalid
from app.settings import LimitSettings
from app.steerings.schemas import SteeringRequest
from terms.evidence import REFERENCE_QUESTIONS

REFERENCE_ANSWERS = 5 * REFERENCE_QUESTIONS
"""Answers per method in the reference's protocol: coefficients x questions."""


@dataclass(frozen=True)
class Grid:
    """The factors of a steering's size. `groups` are the competing methods at a position; `cells` are group x layer, or groups if all layers
    are pushed at once; `refits` are the vectors fitted on resampled prompts, at one layer. `extra` counts the questions of extra and
    capability sets, `off_target` the test questions of other traits."""

    cells: int
    groups: int
    selection: int
    test: int
    extra: int = 0
    off_target: int = 0
    refits: int = 0


def evaluations_per_cell(request: SteeringRequest) -> int:
    """Returns the most doses that each cell tries on the selection questions."""
    if request.operation == "ablate":
        return 1
    explicit = request.doses or request.coefficients
    return len(explicit) if explicit is not None else request.budget


def answers(request: SteeringRequest, grid: Grid) -> tuple[int, str]:
    """Returns the most answers to generate, and the arithmetic."""
    doses = evaluations_per_cell(request)
    matching = 4 if "coherence" in request.matched else 0
    reported = 1 + len(set(request.matched) & {"dose", "coherence", "coefficient"}) + 3 * ("divergence" in request.matched)
    controls = request.controls.random + request.controls.shuffled
    parts = 2 + ("dose" not in request.matched)  # the whole vector beside its parts is at the leader's dose
    arms = parts if request.decomposition else 0
    search = grid.cells * doses * grid.selection
    match = grid.groups * matching * grid.selection
    test = grid.groups * (reported + controls + arms) * grid.test
    extra = grid.groups * (2 * grid.extra + grid.off_target + REFERENCE_ANSWERS * request.reference_protocol)
    refits = grid.refits * grid.test
    base = grid.selection + grid.test * (1 + request.controls.prompt_only) + grid.extra + grid.off_target
    base += REFERENCE_QUESTIONS * request.reference_protocol
    total = search + match + test + extra + refits + base
    said = (
        f"{grid.cells:,} cells x {doses} doses x {grid.selection:,} selection questions = {search:,}; "
        f"{grid.groups:,} methods x {reported + controls + arms} runs x {grid.test:,} test questions = {test:,}; "
        f"matching, extra sets, refits and unsteered {match + extra + refits + base:,}: {total:,} answers"
    )
    return total, said


def check_size(request: SteeringRequest, grid: Grid, limits: LimitSettings) -> None:
    """Raises Problem 422 `grid_too_large` or `too_many_new_tokens` for a request over the server's limits."""
    if request.max_new_tokens > limits.new_tokens:
        detail = f"/max_new_tokens is {request.max_new_tokens:,}; this server allows {limits.new_tokens:,}."
        raise invalid("/max_new_tokens", "too_many_new_tokens", detail)
    total, said = answers(request, grid)
    if total > limits.answers:
        raise invalid(
            "/layers" if request.vectors is None else "/vectors",
            "grid_too_large",
            f"{said}; this server allows {limits.answers:,}. Name fewer layers or methods (/layers, /methods), lower /budget, or set "
            "/selection_limit and /test_limit.",
        )
