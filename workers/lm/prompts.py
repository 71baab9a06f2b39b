"""Turns a user's text into token ids. The only module that handles chat templates and begin-of-sequence tokens.

An answer's ids are appended to these ids unchanged: texts are never joined and tokenized again, so that the first generated token always stands
at position `len(prompt ids)`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.verbatim import Hide, verbatim

# A fixed day for templates that print today's date, because the ids must not change tomorrow. Llama 3's templates fall back to the same day.
TEMPLATE_DAY = datetime(2024, 7, 26)  # noqa: DTZ001, a date to print, in no time zone
# A macro, because functions given as variables reach the template as plain text. "%-d" is "%d" without its leading zero. "%%" is replaced
# last: the "%" that it leaves must not begin another form.
_DATE_FORMATS = [f"%{flag}{letter}" for flag in ("", "-") for letter in "aAbBcCdDeFgGhHIjmMpRSTuUVwWxXyY"] + ["%%"]
_DAY_REPLACED = "".join(f" | replace('{form}', '{TEMPLATE_DAY.strftime(form)}')" for form in _DATE_FORMATS)
_DAY_MACRO = "{%- macro strftime_now(format) -%}{{ format" + _DAY_REPLACED + " }}{%- endmacro -%}"

Form = Literal["plain", "parts"]
FORMS: tuple[Form, Form] = ("plain", "parts")
# Texts that no template contains, without blanks at their ends.
PAIR = ("Where do the seven herons sleep?", "A cart of plums came late.")
SYSTEM_PAIR = ("Speak as a lighthouse keeper would.", "Mention no colour at all.")
TEMPLATE_ERRORS = (TemplateError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What rendering a chat template may raise. Jinja raises OverflowError, an ArithmeticError, for a range that its sandbox forbids."""


def encode_prompt(lm: LanguageModel | PreTrainedTokenizerBase, text: str, system: str | None = None) -> list[int]:
    """Returns the ids to prefill for one user prompt, so that the model's answer can follow.

    With a chat template: the template's own text, its own begin-of-sequence token and no second such token, with thinking off where the template
    can switch it. A template that refuses or drops the system role gets the system text at the head of the user's turn, as does a model without
    a template. Without a template: the tokenizer's own rule for special tokens, without an end-of-sequence token at the end. The model's
    `special_tokens` decides how names of special tokens in the texts are read.

    Raises ModelFault empty_prompt, chat_template_failed, chat_template_drops_text, special_tokens_not_text.
    """
    tokenizer = lm.tokenizer if isinstance(lm, LanguageModel) else lm
    if tokenizer.chat_template:
        ids = _ids(lm, lambda hide: render_chat(tokenizer, hide(text), system and hide(system)), special=False)
    else:
        ids = _ids(lm, lambda hide: hide(_merged(text, system)), special=True)
        if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids = ids[:-1]  # an end of text here would end the prompt, not the answer
        if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
            ids = ids[1:]  # the text itself begins with the token that the tokenizer adds
    if not ids:
        raise ModelFault("empty_prompt", "A prompt has no tokens. Write some text.")
    return ids


def render_chat(tokenizer: PreTrainedTokenizerBase, text: str, system: str | None = None) -> str:
    """The prompt as the model's chat template writes it, up to where the answer begins. Raises ModelFault chat_template_failed,
    chat_template_drops_text."""
    try:
        form = content_form(tokenizer)
        if system and takes_system(tokenizer, form):
            turns = [turn("system", system, form), turn("user", text, form)]
        else:
            turns = [turn("user", _merged(text, system), form)]
        return render_turns(tokenizer, turns)
    except TEMPLATE_ERRORS as error:
        raise ModelFault("chat_template_failed", f"The model's chat template cannot write a single user turn: {error}") from error


