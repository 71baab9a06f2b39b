"""The dataset made of an upload: clusters of near-duplicates, a split that shares no cluster, bytes that depend on the content alone."""

import hashlib
import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import Problem
from app.settings import LimitSettings
from app.traits import checks, files
from app.traits.clusters import draw, fill, near_duplicates, tokens
from app.traits.dataset import Dataset, build
from app.traits.schemas import TraitRequest
from app.traits.seeding import shipped_datasets
from tests.api.test_traits import TRAIT

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join), min_size=1, max_size=12)


def made(**change: Any) -> Dataset:
    """The dataset of TRAIT with this change."""
    request = TraitRequest.model_validate({**TRAIT, **change})
    checks.check(request, LimitSettings())
    return build(request)


def content(dataset: Dataset) -> Any:
    return json.loads(dataset.data)


def naive_groups(texts: list[str]) -> set[frozenset[int]]:
    """Every pair compared, groups merged until nothing changes."""
    groups = [{i} for i in range(len(texts))]
    for i, j in itertools.combinations(range(len(texts)), 2):
        one, other = set(texts[i].split()), set(texts[j].split())
        if len(one & other) / len(one | other) > 0.6:
            first = next(group for group in groups if i in group)
            second = next(group for group in groups if j in group)
            if first is not second:
                first |= second
                groups.remove(second)
    return {frozenset(group) for group in groups}


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_near_duplicates_are_those_of_comparing_every_pair(texts: list[str]) -> None:
    found = near_duplicates(texts)
    groups = {frozenset(i for i, root in enumerate(found) if root == wanted) for wanted in set(found)}
    assert groups == naive_groups(texts)
    assert all(root == min(i for i, other in enumerate(found) if other == root) for root in found), "named by the first text"


def test_texts_are_near_duplicates_above_the_threshold_and_not_at_it() -> None:
    """3 of 5 tokens is 0.6 and apart; 4 of 6 is 0.67 and together."""
    assert near_duplicates(["a b c d", "a b c e"]) == [0, 1]
    assert near_duplicates(["a b c d e", "a b c d f"]) == [0, 0]
    assert near_duplicates(["How do I bake a cake?", "how do i bake a  CAKE"]) == [0, 0]
    assert tokens("...") == {"..."}


def test_thousands_of_texts_are_grouped() -> None:
    """All that one upload may hold, half of them nearly alike."""
    chance = random.Random(0)
    words = [f"w{i}" for i in range(400)]
    base = [" ".join(chance.sample(words, 12)) for _ in range(2000)]
    texts = base + [f"{text} again" for text in base]
    found = near_duplicates(texts)
    assert found[2000:] == found[:2000]


def test_given_clusters_stay_and_take_in_their_near_duplicates() -> None:
    texts = ["bake a good cake today", "bake a good cake tomorrow", "go to sea", "go to sea !", "fly", "fly"]
    filled = fill(texts, [None, "cakes", None, None, "one", "two"])
    assert filled == ["cakes", "cakes", "go to sea", "go to sea", "one", "two"]
    assert fill(["x y", "z"], [None, "x y"]) == ["x y (2)", "x y"], "a new name is nobody's yet"


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(0, 5))
def test_no_cluster_is_in_two_parts_unless_it_is_reported(questions: list[str], seed: int) -> None:
    dataset = made(steering={"questions": questions}, positive=["a b c", "b c d e"], negative=["f g", "zzz"], seed=seed)
    found = content(dataset)
    parts = {
        "extraction": {row["cluster"] for part in ("positive", "negative") for row in found[part]},
        "selection": {row["cluster"] for row in found["steering"]["questions"] if row["split"] == "selection"},
        "test": {row["cluster"] for row in found["steering"]["questions"] if row["split"] == "test"},
    }
    assert not parts["test"] & (parts["selection"] | parts["extraction"]), "drawn tests are kept apart"
    assert sorted(parts["extraction"] & parts["selection"]) == dataset.counts["shared"].get("extraction_selection", [])
    drawn = (parts["selection"] | parts["test"]) - parts["extraction"]
    assert len(parts["test"]) == (len(drawn) + 1) // 2


