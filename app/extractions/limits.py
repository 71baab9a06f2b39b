"""Checks the limits of an extraction at submission; each error names the numbers and the field to change."""

from collections.abc import Sequence
from typing import TypedDict

from app.errors import Problem, invalid
from app.extractions.schemas import ExtractionRequest
from app.settings import LimitSettings
from binnacle.words.counting import counted
from terms.components import COMPONENTS, RESIDUAL_COMPONENTS
from terms.documents.model import ModelFactsDocument
from terms.methods import RANKED_DIMS, Method, UnknownMethod, parse_method
from terms.methods import method as make_method
from terms.positions import Position, UnknownPosition, new_tokens_for, parse_position

WHOLE_RESPONSE = 64
"""New tokens when a position reads to the end of the response and the request gives no length."""
UNSHUFFLED = ("random", "shuffled", "gradient", "lm_loss", "rfm")
"""Method bases without a shuffled-label control: they read no labels, or are too expensive to fit repeatedly."""


def methods_of(request: ExtractionRequest) -> list[Method]:
    """Returns the methods, each once, in the given order. Raises Problem 422 with a pointer."""
    methods: dict[str, Method] = {}
    for i, given in enumerate(request.methods):
        try:
            if isinstance(given, str):
                parsed = parse_method(given)
            else:
                parameters = dict(given)
                parsed = make_method(str(parameters.pop("method", "")), parameters)
        except UnknownMethod as error:
            raise invalid(f"/methods/{i}", "unknown_method", str(error)) from error
        if parsed.suffix in ("top", "pretop", "randomdims") and parsed.top > RANKED_DIMS:
            detail = (
                f"{parsed.key} needs the {parsed.top:,} dims of largest ratio; a calibration ranks {RANKED_DIMS} per layer. "
                f"Choose at most {RANKED_DIMS}."
            )
            raise invalid(f"/methods/{i}", "too_many_dims", detail)
        methods.setdefault(parsed.key, parsed)
    return list(methods.values())


def controls_of(methods: Sequence[Method], count: int) -> list[str]:
    """Returns the keys of the controls for these methods: random vectors, and every method on shuffled labels."""
    asked = {method.key for method in methods}
    keys = [make_method("random", {"seed": seed}).key for seed in range(count)]
    for method in methods:
        if method.base not in UNSHUFFLED and not method.parameters.get("refit"):
            keys += [make_method("shuffled", {"of": method.key, "seed": seed}).key for seed in range(count)]
    return [key for key in keys if key not in asked]


def refits_of(methods: Sequence[Method], count: int) -> list[str]:
    """Returns the keys of the same methods fitted on resampled examples."""
    fitted = [method for method in methods if "refit" in method.parameters and not method.parameters["refit"]]
    return [make_method(method.name, {**method.parameters, "refit": k}).key for method in fitted for k in range(1, count + 1)]


def positions_of(request: ExtractionRequest) -> list[Position]:
    """Returns the positions, each once. Raises Problem 422 with the grammar of positions."""
    positions: dict[str, Position] = {}
    for i, text in enumerate(request.positions):
        try:
            position = parse_position(text)
        except UnknownPosition as error:
            raise invalid(f"/positions/{i}", "unknown_position", str(error)) from error
        positions.setdefault(str(position), position)
    return list(positions.values())


def check_components(request: ExtractionRequest, methods: Sequence[Method], facts: ModelFactsDocument) -> None:
    """Raises Problem 422 for components that the model lacks, for methods that exist only at the residual stream, and for cleaning methods at
    components without massive dims.
    """
    have = [name for name in COMPONENTS if name in (facts.get("widths") or COMPONENTS)]
    for i, component in enumerate(request.components):
        if component not in COMPONENTS or component not in have:
            raise invalid(
                f"/components/{i}",
                "unknown_component",
                f"{component!r} is not a component here. The components are: {', '.join(have)}.",
            )
        trained = [method.key for method in methods if method.base == "lm_loss"]
        if component != "residual" and trained:
            detail = f"{', '.join(trained)} is trained at the residual stream and does not exist at {component}. Leave one of the two out."
            raise invalid(f"/components/{i}", "method_elsewhere", detail)
        if component not in RESIDUAL_COMPONENTS:
            cleaning = [method.key for method in methods if method.needs_calibration]
            if cleaning:
                detail = (
                    f"{component} is not in the coordinates of the residual stream, so it has no massive dims to "
                    f"clean: {', '.join(cleaning)} does not exist there. Leave one of the two out."
                )
                raise invalid(f"/components/{i}", "cleaning_elsewhere", detail)


