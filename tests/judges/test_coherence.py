"""Coherence: the search for the best prompt of a text nearly agrees with trying all 33, and no batch size or order changes a reading."""

import json
import random
from collections.abc import Callable

import pytest

from tests.judges.world import World
from workers.judges import coherence
from workers.judges.coherence import FIXED_PROMPTS, OWN, CoherenceScale, Reader, Reading, Row, fit_scale
from workers.lm.likelihood import log_likelihood_alone
from workers.lm.model import LanguageModel

Worlds = Callable[..., World]


@pytest.fixture(scope="module")
def scale(world: Worlds) -> CoherenceScale:
    """A scale fitted on the responses of both classes."""
    w = world("refusal", step=3)
    return fit_scale(w.lm, rows_of(w, "positive"), rows_of(w, "negative"), batch_rows=96)


def rows_of(w: World, label: str) -> list[Row]:
    """Prompt and tokens of the responses of one class."""
    return [(one.prompt_ids, one.ids) for one in w.answered if one.label == label]


@pytest.fixture(scope="module")
def texts(world: Worlds) -> list[Row]:
    """Prompt and tokens of answers steered at doses from harmless to destructive."""
    w = world("refusal", step=3)
    items = [item for dose in (0.35, 0.65, 0.95, 1.4) for item in w.items(w.questions("test", 2), dose)]
    return [(tuple(item.prompt_ids), tuple(item.ids)) for item in items if item.ids]


def best_of_all(lm: LanguageModel, scale: CoherenceScale, row: Row) -> float:
    """The highest log-likelihood of the text after any prompt, each read on its own."""
    return max(log_likelihood_alone(lm, prompt, row[1]) for prompt in (row[0], *scale.prompts))


def test_the_search_comes_close_to_the_best_of_all_prompts_and_not_above(
    world: Worlds, scale: CoherenceScale, texts: list[Row]
) -> None:
    """At most 0.5 points below in the mean, and 1 point where coherence is over 60, the range of thresholds. Measured over 104 texts: 0.2 and
    0.2, and 5.4 at most, on a destroyed text. Half a step of PRECISION is 0.05 points here, so the search may seem that much higher."""
    some = texts[::2]
    lm = world("refusal", step=3).lm
    found = [scale.coherence(one) for one in Reader(lm, scale, batch_rows=96).read(some)]
    exact = [scale.coherence(Reading(best_of_all(lm, scale, row), coherence.repeated_share(row[1]))) for row in some]
    under = [a - b for a, b in zip(exact, found, strict=True) if a is not None and b is not None]
    assert len(under) == len(some)
    assert min(under) > -0.06
    assert max(under) < 7
    assert max(gap for gap, value in zip(under, exact, strict=True) if value is not None and value > 60) < 1
    assert sum(under) / len(under) < 0.5


def test_readings_do_not_depend_on_batch_size_order_or_other_texts(
    world: Worlds, scale: CoherenceScale, texts: list[Row]
) -> None:
    lm = world("refusal", step=3).lm
    some = texts[::5]
    whole = Reader(lm, scale, batch_rows=96).read(some)
    mixed = random.Random(1).sample(range(len(some)), len(some))
    reader = Reader(lm, scale, batch_rows=5)
    apart = {place: reader.read([some[place]])[0] for place in mixed}
    assert [apart[place] for place in range(len(some))] == whole
    assert reader.read(some) == whole


def test_a_refusal_of_a_harmless_request_is_read_after_a_prompt_that_elicits_refusals(
    world: Worlds, scale: CoherenceScale
) -> None:
    w = world("refusal", step=3)
    refusal = next(one for one in w.answered if one.label == "positive")
    harmless = next(one for one in w.answered if one.label == "negative")
    own = log_likelihood_alone(w.lm, harmless.prompt_ids, refusal.ids)
    [found] = Reader(w.lm, scale, batch_rows=8).read([(harmless.prompt_ids, refusal.ids)])
    assert found.read_after != OWN
    assert found.log_likelihood is not None
    assert found.log_likelihood > own + 0.2


def test_half_of_the_fixed_prompts_are_of_each_class(world: Worlds, scale: CoherenceScale) -> None:
    w = world("refusal", step=3)
    positive, negative = ({prompt for prompt, _ in rows_of(w, label)} for label in ("positive", "negative"))
    assert len(set(scale.prompts)) == FIXED_PROMPTS
    assert sum(prompt in positive for prompt in scale.prompts) == sum(prompt in negative for prompt in scale.prompts) == 16


def test_coherence_of_readings_computed_by_hand() -> None:
    scale = CoherenceScale(base=-1.0, shuffled=-9.0, prompts=())
    assert scale.coherence(Reading(-1.0, 0.0)) == 100
    assert scale.coherence(Reading(-0.2, 0.0)) == 100
    assert scale.coherence(Reading(-5.0, 0.0)) == 50
    assert scale.coherence(Reading(-5.0, 0.5)) == 25
    assert scale.coherence(Reading(-11.0, 0.0)) == 0
    assert scale.coherence(Reading(None, 0.0)) is None
    assert CoherenceScale(-1.0, -1.0, ()).coherence(Reading(-1.0, 0.0)) is None


def test_texts_are_read_where_shuffling_changes_nothing(world: Worlds) -> None:
    """Answers of one token, all alike: both ends of the scale are equal, and less likely texts still get a reading, without a score."""
    lm = world("refusal", step=3).lm
    answers = [((1, 5, 7), (9,)), ((1, 5, 7), (9,))]
    scale = fit_scale(lm, answers, answers, batch_rows=4)
    assert scale.base == scale.shuffled
    found = Reader(lm, scale, batch_rows=96).read([((1, 5, 7), (one,)) for one in range(100)])
    assert min(one.log_likelihood for one in found if one.log_likelihood is not None) < scale.base
    assert {scale.coherence(one) for one in found} == {None}


def test_a_scale_survives_being_stored(scale: CoherenceScale) -> None:
    assert CoherenceScale.from_json(json.loads(json.dumps(scale.to_json()))) == scale


def test_a_prompt_that_does_not_fit_with_the_text_is_not_tried(world: Worlds, scale: CoherenceScale) -> None:
    lm = world("refusal", step=3).lm
    text = (5,) * (lm.context_length - 3)  # leaves room for less than any prompt
    reader = Reader(lm, CoherenceScale(scale.base, scale.shuffled, scale.prompts[:2]), batch_rows=2)
    [found, empty] = reader.read([(scale.prompts[0], text), (scale.prompts[0], ())])
    assert found == Reading(None, 1.0)
    assert empty == Reading(None, 0.0)


def test_a_scale_needs_a_response(world: Worlds) -> None:
    with pytest.raises(ValueError, match="no response"):
        fit_scale(world("refusal", step=3).lm, [((1, 2), ())], [], batch_rows=2)