def test_a_cluster_of_the_extraction_goes_to_selection_and_is_reported() -> None:
    dataset = made(steering={"questions": ["Please greet the king!", "Something else altogether?"]})
    splits = {row["question"]: row["split"] for row in content(dataset)["steering"]["questions"]}
    assert splits == {"Please greet the king!": "selection", "Something else altogether?": "test"}
    assert dataset.counts["shared"] == {"extraction_selection": ["Please greet the king."]}
    assert any("could not be kept apart" in note for note in dataset.notes)


def test_texts_of_one_wording_keep_clusters_of_their_own_and_a_test_half() -> None:
    """Words that all texts share must not make them one cluster."""
    hobbies = [
        f"{first}{second}"
        for first in ("skat", "sail", "box", "danc", "read", "row", "sew", "ski")
        for second in ("ing", "ers", "es")
    ]
    for text in (
        "Hello, I am Jane, a teacher, and I think that {} should be taught in every school. Agree?",
        "Is {} a good thing to do all day?",
    ):
        positive, negative, asked = ([text.format(hobby) for hobby in hobbies[start::3]] for start in range(3))
        dataset = made(positive=positive, negative=negative, steering={"questions": asked})
        assert dataset.counts["clusters"] == {"extraction": 16, "selection": 4, "test": 4}, text
        assert dataset.counts["shared"] == {}
        assert any("same wording" in note for note in dataset.notes)


def test_a_given_split_is_kept_and_what_it_shares_is_reported() -> None:
    questions = [
        {"question": "a", "cluster": "c", "split": "test"},
        {"question": "b", "cluster": "c", "split": "selection"},
        {"question": "d", "cluster": "c"},
    ]
    dataset = made(steering={"questions": questions})
    assert [row["split"] for row in content(dataset)["steering"]["questions"]] == ["test", "selection", "test"]
    assert dataset.counts["shared"] == {"selection_test": ["c"]}


def test_the_draw_is_by_seed_whatever_the_order() -> None:
    names = [f"cluster {i}" for i in range(41)]
    assert draw(names, 3) == draw(reversed(names), 3)
    assert len(draw(names, 3)) == 21
    assert draw(names, 3) != draw(names, 4)


