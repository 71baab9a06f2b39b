"""From a person's text to the token ids a model is given. The one place that knows chat templates and begin-of-sequence tokens.

An answer's ids are appended to these ids as they are: texts are never joined and tokenized again, so that the first generated
token always stands at position `len(prompt ids)`.
"""

from datetime import datetime
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel

# Templates that print today's date would give other ids tomorrow. The day is the one Llama 3's templates fall back to.
TEMPLATE_DAY = datetime(2024, 7, 26)  # noqa: DTZ001, a date to print, in no time zone
# A macro, because functions given as variables reach the template as plain text. "%%" comes last: it makes the others' sign.
_DATE_FORMATS = [f"%{letter}" for letter in "aAbBcdDeFHIjmMpRSTuUwWxXyY"] + ["%%"]
_DAY_REPLACED = "".join(f" | replace('{form}', '{TEMPLATE_DAY.strftime(form)}')" for form in _DATE_FORMATS)
_DAY_MACRO = "{%- macro strftime_now(format) -%}{{ format" + _DAY_REPLACED + " }}{%- endmacro -%}"


def encode_prompt(lm: LanguageModel | PreTrainedTokenizerBase, text: str, system: str | None = None) -> list[int]:
    """The ids to prefill for one user prompt, ready for the model's answer to follow.

    With a chat template: the template's own text, its own begin-of-sequence token and no second one, thinking off where the
    template can switch it. A template that refuses or drops the system role gets the system text at the head of the user's
    turn, as does a model without a template. Without one: the tokenizer's own rule for special tokens, less an
    end-of-sequence token at the end.

    Raises ModelFault empty_prompt, chat_template_failed.
    """
    tokenizer = lm.tokenizer if isinstance(lm, LanguageModel) else lm
    if tokenizer.chat_template:
        ids = _ids(tokenizer, render_chat(tokenizer, text, system), special=False)
    else:
        ids = _ids(tokenizer, _merged(text, system), special=True)
        if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids = ids[:-1]  # an end of text here would end the prompt, not the answer
        if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
            ids = ids[1:]  # the text itself begins with the token that the tokenizer adds
    if not ids:
        raise ModelFault("empty_prompt", "A prompt has no tokens at all. Give it some text.")
    return ids


def render_chat(tokenizer: PreTrainedTokenizerBase, text: str, system: str | None = None) -> str:
    """The prompt as the model's chat template writes it, up to where the answer begins. Raises ModelFault
    chat_template_failed."""
    if system:
        turns = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        try:
            rendered = _render(tokenizer, turns)
        except (TemplateError, ValueError, TypeError):
            rendered = ""
        if system.strip() in rendered:
            return rendered
    try:
        return _render(tokenizer, [{"role": "user", "content": _merged(text, system)}])
    except (TemplateError, ValueError, TypeError) as error:
        raise ModelFault("chat_template_failed", f"The model's chat template cannot write a single user turn: {error}") from error


def _render(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]]) -> str:
    template = tokenizer.get_chat_template()
    rendered: Any = tokenizer.apply_chat_template(
        turns,
        chat_template=_DAY_MACRO + template if "strftime_now" in template else template,
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
        thinking=False,
        date_string=TEMPLATE_DAY.strftime("%d %b %Y"),
    )
    return str(rendered)


def _merged(text: str, system: str | None) -> str:
    return f"{system}\n\n{text}" if system else text


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    return [int(i) for i in tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]]
