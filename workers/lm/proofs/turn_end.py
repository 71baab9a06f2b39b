"""The proof of turn ends: an answer ends where the chat template ends the last answer of a conversation.

The id that the template writes there, if it is one special token, ends answers (`loading` adds it). Ids are never removed, and a generation
config that lists several ids without this id is left unchanged: such templates also use it to end parts of an answer.
"""

from workers.lm.model import LanguageModel
from workers.lm.prompts import turn_end
from workers.lm.proofs.outcome import Proof

NAME = "turn end"


def answer_end(lm: LanguageModel) -> Proof:
    """Runs the proof that the template's end of a turn ends an answer. Its figure is the number of ids that end an answer."""
    ends = ", ".join(f"{lm.tokenizer.convert_ids_to_tokens(i)} ({i})" for i in sorted(lm.eos_ids))
    count = len(lm.eos_ids)
    if not count:
        return Proof(
            NAME,
            "limited",
            0,
            "ids",
            "No id ends an answer, so answers run to their full length. Set eos_token_id in generation_config.json.",
        )
    if not lm.tokenizer.chat_template:
        return Proof(NAME, "passed", count, "ids", f"There is no chat template; answers end at {ends}.")
    text, end = turn_end(lm.tokenizer)
    if end in lm.eos_ids:
        return Proof(
            NAME, "passed", count, "ids", f"The chat template ends an answer with {text} ({end}); answers end at {ends}."
        )
    if end is not None:
        sentence = (
            f"The chat template ends an answer with {text} ({end}), which is not among the ids that end an answer: {ends}. "
            f"If answers run on into another turn, add {end} to eos_token_id in generation_config.json."
        )
        return Proof(NAME, "limited", count, "ids", sentence)
    written = f"ends an answer with {text[:60]!r}, not one special token" if text else "writes nothing after an answer"
    sentence = f"The chat template {written}. Answers end at {ends}, or at their full length."
    return Proof(NAME, "limited", count, "ids", sentence)
