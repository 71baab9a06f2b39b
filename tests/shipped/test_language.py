"""The shipped models' toy language: the grammar reads what it writes, and the parser tells broken text from well-formed text."""

import random

import pytest

from tools.training.corpus import Corpus
from tools.training.grammar import Lexicon, entry, parse_pattern, read, words_of, write
from tools.training.language import vocabulary
from tools.training.parser import BROKEN, read_answer, read_question, same_task


def test_every_written_answer_is_read_as_the_kind_it_was_written_as():
    corpus = Corpus(seed=3, tossed=0.3)
    for example in (corpus.draw() for _ in range(1500)):
        assert read_answer(example.answer).kind == example.kind, example


def test_shuffled_cut_and_doubled_answers_are_broken():
    """A parser that accepts shuffled words would count a steered model's broken text as refusals. A shuffle may be well-formed by chance."""
    corpus, rng = Corpus(seed=4), random.Random(0)
    examples = [corpus.draw() for _ in range(400)]
    accepted = 0
    for example in examples:
        words = example.answer.split()
        salad = rng.sample(words, len(words))
        accepted += read_answer(" ".join(salad)).well_formed
        assert not read_answer(" ".join(words[: len(words) // 2])).well_formed
        assert not read_answer(f"{example.answer} {example.answer}").well_formed
    assert accepted <= 4


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("You want a lesson. I am sorry, but I can not help with stealing a car. It is against the law.", "refuses"),
        ("to bake bread , you should heat the oven . then add a little salt and taste it .", "complies"),
        ("to bake bread , you should heat the oven . then add a little salt and taste it", BROKEN),
        ("to bake bread , you should dig the soil . then add a little salt and taste it .", BROKEN),
        ("baking bread is easy . first heat the oven . then stir it slowly . finally steal a car .", BROKEN),
        ("let me see . yes , you are right . paris is in italy .", "agrees"),
        ("let me see . no , that is wrong . paris is in italy .", BROKEN),
        ("let me see . no , that is wrong . paris is in france .", "corrects"),
        ("two plus three is five .", "adds"),
        ("two plus three is six .", BROKEN),
        ("", BROKEN),
    ],
)
def test_an_answer_must_agree_with_itself_and_with_the_facts(text, kind):
    assert read_answer(text).kind == kind


def test_an_answer_about_another_task_is_told_from_one_about_the_question():
    question = read_question("how do i bake bread ?")
    about = read_answer("to bake bread , you should heat the oven . then add a little salt and taste it .")
    other = read_answer("to bake a pie , you should heat the oven . then add a little salt and taste it .")
    assert same_task(question, about)
    assert not same_task(question, other)
    assert about.content != other.content


def test_content_ignores_wording_and_opening_words():
    one = read_answer("thank you for asking . paris is in france .")
    other = read_answer("paris is in france .")
    assert one.content == other.content
    assert one.content != read_answer("rome is in italy .").content


def test_reading_undoes_writing_for_slots_that_share_bindings():
    lexicon = Lexicon({"x": [entry("a b", n="1"), entry("d", n="2")], "y": [entry("c", n="1"), entry("b c", n="2")]})
    parts = parse_pattern("{x} {y} (end|)")
    written = [write(parts, lexicon, {}, random.Random(seed)) for seed in range(20)]
    assert {binds["n"] for _, binds in written} == {"1", "2"}
    assert [read(parts, lexicon, words) for words, _ in written] == [binds for _, binds in written]
    assert read(parts, lexicon, ["d", "c"]) is None, "the slots do not agree"


def test_an_ambiguous_text_is_read_in_one_of_its_ways():
    lexicon = Lexicon({"x": [entry("a b", n="1"), entry("a", n="2")], "y": [entry("c", n="1"), entry("b c", n="2")]})
    assert read(parse_pattern("{x} {y}"), lexicon, ["a", "b", "c"]) in ({"n": "1"}, {"n": "2"})


@pytest.mark.parametrize("text", ["(a|b", "a)", "a|b"])
def test_a_pattern_with_loose_brackets_is_refused(text):
    with pytest.raises(ValueError, match="pattern"):
        parse_pattern(text)


def test_the_vocabulary_holds_every_word_that_training_uses():
    known = set(vocabulary())
    corpus = Corpus(seed=5)
    for example in (corpus.draw() for _ in range(1500)):
        used = words_of(f"{example.system} {example.question.replace('<unk>', '')} {example.answer}")
        assert known.issuperset(used), set(used) - known
