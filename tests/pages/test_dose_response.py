"""Figures of a steering by dose: doses are drawn in order, negative ones too, and the cliff is the incoherent dose nearest to zero."""

import re
from copy import deepcopy
from typing import Any, cast

import pytest

from app.pages.plots.elements import Figure
from app.pages.results.steering import Score, answers_of, curves
from terms.documents.steering import Summary
from tests.pages.stories import SUMMARY


def figure_of(doses: list[float], score: Score = "trait", **facts: float | None) -> Figure:
    """The figure of a steering with these three doses; `facts` hold at each of them."""
    summary: dict[str, Any] = deepcopy(SUMMARY) | {"coherence_threshold": 95.0}
    for subject in summary["subjects"]:
        for point, r in zip(subject["curve"], doses, strict=True):
            point.update(facts, r=r)
    figure = curves(cast(Summary, summary), score, answers_of("job_1"))
    assert figure is not None
    return figure


def drawn(doses: list[float], score: Score = "trait") -> str:
    """The drawing of a steering with these three doses."""
    return str(figure_of(doses, score).drawing)


@pytest.mark.parametrize(
    ("facts", "shown"),
    [({}, True), ({"trait_low": None, "trait_high": None}, False), ({"trait_low": 50.0, "trait_high": 50.0}, False)],
    ids=["intervals", "too few clusters for one", "intervals without width"],
)
def test_the_caption_names_a_band_only_where_one_is_drawn(facts: dict[str, float | None], shown: bool) -> None:
    figure = figure_of([0.3, 0.6, 1.2], **facts)
    assert ("band" in figure.note) is shown
    assert ("<polygon" in str(figure.drawing)) is shown


@pytest.mark.parametrize("doses", [[0.3, 0.6, 1.2], [-0.9, -0.3, 0.6], [-1.2, -0.6, -0.3]])
def test_doses_are_drawn_in_their_order(doses: list[float]) -> None:
    """On a logarithmic axis all negative doses fell on its left end."""
    across = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn(doses))[:3]]
    assert across[0] < across[1] < across[2]


def test_the_cliff_is_the_dose_nearest_to_zero_that_is_incoherent() -> None:
    """Coherence is 97, 91 and 48, and 95 is asked for. Of negative doses the largest push was taken for the cliff."""
    for doses in ([-0.3, -0.6, -1.2], [0.3, 0.6, 1.2]):
        figure = drawn(doses, "coherence")
        ascending = re.findall(r'<circle cx="([\d.]+)"', figure)[:3]
        assert f'x1="{ascending[1]}"' in figure.split("cliff")[0].rpartition("<line")[2], doses
