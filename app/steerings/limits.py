"""Counts the answers of a steering and checks its limits at submission; each error shows the product."""

from dataclasses import dataclass

from app.errors import invalid
from app.settings import LimitSettings
from app.steerings.schemas import SteeringRequest
from binnacle.words.counting import counted
from terms.evidence import REFERENCE_QUESTIONS

REFERENCE_ANSWERS = 5 * REFERENCE_QUESTIONS
"""Answers per method in the reference's protocol: coefficients x questions."""
COHERENCE_TRIES = 4
"""Most doses that a method tries to be as coherent as the leader."""
DIVERGENCES = 3
"""Doses of equal divergence per method: that of the leader's best dose, half of it, and 1 nat."""
EXTRA_DOSES = 2
"""Doses per method on the extra sets: the chosen one and half of it."""


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
    """Returns the most answers that the stages of a steering generate, and the arithmetic."""
    doses, runs = evaluations_per_cell(request), _test_runs(request)
    search = grid.cells * doses * grid.selection
    test = grid.groups * runs * grid.test
    rest = sum(
        [
            grid.groups * COHERENCE_TRIES * grid.selection if "coherence" in request.matched else 0,
            grid.refits * grid.test,
            grid.groups * EXTRA_DOSES * grid.extra,
            grid.groups * grid.off_target,
            (grid.groups * REFERENCE_ANSWERS + REFERENCE_QUESTIONS) if request.reference_protocol else 0,
            grid.test if request.controls.prompt_only else 0,
            grid.selection + grid.test + grid.extra + grid.off_target,  # unsteered
        ]
    )
    total = search + test + rest
    said = (
        f"{counted(grid.cells, 'cell')} x {counted(doses, 'dose')} x {counted(grid.selection, 'selection question')} = {search:,}; "
        f"{counted(grid.groups, 'method')} x {counted(runs, 'run')} x {counted(grid.test, 'test question')} = {test:,}; "
        f"matching, extra sets, refits and unsteered {rest:,}: {counted(total, 'answer')}"
    )
    return total, said


def _test_runs(request: SteeringRequest) -> int:
    """Returns the most runs of a method on the test questions: at its best dose, at matched doses, of its controls, and of its parts."""
    best = 1
    matched = len(set(request.matched) - {"divergence"}) + (DIVERGENCES if "divergence" in request.matched else 0)
    controls = request.controls.random + request.controls.shuffled
    # the clean part, the massive part, and the whole vector at the leader's dose, unless that run is among the matched ones
    parts = 2 + ("dose" not in request.matched) if request.decomposition else 0
    return best + matched + controls + parts


def most_searched(request: SteeringRequest, grid: Grid, limits: LimitSettings) -> int:
    """Returns the most cells for which the answers are within the server's limit, with the rest of the grid as it is."""
    per_cell = evaluations_per_cell(request) * grid.selection
    return grid.cells + (limits.answers - answers(request, grid)[0]) // per_cell


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
