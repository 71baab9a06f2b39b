"""The proof of prompts: the chat template gives the model the user's text and the system text, character for character.

Shown in the rendered string: exchanging two texts changes exactly their characters; and the string's ids, decoded, give the string back.
"""

from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.prompts import (
    PAIR,
    SYSTEM_PAIR,
    TEMPLATE_ERRORS,
    content_form,
    encode_prompt,
    kept,
    render_chat,
    render_turns,
    takes_system,
    turn,
)
from workers.lm.proofs.outcome import Proof

NAME = "prompt"


def prompt_text(lm: LanguageModel) -> Proof:
    """Runs the proof that texts reach the model. Its figure is the number of characters of a prompt that decoding its ids does not give back."""
    tokenizer = lm.tokenizer
    if not tokenizer.chat_template:
        lost = _lost(lm, PAIR[0], encode_prompt(lm, PAIR[0]))
        return _found("There is no chat template: the prompt is the text.", [], lost)
    try:
        form = content_form(tokenizer)
        system = takes_system(tokenizer, form)
    except ModelFault as fault:
        return Proof(NAME, "refused", 0, "characters", fault.sentence)
    except TEMPLATE_ERRORS as error:
        return Proof(
            NAME, "refused", 0, "characters", f"The chat template cannot write a single user turn: {error}. Correct the template."
        )
    limits = []
    if kept(lambda text: render_turns(tokenizer, [turn("user", text, form)])) != "kept":
        limits.append("the template rewrites the user's text")
    elif f" {PAIR[0]} " not in render_chat(tokenizer, f" {PAIR[0]} "):
        limits.append("the template trims blanks at the ends of a text")
    if system and kept(lambda text: render_chat(tokenizer, PAIR[0], text), SYSTEM_PAIR) != "kept":
        limits.append("the template rewrites the system text")
    reads = "as a list of parts" if form == "parts" else "as it is"
    place = "its system text in a turn of its own" if system else "its system text at the head of the user's turn"
    said = f"The chat template gets the user's text {reads} and {place}; exchanging two texts changes exactly their characters."
    return _found(said, limits, _lost(lm, render_chat(tokenizer, PAIR[0]), encode_prompt(lm, PAIR[0])))


def _found(said: str, limits: list[str], lost: int) -> Proof:
    if lost:
        limits = [*limits, f"decoding a prompt's ids does not give back {lost} of its characters (another case, unknown words)"]
    text = f"{said} Limits: {'; '.join(limits)}." if limits else said
    return Proof(NAME, "limited" if limits else "passed", lost, "characters", text)


def _lost(lm: LanguageModel, rendered: str, ids: list[int]) -> int:
    """The number of characters of the string that the decoded ids lack, without blanks, because tokenizers add blanks around special tokens."""
    decoded = "".join(lm.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False).split())
    wanted = "".join(rendered.split())
    return 0 if wanted in decoded else sum(a != b for a, b in zip(wanted, decoded.ljust(len(wanted)), strict=False))