def new_tokens(request: ExtractionRequest, positions: Sequence[Position], limits: LimitSettings) -> int:
    """Returns the tokens to generate: what the windows need, or a whole response if a position reads to its end or a judge vets it.

    Raises Problem 422 when the request asks for fewer than a window needs, or for more than the server allows.
    """
    needed = new_tokens_for(positions, 1)
    asked = request.max_new_tokens
    if asked is not None and asked < needed:
        detail = (
            f"/max_new_tokens is {asked}, but {', '.join(map(str, positions))} needs at least {needed}. Raise it or leave it out."
        )
        raise invalid("/max_new_tokens", "window_not_filled", detail)
    tokens = asked if asked is not None else new_tokens_for(positions, WHOLE_RESPONSE)
    if asked is None and request.vetting is not None:
        tokens = max(tokens, WHOLE_RESPONSE)
    if tokens > limits.new_tokens:
        raise invalid(
            "/max_new_tokens", "too_many_new_tokens", f"{tokens:,} new tokens; this server allows {limits.new_tokens:,}."
        )
    return tokens


def for_another_request(problem: Problem) -> Problem:
    """Returns the refusal of an extraction that would be made for another request: that one sets the length of its texts by its positions."""
    if not any(error["pointer"] == "/max_new_tokens" for error in problem.errors):
        return problem
    detail = (
        f"The extraction that would be made for this request is refused: {problem.detail} "
        "It generates as many tokens as its positions need (/positions)."
    )
    return invalid("/positions", problem.code, detail)


class Size(TypedDict):
    """The cost of an extraction, and its calculation."""

    examples: int
    vectors: int
    generated_tokens: int
    rows_bytes: int
    arithmetic: str


def check_size(  # noqa: PLR0913 - the factors of the arithmetic, each by name
    request: ExtractionRequest,
    *,
    examples: int,
    tokens: int,
    vectors: int,
    layers: int,
    width: int | None,
    positions: int,
    limits: LimitSettings,
) -> Size:
    """Returns the cost as numbers and their arithmetic. Raises Problem 422 `too_many_vectors`, `too_many_tokens`."""
    grid = f"{counted(positions, 'position')} x {counted(len(request.components), 'component')} x {counted(layers, 'layer')}"
    if vectors > limits.extracted_vectors:
        detail = (
            f"{grid} x methods with their controls and refits = {vectors:,} vectors; this server allows {limits.extracted_vectors:,}. "
            "Name fewer layers (/layers), methods or controls."
        )
        raise invalid("/layers", "too_many_vectors", detail)
    answering = f"{counted(examples, 'example')} x {counted(tokens, 'new token')}"
    generated = examples * tokens if request.responses == "generate" else 0
    if generated > limits.tokens:
        detail = f"{answering} = {counted(generated, 'token')}; this server allows {limits.tokens:,}."
        raise Problem(
            422, "too_many_tokens", detail, errors=[{"pointer": "/max_new_tokens", "detail": detail, "code": "too_many_tokens"}]
        )
    rows = positions * len(request.components) * layers * examples * (width or 0) * 4
    return {
        "examples": examples,
        "vectors": vectors,
        "generated_tokens": generated,
        "rows_bytes": rows,
        "arithmetic": f"{answering} = {counted(generated, 'generated token')}; {grid} = {counted(vectors, 'vector')}",
    }