def content_form(tokenizer: PreTrainedTokenizerBase) -> Form:
    """Whether the template reads a turn's content as plain text or only as a list of parts. Raises ModelFault chat_template_drops_text, and the
    template's own error where it cannot write a user turn in either form."""

    def user(form: Form) -> Callable[[str], str]:
        return lambda text: render_turns(tokenizer, [turn("user", text, form)])

    if (plain := kept(user("plain"))) == "kept":
        return "plain"  # nearly every template
    by_form = {"plain": plain, "parts": kept(user("parts"))}
    for wanted in ("kept", "rewritten"):
        for form in FORMS:
            if by_form[form] == wanted:
                return form
    rendered = render_turns(tokenizer, [turn("user", PAIR[0], "plain")])
    raise ModelFault(
        "chat_template_drops_text",
        f"The model's chat template leaves out the user's text: two different texts give the same prompt, {rendered[:300]!r}. "
        "Correct the template, or remove it to use the text as the prompt.",
    )


def takes_system(tokenizer: PreTrainedTokenizerBase, form: Form) -> bool:
    """Whether the template includes a system turn's text."""

    def render(system: str) -> str:
        return render_turns(tokenizer, [turn("system", system, form), turn("user", PAIR[0], form)])

    return kept(render, SYSTEM_PAIR) in ("kept", "rewritten")


def kept(render: Callable[[str], str], pair: tuple[str, str] = PAIR) -> Literal["kept", "rewritten", "dropped", "failed"]:
    """Tests whether `render` keeps a text, by exchanging two texts: only their characters change (kept), other characters change (rewritten),
    nothing changes (dropped), or the template raises an error (failed)."""
    try:
        first, second = render(pair[0]), render(pair[1])
    except TEMPLATE_ERRORS:
        return "failed"
    if first == second:
        return "dropped"
    return "kept" if pair[0] in first and first.replace(*pair) == second else "rewritten"


Turn = dict[str, str | list[dict[str, str]]]
"""`role` and `content`."""


def turn(role: str, text: str, form: Form) -> Turn:
    """One turn of a conversation, in the form in which the template reads it."""
    return {"role": role, "content": text if form == "plain" else [{"type": "text", "text": text}]}


def render_turns(tokenizer: PreTrainedTokenizerBase, turns: list[Turn], *, answering: bool = True) -> str:
    """Renders the turns with the chat template; `answering` adds the header of an answer. Raises TEMPLATE_ERRORS."""
    template = tokenizer.get_chat_template()
    rendered = tokenizer.apply_chat_template(
        turns,
        chat_template=_DAY_MACRO + template if "strftime_now" in template else template,
        tokenize=False,
        add_generation_prompt=answering,
        enable_thinking=False,
        thinking=False,
        date_string=TEMPLATE_DAY.strftime("%d %b %Y"),
    )
    return str(rendered)


def turn_end(tokenizer: PreTrainedTokenizerBase) -> tuple[str, int | None]:
    """The text that the template writes after the last answer of a conversation, and its id if it is one special token."""
    if not tokenizer.chat_template:
        return "", None
    try:
        form = content_form(tokenizer)
        rendered = render_turns(tokenizer, [turn("user", PAIR[0], form), turn("assistant", PAIR[1], form)], answering=False)
    except (*TEMPLATE_ERRORS, ModelFault):
        return "", None
    end = rendered.rpartition(PAIR[1])[2].strip() if PAIR[1] in rendered else ""
    special = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return end, special.get(end)


def _merged(text: str, system: str | None) -> str:
    return f"{system}\n\n{text}" if system else text


def encode_answer(lm: LanguageModel, text: str) -> list[int]:
    """The ids of a given answer, to append to a prompt's ids; names of special tokens are read as in `encode_prompt`."""
    return _ids(lm, lambda hide: hide(text), special=False)


def _ids(lm: LanguageModel | PreTrainedTokenizerBase, write: Callable[[Hide], str], *, special: bool) -> list[int]:
    """The ids of the string that `write` returns; `write` passes each user's text through its argument."""
    tokenizer = lm.tokenizer if isinstance(lm, LanguageModel) else lm
    if isinstance(lm, LanguageModel) and lm.special_tokens == "text":
        return verbatim(tokenizer).encode(write, ends=special)
    return [int(i) for i in tokenizer(write(str), add_special_tokens=special, verbose=False)["input_ids"]]
