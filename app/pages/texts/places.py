"""Names a steering's vectors so that no two look alike: by method, and by position and component where the steering has several of these. Pure.

Workers name a group of vectors `position/component/method`, after `model:` if the vectors were made on another model. A random control has
no position; an imported vector has the position `imported`.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

_GROUP = re.compile(r"(?:(?P<model>.+):)?(?:(?P<position>\w+(?:\[[^\]]*\])?)/)?(?P<component>[^/]+)/(?P<method>[^/]+)")


class Named(NamedTuple):
    """The parts of a group's name; empty where the name lacks them."""

    model: str
    position: str
    component: str
    method: str

    @property
    def place(self) -> str:
        """Returns `response[:5], k_proj`; for an imported vector only the component."""
        return ", ".join(part for part in (self.position, self.component) if part not in ("", "imported"))


def parsed(group: str) -> Named:
    """Returns the parts of a group's name; any other text is taken for a method."""
    match = _GROUP.fullmatch(group)
    return Named("", "", "", group) if match is None else Named(**match.groupdict(default=""))


def places_of(groups: Iterable[str]) -> frozenset[str]:
    """Returns the places of these groups; random controls, which have none of their own, do not count."""
    return frozenset(parts.place for parts in map(parsed, groups) if parts.position)


def at_place(group: str, places: frozenset[str]) -> str:
    """Returns ` at response[:5], k_proj` where there are several places, otherwise an empty text."""
    place = parsed(group).place
    return f" at {place}" if place and len(places) > 1 else ""


def of_model(group: str) -> str:
    """Returns ` of gemma-base` for vectors that were made on that other model, otherwise an empty text."""
    model = parsed(group).model
    return f" of {model}" if model else ""


def method_name(group: str, places: frozenset[str]) -> str:
    """Returns the method, the other model if any, and the place where there are several: `probe at response[:5], k_proj`."""
    return f"{parsed(group).method}{of_model(group)}{at_place(group, places)}"
