"""The token ids of prompts: one begin-of-sequence token, the template's turns, and no date of the day (docs/science.md, 6)."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.ml.tiny_models import BOS, EOS, SPECIAL, tiny_tokenizer
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.prompts import TEMPLATE_DAY, encode_prompt, render_chat

SYSTEM, USER, ASSISTANT, END = (SPECIAL.index(f"<|{name}|>") for name in ("system", "user", "assistant", "end"))
THINKING_OFF = [SPECIAL.index("<think>"), SPECIAL.index("</think>")]


def letters(text: str) -> list[int]:
    ids: list[int] = tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]
    return ids


def test_chat_prompts_have_one_bos_the_turns_and_the_head_of_the_answer() -> None:
    ids = encode_prompt(tiny_tokenizer("chat"), "Hi", "Be brief")
    assert ids == [BOS, SYSTEM, *letters("Be brief"), END, USER, *letters("Hi"), END, ASSISTANT, *THINKING_OFF]


@pytest.mark.parametrize("kind", ["no_system", "drops_system"])
def test_a_system_text_that_the_template_refuses_or_drops_goes_to_the_users_turn(kind: str) -> None:
    ids = encode_prompt(tiny_tokenizer(kind), "Hi", "Be brief")
    assert ids == [BOS, USER, *letters("Be brief\n\nHi"), END, ASSISTANT, *THINKING_OFF]
    assert encode_prompt(tiny_tokenizer(kind), "Hi") == [BOS, USER, *letters("Hi"), END, ASSISTANT, *THINKING_OFF]


def test_a_template_that_prints_the_date_gives_the_same_ids_every_day() -> None:
    printed = "Today is 26 Jul 2024"
    assert encode_prompt(tiny_tokenizer("dated"), "Hi")[: 2 + len(printed)] == [BOS, SYSTEM, *letters(printed)]


@pytest.mark.parametrize(
    "pattern", ["%d %b %Y", "%Y-%m-%d", "%d %B %Y", "%A, %e/%m/%y", "100%% on %F", "%H:%M", "%B %-d, %Y", "%-I:%M %p"]
)
def test_the_fixed_day_is_printed_as_python_prints_it(pattern: str) -> None:
    tokenizer = tiny_tokenizer("chat")
    tokenizer.chat_template = "{% set day = strftime_now('" + pattern + "') %}{{ day }}|{{ messages[0].content }}"
    assert render_chat(tokenizer, "Hi") == TEMPLATE_DAY.strftime(pattern) + "|Hi"


def test_plain_models_get_their_tokenizers_own_bos() -> None:
    assert encode_prompt(tiny_tokenizer("plain"), "Hi") == [BOS, *letters("Hi")]
    assert encode_prompt(tiny_tokenizer("no_bos"), "Hi") == letters("Hi")
    assert encode_prompt(tiny_tokenizer("plain"), "Hi", "Be brief") == [BOS, *letters("Be brief\n\nHi")]


def test_an_end_of_text_token_that_the_tokenizer_adds_is_removed() -> None:
    assert tiny_tokenizer("bos_eos")("Hi")["input_ids"][-1] == EOS
    assert encode_prompt(tiny_tokenizer("bos_eos"), "Hi") == [BOS, *letters("Hi")]


def test_a_bos_in_the_text_is_not_doubled() -> None:
    assert encode_prompt(tiny_tokenizer("plain"), "<s>Hi") == [BOS, *letters("Hi")]


def test_an_empty_prompt_is_refused_where_nothing_is_left_to_run() -> None:
    with pytest.raises(ModelFault, match="empty_prompt"):
        encode_prompt(tiny_tokenizer("no_bos"), "")
    assert encode_prompt(tiny_tokenizer("plain"), "") == [BOS]


def test_a_template_that_fails_is_a_fault() -> None:
    tokenizer = tiny_tokenizer("chat")
    tokenizer.chat_template = "{{ raise_exception('only tools') }}"
    with pytest.raises(ModelFault, match=r"chat_template_failed: .*only tools"):
        encode_prompt(tokenizer, "Hi")
    loop = "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}"
    for template in ("{% if %}", "{{ 1 / (messages | length - 1) }}", "{{ range(10000000) | length }}", loop):
        tokenizer.chat_template = template
        with pytest.raises(ModelFault, match="chat_template_failed"):
            encode_prompt(tokenizer, "Hi")


def test_the_pretrained_models_prompt_begins_with_its_start_token(pretrained: LanguageModel, pretrained_folder: Path) -> None:
    ids = encode_prompt(pretrained, "The cat ")
    assert pretrained.tokenizer.added_tokens_decoder[ids[0]].content == "<|start_story|>"
    assert ids == encode_prompt(AutoTokenizer.from_pretrained(pretrained_folder), "The cat ")
