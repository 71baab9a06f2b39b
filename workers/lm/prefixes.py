"""Plans which shared first tokens of rows are computed once. The plan depends on the rows' ids and the device's limits of a pass (`pass_sizes`),
and is made before the first forward pass over them.

The rows form a tree: two rows share a path as far as their ids are equal. A point where rows diverge is a possible split. A shared stretch that
is computed by itself takes its own pass, which costs as much as PASS_COST tokens, or as the caller says; the plan takes the splits with the
lowest total of tokens and passes. The tail of a row is the part after its last split; tails after the same prefix run side by side, padded by at
most PADDING of the pass, and in a small plan by pads that cost less than another pass. The plan ignores free memory, load and earlier
computations: equal rows give an equal plan.

Block-tokens are the tokens, pads included, that the decoder's blocks compute.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from terms.documents.extraction import SharedPlan
from workers.lm.branching import Branching, Node

PASS_COST = 32
"""Tokens that an additional pass must save: it takes about as long as 10 to 20 tokens of a small model on a CPU, and more where passes are
short."""
PASS_TOKENS = 1024
"""The most block-tokens of a pass with more than one row on a CPU: a larger pass is hardly faster there, and takes memory."""
ATTENDED_TOKENS = 16 * PASS_TOKENS
"""The most tokens to which the rows of a pass attend, with each row's prefix counted for each row."""
PADDING = 0.05


@dataclass(frozen=True)
class Segment:
    """The tokens `start` to `stop` of `rows`, which are equal up to `stop`."""

    rows: tuple[int, ...]
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Pass:
    """Segments computed side by side, all after the same `start` tokens. `after` is the number of the pass that computed the last of those
    tokens, None at the beginning of the rows; `kept` means that later passes follow this pass, which then has one segment."""

    after: int | None
    segments: tuple[Segment, ...]
    kept: bool = False

    @property
    def start(self) -> int:
        """The number of tokens that come before each of the segments."""
        return self.segments[0].start

    @property
    def width(self) -> int:
        """Tokens of the longest segment."""
        return max(map(len, self.segments))


@dataclass(frozen=True)
class Plan:
    """Passes in the order in which they run: each comes after the passes that it needs, and all passes that need a kept pass come before it is
    freed."""

    passes: tuple[Pass, ...]
    tokens: int
    shared: bool

    @property
    def block_tokens(self) -> int:
        """Tokens computed, pads included."""
        return sum(len(pass_.segments) * pass_.width for pass_ in self.passes)

    @property
    def least_tokens(self) -> int:
        """Tokens computed without pads."""
        return sum(len(segment) for pass_ in self.passes for segment in pass_.segments)

    def to_dict(self) -> SharedPlan:
        """The figures of the plan that provenance records."""
        return {
            "prefix": "shared" if self.shared else "not shared",
            "tokens": self.tokens,
            "block_tokens": self.block_tokens,
            "prefixes": sum(pass_.kept for pass_ in self.passes),
            "passes": len(self.passes),
        }


def plan_of(
    rows: Sequence[Sequence[int]],
    *,
    shared: bool = True,
    pass_tokens: int = PASS_TOKENS,
    pass_cost: int = PASS_COST,
    spare_pads: int = 0,
) -> Plan:
    """The plan for rows of at least one token each. Without `shared` every distinct row is computed whole. A pass costs as much as `pass_cost`
    tokens. Where PADDING of the plan's tokens is less than `spare_pads`, each pass may hold the difference in pads."""
    tokens = sum(map(len, rows))
    tree = Branching(rows, pass_cost if shared else tokens)  # no split saves so many
    tight = Plan(_passes(tree, pass_tokens, 0), tokens, shared)
    spare = spare_pads - int(PADDING * tight.least_tokens)
    return Plan(_passes(tree, pass_tokens, spare), tokens, shared) if spare > 0 else tight


def _passes(tree: Branching, pass_tokens: int, spare_pads: int) -> tuple[Pass, ...]:
    """Each shared stretch, then the tails that follow it, then the stretches below it with all of their passes."""
    passes: list[Pass] = []
    todo: list[tuple[int | None, int, Node]] = [(None, 0, tree.root)]
    while todo:
        after, start, node = todo.pop()
        if node is not tree.root:
            passes.append(Pass(after, (Segment(node.rows(), start, node.stop),), kept=True))
            after, start = len(passes) - 1, node.stop
        tails, inner = tree.below(node)
        segments = [Segment(rows, start, stop) for stop, rows in tails]
        passes += [Pass(after, group) for group in _groups(segments, pass_tokens, spare_pads)]
        todo += [(after, start, inner_node) for inner_node in reversed(inner)]
    return tuple(passes)


def groups_of(segments: Sequence[Segment], *, most_rows: int, pass_tokens: int, spare_pads: int) -> list[tuple[Segment, ...]]:
    """Groups the segments by length, as many side by side as the limits of a pass allow; their prefixes may differ."""
    groups: list[list[Segment]] = []
    real = columns = 0
    for segment in sorted(segments, key=lambda segment: (-len(segment), segment.start, segment.rows)):
        real, columns = real + len(segment), max(columns, segment.stop)
        count = len(groups[-1]) + 1 if groups else 0
        size = count * len(groups[-1][0]) if groups else 0
        fits = 0 < count <= most_rows and size <= pass_tokens and count * columns <= ATTENDED_TOKENS
        if fits and size - real <= max(PADDING * size, spare_pads):
            groups[-1].append(segment)
        else:
            groups.append([segment])
            real, columns = len(segment), segment.stop
    return [tuple(group) for group in groups]


def _groups(tails: Sequence[Segment], pass_tokens: int, spare_pads: int) -> list[tuple[Segment, ...]]:
    """Groups the tails by length, as many side by side as the limits allow."""
    groups: list[list[Segment]] = []
    real = 0
    for tail in sorted(tails, key=lambda tail: (-tail.stop, tail.rows)):
        real += len(tail)
        count = len(groups[-1]) + 1 if groups else 0
        size = count * len(groups[-1][0]) if groups else 0
        fits = size <= pass_tokens and count * groups[-1][0].stop <= ATTENDED_TOKENS if groups else False
        if fits and size - real <= max(PADDING * size, spare_pads):
            groups[-1].append(tail)
        else:
            groups.append([tail])
            real = len(tail)
    return [tuple(group) for group in groups]
