"""Builds the tree of shared prefixes of rows of token ids and chooses the cheapest points to split it.

A node is a point where rows diverge or end: its first `stop` tokens are common to all rows below it. A node is computed either apart (once, for
all rows below it) or merged into each part below it. Both costs are computed exactly, from the ends of the rows upwards, for every ancestor at
which a part may begin:

    apart(v, s)  = stop(v) - s + pass_cost + sum_c best(c, stop(v))
    merged(v, s) = sum_c best(c, s) + (stop(v) - s where a row ends at v)
    best(v, s)   = stop(v) - s at a leaf, else the smaller of the two

Costs are counted in tokens, so the choice depends on the rows alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray


@dataclass(eq=False)
class Node:
    """A point where rows diverge or end. `ends` are the rows that end here; `apart[i]` says whether the node is computed apart when its part
    begins at its i-th ancestor, counted from the root; `cost[i]` is then the cost of the node and everything below."""

    stop: int
    ends: tuple[int, ...] = ()
    children: list["Node"] = field(default_factory=list)
    depth: int = 0
    apart: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    cost: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def rows(self) -> tuple[int, ...]:
        """All rows that begin with this node's tokens, in order."""
        nodes = [self]
        for node in nodes:
            nodes.extend(node.children)
        return tuple(sorted(row for node in nodes for row in node.ends))


class Branching:
    """The prefix tree of `rows`, each of at least one token, with the choice of splits."""

    def __init__(self, rows: Sequence[Sequence[int]], pass_cost: int) -> None:
        self.root = _tree(rows)
        order, starts = [self.root], [np.empty(0, np.int64)]
        for node, above in zip(order, starts, strict=False):  # both grow in this loop
            for child in node.children:
                child.depth = node.depth + 1
                order.append(child)
                starts.append(np.append(above, node.stop))
        while order:
            _weigh(order.pop(), starts.pop(), pass_cost)

    def below(self, node: Node) -> tuple[list[tuple[int, tuple[int, ...]]], list[Node]]:
        """Returns the work below a node that is computed apart (or the root): the tails as (stop, rows), and the nodes computed apart next."""
        tails, inner, todo = [], [], list(reversed(node.children))
        while todo:
            descendant = todo.pop()
            if descendant.apart[node.depth]:
                inner.append(descendant)
                continue
            if descendant.ends:
                tails.append((descendant.stop, descendant.ends))
            todo.extend(reversed(descendant.children))
        return tails, inner


def _weigh(node: Node, starts: NDArray[np.int64], pass_cost: int) -> None:
    own = node.stop - starts
    merged = sum((child.cost[: node.depth] for child in node.children), own if node.ends else np.zeros_like(own))
    apart = own + pass_cost + sum(int(child.cost[node.depth]) for child in node.children)
    node.apart = (apart < merged) & bool(node.children)
    node.cost = np.minimum(apart, merged) if node.children else own


def _tree(rows: Sequence[Sequence[int]]) -> Node:
    """Builds the nodes from the rows sorted by ids; the common length of each pair of neighbours is the `stop` of a node."""
    equal: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        equal.setdefault(tuple(row), []).append(number)
    open_nodes = [Node(0)]
    before: tuple[int, ...] = ()
    for ids in sorted(equal):
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, ids, strict=False)))
        _close(open_nodes, common)
        open_nodes.append(Node(len(ids), tuple(equal[ids])))
        before = ids
    _close(open_nodes, 0)
    return open_nodes[0]


def _close(open_nodes: list[Node], common: int) -> None:
    """Closes the nodes deeper than `common` tokens; the deepest node left open then stands at `common`."""
    while open_nodes[-1].stop > common:
        closed = open_nodes.pop()
        if open_nodes[-1].stop < common:
            open_nodes.append(Node(common))
        open_nodes[-1].children.append(closed)
