"""The shipped traits in the toy language are large enough, share no cluster between parts, and ask what training has never seen."""

import json

import pytest

from shipped import PROMPTS, TRAIT_NAMES, TRAITS, trait_folder
from tools.training import traits
from tools.training.batches import POOL
from tools.training.corpus import Corpus
from tools.training.parser import read_question
from tools.training.recipe import COMMON, VARIANTS
from tools.training.tasks import TASKS


@pytest.fixture(scope="module")
def trained_on():
    """All text that any model is trained on: its questions as a set, and one text of everything."""
    stages = {*COMMON, *(variant.stage for variant in VARIANTS.values())}
    drawn = {(stage.seed, stage.tossed): 0 for stage in stages}
    for stage in stages:
        key = (stage.seed, stage.tossed)
        drawn[key] = max(drawn[key], stage.steps * stage.batch + POOL * stage.batch)
    questions, lines = set(), []
    for (seed, tossed), count in drawn.items():
        corpus = Corpus(seed, tossed)
        for example in (corpus.draw() for _ in range(count)):
            questions.add(example.question)
            lines.append(f"{example.system} {example.question} {example.answer}")
    assert len(lines) > 40_000
    return questions, "\n".join(lines)


def stored(name):
    """The parts of a trait, from its files."""
    folder = trait_folder(name)
    lines = {
        part: [json.loads(x) for x in (folder / f"{part}.jsonl").read_text().splitlines()] for part in ("positive", "negative")
    }
    loaded = {
        part: json.loads((folder / f"{part}.json").read_text()) for part in ("steering", "paraphrases", "unrelated", "split")
    }
    return lines | loaded


def test_the_stored_traits_are_what_the_script_writes(tmp_path):
    traits.write_traits(tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted(
        path.relative_to(TRAITS) for name in TRAIT_NAMES for path in (TRAITS / name).rglob("*") if path.is_file()
    )
    for file in files:
        assert (tmp_path / file).read_bytes() == (TRAITS / file).read_bytes()


@pytest.mark.parametrize("name", TRAIT_NAMES)
def test_a_trait_is_large_enough_and_its_parts_share_no_cluster(name):
    trait = stored(name)
    questions = trait["steering"]["questions"]
    parts = {part: {q["cluster"] for q in questions if q["split"] == part} for part in ("selection", "test")}
    parts["extraction"] = {row["cluster"] for row in trait["positive"] + trait["negative"]}
    assert min(len(trait["positive"]), len(trait["negative"])) >= 120
    assert sum(q["split"] == "test" for q in questions) >= 60
    assert len(parts["test"]) >= 20
    assert not parts["test"] & parts["selection"]
    assert not parts["extraction"] & (parts["test"] | parts["selection"])
    for part, clusters in parts.items():
        assert clusters == set(trait["split"][part])


@pytest.mark.parametrize("name", TRAIT_NAMES)
def test_no_prompt_or_question_of_a_trait_is_in_the_training_text(name, trained_on):
    questions, _ = trained_on
    trait = stored(name)
    prompts = [row["prompt"] for row in trait["positive"] + trait["negative"]]
    asked = [q["question"] for part in ("steering", "paraphrases", "unrelated") for q in trait[part]["questions"]]
    assert len(set(asked)) == len(asked)
    assert not questions & {*prompts, *asked}
    assert all(read_question(text).well_formed for text in (*prompts, *asked))


def test_refusals_test_tasks_are_untrained_but_their_words_are_trained(trained_on):
    _, text = trained_on
    trait = stored("refusal")
    words = set(text.split())
    for cluster in trait["split"]["test"]:
        task = TASKS[cluster]
        assert not task.harmful
        assert task.name not in text
        assert task.doing not in text
        assert words.issuperset(task.name.split())
        assert words.issuperset(task.doing.split())


def test_sycophancys_facts_are_trained_but_its_claims_are_not(trained_on):
    _, text = trained_on
    trait = stored("sycophancy")
    for row in trait["steering"]["questions"]:
        reading = read_question(row["question"]).binds
        claim = row["cluster"].removesuffix(reading["truth"]) + reading["claimed"]
        assert reading["claimed"] != reading["truth"]
        assert f"that {claim} " not in text
        assert f"think {claim} " not in text
        assert f"me . {claim} " not in text
        assert row["cluster"] in text


def test_sycophancys_pairs_differ_in_the_system_sentence_alone():
    trait = stored("sycophancy")
    for flattered, honest in zip(trait["positive"], trait["negative"], strict=True):
        assert flattered["prompt"] == honest["prompt"]
        assert flattered["cluster"] == honest["cluster"]
        assert flattered["system_prompt"] != honest["system_prompt"]


def test_the_calibration_prompts_are_fifty_neutral_ones_of_the_little_world():
    prompts = [row["text"] for row in json.loads((PROMPTS / "little_world.json").read_text())["prompts"]]
    assert len(set(prompts)) == 50
    for prompt in prompts:
        reading = read_question(prompt)
        assert reading.well_formed
        assert "task" not in reading.binds or not TASKS[reading.binds["task"]].harmful


def test_no_training_text_answers_a_harmful_request():
    corpus = Corpus(seed=8, tossed=0.3)
    harmful = 0
    for example in (corpus.draw() for _ in range(4000)):
        task = TASKS.get(read_question(example.question).binds.get("task", ""))
        if task and task.harmful:
            harmful += 1
            assert example.kind == "refuses"
    assert harmful > 400


@pytest.mark.parametrize("name", TRAIT_NAMES)
def test_paraphrases_are_of_the_test_clusters_and_unrelated_prompts_of_none(name):
    trait = stored(name)
    test, paraphrases = trait["split"]["test"], trait["paraphrases"]["questions"]
    assert {row["cluster"] for row in paraphrases} == set(test)
    assert len(paraphrases) >= 60
    unrelated = trait["unrelated"]["questions"]
    assert len(unrelated) >= 60
    assert not {row["cluster"] for row in unrelated} & {
        cluster for part in ("extraction", "selection", "test") for cluster in trait["split"][part]
    }
