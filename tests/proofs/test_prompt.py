"""Every template gives the model the user's text and, where it has a place for it, the system text; answers end where the turn ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ml.tiny_models import CHAT, EOS_IDS, SPECIAL, tiny_tokenizer
from tests.proofs.twins import edit_json
from workers.lm.errors import ModelFault
from workers.lm.loading import load
from workers.lm.prompts import encode_prompt, render_chat

END = SPECIAL.index("<|end|>")
PARTS = CHAT.replace(
    "{{ m.content }}", "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
)
INDEXED = CHAT.replace("{{ m.content }}", "{{ m.content[0]['text'] }}")
USER_ONLY = "{% for m in messages if m.role == 'user' %}<|user|>{{ m.content }}<|end|>{% endfor %}"
DEFAULT_SYSTEM = "<|system|>You are brief and helpful.<|end|>" + USER_ONLY
SIBLINGS = {
    "trims": CHAT.replace("m.content", "m.content | trim"),
    "merges": "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}\n{% endfor %}Assistant:",
    "uppercases": CHAT.replace("m.content", "m.content | upper"),
    "twice": CHAT.replace("{{ m.content }}", "{{ m.content }} {{ m.content }}"),
}
"""Templates that change how the user's text is written, and are used as they are."""


def rendered(template: str, text: str, system: str | None = None) -> str:
    """The prompt that the template makes."""
    tokenizer = tiny_tokenizer("chat")
    tokenizer.chat_template = template
    return render_chat(tokenizer, text, system)


@pytest.mark.parametrize("template", [PARTS, INDEXED], ids=["parts", "indexed"])
def test_a_template_that_reads_parts_gets_parts(template: str) -> None:
    """It dropped the text before: a calibration succeeded on 50 equal, empty turns."""
    assert rendered(template, "Hi") == rendered(CHAT, "Hi")
    assert rendered(template, "Hi", "Be brief") == rendered(CHAT, "Hi", "Be brief")


@pytest.mark.parametrize("system", ["brief", "You", "system", "e"])
def test_a_system_text_is_not_taken_for_given_because_its_words_are_there(system: str) -> None:
    """The template's own default holds the word; the template drops the system turn."""
    assert f"<|user|>{system}\n\nHi<|end|>" in rendered(DEFAULT_SYSTEM, "Hi", system)


def test_a_template_that_drops_the_text_is_refused_with_what_it_writes() -> None:
    tokenizer = tiny_tokenizer("chat")
    tokenizer.chat_template = "<|user|>{{ messages | length }} message<|assistant|>"
    with pytest.raises(ModelFault, match=r"chat_template_drops_text: .*<\|user\|>1 message<\|assistant\|>"):
        encode_prompt(tokenizer, "Hi")


@pytest.mark.parametrize("kind", SIBLINGS)
def test_templates_that_trim_or_rewrite_are_used_as_they_are(kind: str) -> None:
    tokenizer = tiny_tokenizer("chat")
    tokenizer.chat_template = SIBLINGS[kind]
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": " Hi there "}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert render_chat(tokenizer, " Hi there ") == expected


@pytest.mark.parametrize("generation_config", [None, {"eos_token_id": 2}, {"eos_token_id": [2]}])
def test_the_templates_turn_end_ends_an_answer(copied: Callable[..., Path], generation_config: dict[str, object] | None) -> None:
    """With only the text's end in the configs, a chat model went on after its turn and wrote the user's next."""
    folder = copied("llama", tokenizer="chat")
    (folder / "generation_config.json").unlink()
    if generation_config:
        edit_json(folder / "generation_config.json", **generation_config)
    edit_json(folder / "config.json", eos_token_id=2)
    assert load(folder).eos_ids == {2, END}


def test_a_list_of_ends_that_lacks_the_turn_end_stands(copied: Callable[..., Path]) -> None:
    """Templates with channels for analysis end a part of an answer with a token that does not end the answer."""
    folder = copied("llama", tokenizer="chat")
    ends = [i for i in EOS_IDS if i != END]
    edit_json(folder / "generation_config.json", eos_token_id=ends)
    assert load(folder).eos_ids == set(ends)


@pytest.mark.parametrize("end", ["<|end|>\n", " <|end|> "])
def test_blanks_around_the_turn_end_do_not_hide_it(copied: Callable[..., Path], end: str) -> None:
    folder = copied("llama", tokenizer="chat")
    (folder / "chat_template.jinja").write_text(CHAT.replace("<|end|>", end))
    edit_json(folder / "generation_config.json", eos_token_id=2)
    assert END in load(folder).eos_ids


def test_a_turn_end_of_plain_text_ends_nothing(copied: Callable[..., Path]) -> None:
    folder = copied("llama", tokenizer="chat")
    (folder / "chat_template.jinja").write_text(SIBLINGS["merges"])
    edit_json(folder / "generation_config.json", eos_token_id=2)
    assert load(folder).eos_ids == {2}