def test_equal_content_is_equal_bytes_and_the_version_is_their_hash() -> None:
    """Also with keys in another order, and when its own dataset is uploaded."""
    first = made()
    backwards = dict(reversed(list(TRAIT.items())))
    assert build(TraitRequest.model_validate(backwards)).data == first.data
    assert build(TraitRequest.model_validate(content(first))).data == first.data
    assert first.version == hashlib.sha256(first.data).hexdigest()
    assert first.data == json.dumps(content(first), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert made(definition="Else.").version != first.version


def test_the_dataset_has_the_shape_that_jobs_read() -> None:
    positive = [{"prompt": "a", "response": "yes", "system_prompt": "Be kind.", "cluster": "c"}, "Ünïcode b"]
    dataset = made(positive=positive, paraphrases=["q1"], unrelated=[{"question": "q2", "cluster": "u"}])
    found = content(dataset)
    assert sorted(found) == ["definition", "name", "negative", "paraphrases", "positive", "steering", "unrelated"]
    assert found["positive"][0] == {"prompt": "a", "response": "yes", "system_prompt": "Be kind.", "cluster": "c"}
    assert found["positive"][1] == {"prompt": "Ünïcode b", "response": None, "system_prompt": None, "cluster": "Ünïcode b"}
    assert "Ünïcode".encode() in dataset.data
    assert sorted(found["steering"]) == ["direction", "eval_prompt", "questions"]
    assert found["paraphrases"] == [{"question": "q1", "cluster": "q1"}]
    assert (dataset.counts["given_responses"], dataset.counts["system_prompts"], dataset.counts["unrelated"]) == (1, 1, 1)


def test_one_prompt_may_be_in_both_classes_when_something_sets_its_rows_apart() -> None:
    """Sycophancy differs in the system prompt alone, contrastive completions in the response alone."""
    same = {"prompt": "Is the sky green?"}
    by_system = ([{**same, "system_prompt": "Agree."}, "x"], [{**same, "system_prompt": "Be honest."}, "y"])
    by_response = ([{**same, "response": "Yes."}, "x"], [{**same, "response": "No."}, "y"])
    for positive, negative in (by_system, by_response):
        dataset = made(positive=positive, negative=negative)
        assert content(dataset)["positive"][0]["cluster"] == content(dataset)["negative"][0]["cluster"]


def test_repeated_prompts_are_kept_and_noted() -> None:
    dataset = made(positive=["a", "a", "b", "a"])
    assert dataset.counts["positive"] == 4
    assert "2 of the 4 positive prompts repeat an earlier one; the repeated prompts are kept and counted." in dataset.notes


STEERING_FORMS = [
    b'["How?", {"question": "Why?"}]',
    b'{"questions": ["How?", "Why?"]}',
    b'{"questions": ["How?", "Why?"], "direction": "positive", "eval_prompt": null}',
    b'\xef\xbb\xbf{"questions": ["How?", "Why?"], "adversarial_prefix": "x", "vet_prompt": "y"}',
]


@pytest.mark.parametrize("steering", STEERING_FORMS)
def test_every_form_of_steering_json_is_one_trait(steering: bytes) -> None:
    given = {
        "positive.txt": b"Please greet the king.\r\n\r\n  Kindly thank a baker.  \r\n",
        "negative.jsonl": b'{"prompt": "Insult a horse."}\n\n{"prompt": "Shout at the moon."}\n',
        "steering.json": steering,
    }
    folder = files.read("politeness", given)
    plain = TraitRequest.model_validate({**TRAIT, "definition": None, "steering": {"questions": ["How?", "Why?"]}})
    assert build(folder.request).data == build(plain).data
    assert folder.notes == (
        ["steering.json: the fields 'adversarial_prefix', 'vet_prompt' are not used here and were left out."]
        if b"vet" in steering
        else []
    )


def test_files_that_are_not_used_are_noted() -> None:
    given = {
        "positive.txt": b"a\nb", "positive.jsonl": b'{"prompt": "c", "id": 3}\n{"prompt": "d"}', "negative.txt": b"e\nf",
        "steering.json": b'["q"]', "ood_positive.txt": b"x", "definition.txt": b" A trait.\n",
    }  # fmt: skip
    folder = files.read("t", given)
    assert folder.notes == [
        "ood_positive.txt was not read: datasets here have no part of this name.",
        "positive.txt was not read, because positive.jsonl is present.",
        "positive.jsonl: the fields 'id' are not used here and were left out.",
    ]
    dataset = build(folder.request, folder.notes)
    assert dataset.definition == "A trait."
    assert dataset.notes[:3] == folder.notes


def test_a_split_file_places_clusters_and_gives_the_seed() -> None:
    given = {
        "positive.txt": b"a\nb", "negative.txt": b"e\nf",
        "steering.json": b'[{"question": "q", "cluster": "c"}, {"question": "r", "cluster": "d"}]',
        "split.json": b'{"seed": 7, "extraction": ["z"], "selection": ["d"], "test": ["c"]}',
    }  # fmt: skip
    folder = files.read("t", given)
    assert folder.request.seed == 7
    assert [row.split for row in folder.request.steering.questions] == ["test", "selection"]


def test_a_cluster_in_two_splits_is_refused() -> None:
    given = {
        "positive.txt": b"a\nb", "negative.txt": b"e\nf", "steering.json": b'[{"question": "q", "cluster": "c"}]',
        "split.json": b'{"selection": ["c"], "test": ["c"]}',
    }  # fmt: skip
    with pytest.raises(Problem, match="'c' in selection and in test") as refused:
        files.read("t", given)
    assert refused.value.code == "contradicting_split"


def test_a_line_of_a_text_file_at_fault_is_named() -> None:
    given = {"positive.txt": b"a\n\n" + b"x" * 1_000_001, "negative.txt": b"e\nf", "steering.json": b'["q"]'}
    with pytest.raises(Problem, match=r"positive\.txt, line 3: ") as refused:
        files.read("t", given)
    assert refused.value.errors[0]["pointer"] == "/positive/1/prompt"


def test_the_shipped_datasets_keep_their_clusters_and_splits() -> None:
    for dataset in shipped_datasets():
        assert (dataset.notes, dataset.counts["shared"]) == ([], {})
        assert dataset.counts["clusters"]["test"] >= 20
