"""Subjects of a steering: a `Subject` is one vector at its layer, or the vectors of one method at several layers pushed at once.

A subject's dose is the r of docs/science.md, 4.2: the clean part of the push over the clean norm of its layer. Two subjects with vectors equal
to float32 rounding are one subject with two names, which is run once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from terms.components import RESIDUAL_COMPONENTS
from terms.documents.massive import MassiveFacts
from terms.documents.steering import OfASibling
from terms.interventions import Operation, Scope
from workers.lm.interventions import Push
from workers.science.dose import NO_CLEAN_DOSE, coefficient_of, dose_of

SAME = 1 - 1e-6
"""The cosine above which two vectors count as the same: float32 rounding of the same computation stays above it."""


@dataclass(frozen=True, eq=False)
class Part:
    """One vector at one layer. `unit_norm` is the norm in which its dose is measured, `clean_share` is ||v_clean|| / ||v||."""

    layer: int
    component: str
    vector_D: Tensor
    massive: tuple[int, ...]
    unit_norm: float
    clean_share: float

    def coefficient(self, r: float) -> float:
        """c at dose r; for a vector without a clean dose, c at the raw dose, since it can still be run at explicit coefficients."""
        c = coefficient_of(r, self.clean_share, self.unit_norm)
        return r * self.unit_norm if c is None else c

    def dose(self, c: float) -> float:
        """r at coefficient c; the raw dose for a vector without a clean dose."""
        return c / self.unit_norm if self.clean_share**2 < NO_CLEAN_DOSE else dose_of(c, self.clean_share, self.unit_norm)


@dataclass(frozen=True, eq=False)
class Subject:
    """A vector at its layer, or the vectors of one method at several layers. `group` is its row in a table: position, component and method; one
    of the group's layers is chosen."""

    name: str
    group: str
    method: str
    position: str | None
    component: str
    layers: tuple[int, ...]
    parts: tuple[Part, ...]
    ids: tuple[str | None, ...] = ()
    keys: tuple[str, ...] = ()
    same_as: str | None = None
    facts: MassiveFacts | None = None
    source: OfASibling | None = None
    """For vectors made on another model: its name, weights and massive dims."""

    @property
    def has_clean_dose(self) -> bool:
        """Whether enough of every part lies outside the massive dims for a dose to be measured."""
        return all(part.clean_share**2 >= NO_CLEAN_DOSE for part in self.parts)

    def pushes(
        self, r: float, *, operation: Operation = "add", scope: Scope = "all", sign: int = 1, plain: bool = False
    ) -> tuple[Push, ...]:
        """The pushes at dose r. For norm_match and ablate, r is the coefficient itself: norm_match multiplies each token's clean norm by it."""
        return tuple(
            Push(
                part.layer,
                part.component,
                part.vector_D,
                sign * (part.coefficient(r) if operation == "add" else r),
                operation,
                scope,
                part.massive,
                plain,
            )
            for part in self.parts
        )


def clean(vector_D: Tensor, massive: Sequence[int]) -> Tensor:
    """v_clean: the massive dims set to 0, not renormalised."""
    out = vector_D.clone()
    out[list(massive)] = 0
    return out


def part(vector_D: Tensor, layer: int, component: str, massive: Sequence[int], unit_norm: float) -> Part:
    """Makes a part with the massive dims of the residual stream (none for k_proj and v_proj, which have other coordinates)."""
    dims = tuple(massive) if component in RESIDUAL_COMPONENTS else ()
    share = float(torch.linalg.vector_norm(clean(vector_D, dims).double()) / torch.linalg.vector_norm(vector_D.double()))
    return Part(layer, component, vector_D, dims, unit_norm, share)


def name_twins(subjects: Sequence[Subject]) -> list[Subject]:
    """Returns the subjects; a subject equal to an earlier subject names it in `same_as` and takes its parts, so that both share runs.

    The shared parts are identical to the last bit.
    """
    named: list[Subject] = []
    for subject in subjects:
        twin = next((earlier for earlier in named if earlier.same_as is None and _equal(earlier, subject)), None)
        named.append(subject if twin is None else replace(subject, same_as=twin.name, parts=twin.parts))
    return named


def _equal(one: Subject, other: Subject) -> bool:
    sites = [(p.layer, p.component) for p in one.parts]
    if sites != [(p.layer, p.component) for p in other.parts]:
        return False
    cosines = (
        torch.cosine_similarity(a.vector_D.double(), b.vector_D.double(), dim=0)
        for a, b in zip(one.parts, other.parts, strict=True)
    )
    return all(float(cosine) > SAME for cosine in cosines)


def random_subject(like: Subject, seed: int) -> Subject:
    """A random control: for each part of `like` a vector from N(0, I) at length 1 at the same site, so that the same r is the same dose."""
    parts = []
    for like_part in like.parts:
        noise = torch.randn(
            len(like_part.vector_D),
            generator=torch.Generator().manual_seed(seed * 1_000_003 + like_part.layer),
            dtype=torch.float64,
        )
        parts.append(
            part((noise / noise.norm()).float(), like_part.layer, like_part.component, like_part.massive, like_part.unit_norm)
        )
    method = f"random__seed{seed}" if seed else "random"
    site = "+".join(map(str, like.layers))
    return Subject(
        f"{like.component}/{method}/{site}", f"{like.component}/{method}", method, None, like.component, like.layers, tuple(parts)
    )
