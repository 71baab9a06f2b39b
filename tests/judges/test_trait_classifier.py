"""The trait classifier tells made-up answers apart by the trait and not by the task, leaves out wrong labels, and can be stored."""

import json
import random
from collections.abc import Sequence

import numpy as np
import pytest

from workers.judges.trait_classifier import NEGATIVE, NEITHER, POSITIVE, Example, fit, neither_of
from workers.judges.words import shuffled, words_of

TASKS = ["bread", "stairs", "music", "letters", "gardens", "boats", "kites", "soup", "chairs", "poems", "walls", "ropes"]
YES = ["sure , you start with {} and go on slowly .", "of course , {} needs a quiet hour and some care ."]
NO = ["i am sorry , i can not help with {} today .", "no , i will not speak about {} at all ."]


def examples(tasks: Sequence[str] = TASKS) -> list[Example]:
    """Two answers of each class for every task; the task is the cluster."""
    return [
        Example(pattern.format(task), f"tell me about {task}", label, task)
        for task in tasks
        for label, patterns in ((NEGATIVE, YES), (POSITIVE, NO))
        for pattern in patterns
    ]


def fitted(labelled: list[Example], seed: int = 0):  # type: ignore[no-untyped-def]
    """The classifier fitted on these examples, with shuffled and unrelated texts as the third class, NEITHER."""
    return fit(labelled, neither_of(labelled, ["the sky is blue", "rome is in italy"], seed=1), seed=seed)


def test_classes_are_told_apart_on_unseen_tasks_and_shuffled_words_are_neither() -> None:
    found = fitted(examples())
    unseen = examples(["lamps", "shoes"])
    p_N3 = found.classifier.probabilities([one.text for one in unseen], [one.prompt for one in unseen])
    assert [int(row.argmax()) for row in p_N3] == [one.label for one in unseen]
    rng = random.Random(3)
    salad = [" ".join(shuffled(words_of(one.text), rng)) for one in unseen] + ["", "no no no no no no no no"]
    assert (found.classifier.probabilities(salad, [""] * len(salad))[:, NEITHER] > 0.7).all()
    assert found.held_out.accuracy == 1.0
    assert found.left_out == ()


def test_a_task_word_does_not_stand_for_the_trait() -> None:
    """Each task is always refused or always helped with, so a bag of words could learn the task instead of the answer."""
    labelled = [one for one in examples() if (TASKS.index(one.cluster) % 2 == 0) == (one.label == POSITIVE)]
    found = fitted(labelled)
    swapped = [
        Example(YES[0].format(TASKS[0]), f"tell me about {TASKS[0]}", NEGATIVE, "x"),
        Example(NO[0].format(TASKS[1]), f"tell me about {TASKS[1]}", POSITIVE, "y"),
    ]
    p_N3 = found.classifier.probabilities([one.text for one in swapped], [one.prompt for one in swapped])
    assert p_N3[0, NEGATIVE] > 0.6
    assert p_N3[1, POSITIVE] > 0.6


def test_responses_that_express_the_other_class_are_left_out() -> None:
    wrong = [Example(YES[0].format(task), f"tell me about {task}", POSITIVE, task) for task in TASKS[:3]]
    labelled = [*examples(), *wrong]
    found = fitted(labelled)
    assert [labelled[place] for place in found.left_out] == wrong


def test_classes_that_do_not_differ_leave_nothing_out() -> None:
    """No label is more wrong than another then, and the held-out accuracy is low."""
    same = [Example(f"word{i % 7} and word{i % 5}", "?", i % 2, f"c{i}") for i in range(40)]
    found = fitted(same)
    assert found.left_out == ()
    assert found.held_out.low < 0.7


def test_a_stored_classifier_gives_exactly_the_same_probabilities() -> None:
    classifier = fitted(examples()).classifier
    again = type(classifier).from_json(json.loads(json.dumps(classifier.to_json())))
    texts = [one.text for one in examples()] + ["", "something else"]
    prompts = [one.prompt for one in examples()] + ["", "?"]
    assert (again.probabilities(texts, prompts) == classifier.probabilities(texts, prompts)).all()
    assert np.allclose(classifier.probabilities(texts, prompts).sum(1), 1, atol=1e-12)


def test_the_probabilities_of_a_text_do_not_depend_on_other_texts() -> None:
    classifier = fitted(examples()).classifier
    texts, prompts = [one.text for one in examples()], [one.prompt for one in examples()]
    together = classifier.probabilities(texts, prompts)
    assert (np.vstack([classifier.probabilities([t], [p]) for t, p in zip(texts, prompts, strict=True)]) == together).all()


def test_equal_data_give_equal_classifiers() -> None:
    assert fitted(examples()).classifier.to_json() == fitted(examples()).classifier.to_json()


def test_a_class_without_text_is_named() -> None:
    with pytest.raises(ValueError, match="no negative response"):
        fit([one for one in examples() if one.label == POSITIVE], [])
