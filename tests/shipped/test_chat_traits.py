"""The shipped traits for chat models: large enough for a verdict, varied, and without the same question on both sides of a split."""

import json
import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from app.traits import clusters, files
from app.traits.dataset import build
from shipped import CHAT_TRAIT_NAMES, trait_folder

MOST_OF_A_TEMPLATE = 4
OPENING_WORDS = 3
"""Texts with the same first words count as one template."""


def stored(name: str) -> dict[str, Any]:
    """The rows of each part of a trait, from its files."""
    folder = trait_folder(name)
    found: dict[str, Any] = {
        part: [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines()]
        for part in ("positive", "negative")
    }
    for part in ("steering", "paraphrases", "unrelated"):
        found[part] = json.loads((folder / f"{part}.json").read_text())["questions"]
    return found


def texts(rows: list[dict[str, Any]]) -> list[str]:
    """The prompts or questions of the rows."""
    return [row.get("prompt") or row["question"] for row in rows]


@pytest.mark.parametrize("name", CHAT_TRAIT_NAMES)
def test_the_service_takes_it_without_a_note(name: str) -> None:
    folder = files.read(name, {path.name: path.read_bytes() for path in trait_folder(name).iterdir()})
    dataset = build(folder.request, folder.notes)
    assert dataset.notes == []
    assert dataset.counts["shared"] == {}


@pytest.mark.parametrize("name", CHAT_TRAIT_NAMES)
def test_it_is_large_enough_for_a_verdict(name: str) -> None:
    trait = stored(name)
    questions = trait["steering"]
    test = {row["cluster"] for row in questions if row["split"] == "test"}
    assert (len(trait["positive"]), len(trait["negative"])) == (120, 120)
    assert len(questions) >= 64
    assert len({row["cluster"] for row in questions}) >= 32
    assert len(test) >= 20
    assert {row["cluster"] for row in trait["paraphrases"]} == test
    assert len(trait["unrelated"]) >= 40
    definition = (trait_folder(name) / "definition.txt").read_text()
    assert all(word in definition for word in ("HIGH (70-100)", "MID (30-70)", "LOW (0-30)"))


@pytest.mark.parametrize("name", CHAT_TRAIT_NAMES)
def test_at_most_four_texts_of_a_part_begin_alike(name: str) -> None:
    for part, rows in stored(name).items():
        openings = Counter(" ".join(text.lower().split()[:OPENING_WORDS]) for text in texts(rows))
        assert max(openings.values()) <= MOST_OF_A_TEMPLATE, (part, openings.most_common(3))


@pytest.mark.parametrize("name", CHAT_TRAIT_NAMES)
def test_nothing_is_asked_twice_and_no_two_splits_share_a_near_duplicate(name: str) -> None:
    trait = stored(name)
    questions = trait["steering"]
    parts = {
        "extraction": set(texts(trait["positive"]) + texts(trait["negative"])),
        "selection": {row["question"] for row in questions if row["split"] == "selection"},
        "test": {row["question"] for row in questions if row["split"] == "test"},
        "paraphrases": set(texts(trait["paraphrases"])),
        "unrelated": set(texts(trait["unrelated"])),
    }
    assert sum(len(part) for part in parts.values()) == len(set().union(*parts.values()))
    assert len(parts["selection"] | parts["test"]) == len(questions)
    words = {text: frozenset(re.findall(r"\w+", text.lower())) for part in parts.values() for text in part}
    for one, other in combinations(parts, 2):
        for a in parts[one]:
            for b in parts[other]:
                assert len(words[a] & words[b]) <= clusters.THRESHOLD * len(words[a] | words[b]), (a, b)


@pytest.mark.parametrize("name", ["chat-formality", "chat-sycophancy"])
def test_both_sides_ask_the_same_under_opposite_system_prompts(name: str) -> None:
    trait = stored(name)
    assert texts(trait["positive"]) == texts(trait["negative"])
    systems = [{row["system_prompt"] for row in trait[part]} for part in ("positive", "negative")]
    assert not systems[0] & systems[1]
    assert [len(found) for found in systems] == [4, 4]


@pytest.mark.parametrize("name", CHAT_TRAIT_NAMES)
def test_it_is_written_in_ordinary_english(name: str) -> None:
    """Capitals, and marks that stand at their words: the toy language of the shipped models has neither."""
    for rows in stored(name).values():
        for text in texts(rows):
            assert text[0].isupper() or text[0] == "'", text
            assert not re.search(r"\s[.?!,]", text), text
