"""Splits a text written inside a chat template, as repeng's users write them; the model's own template is added again here.

[INST] prompt [/INST] beginning of the answer          <|im_start|>user\\nprompt<|im_end|>\\n<|im_start|>assistant\\nbeginning
"""

import re
from collections.abc import Mapping

_INST = re.compile(
    r"\s*(?:<s>\s*)?\[INST\](?:\s*<<SYS>>(?>(?P<system>.*?)<</SYS>>))?(?P<prompt>.*?)\[/INST\]"
    r"(?P<response>.*?)(?:</s>\s*)?",
    re.DOTALL,
)
_CHATML = re.compile(
    r"\s*(?:<\|im_start\|>system\r?\n(?>(?P<system>.*?)<\|im_end\|>)\s*)?<\|im_start\|>user\r?\n(?P<prompt>.*?)<\|im_end\|>\s*"
    r"(?:<\|im_start\|>assistant\s*(?P<response>.*?)(?:<\|im_end\|>\s*)?)?(?:<\|endoftext\|>\s*)?",
    re.DOTALL,
)
_LLAMA3 = re.compile(
    r"\s*(?:<\|begin_of_text\|>\s*)?(?:<\|start_header_id\|>system<\|end_header_id\|>(?>(?P<system>.*?)<\|eot_id\|>)\s*)?"
    r"<\|start_header_id\|>user<\|end_header_id\|>(?P<prompt>.*?)<\|eot_id\|>\s*"
    r"(?:<\|start_header_id\|>assistant<\|end_header_id\|>(?P<response>.*?)(?:<\|eot_id\|>\s*)?)?",
    re.DOTALL,
)

_TURN = re.compile(r"\[INST\]|<\|im_start\|>|<\|start_header_id\|>")
_MARK = re.compile(
    r"\[/?INST\]|<\|im_(?:start|end)\|>|<\|(?:start|end)_header_id\|>|<\|eot_id\|>|<\|(?:system|user|assistant|end)\|>|<(?:start|end)_of_turn>"
)


def apart(text: str) -> dict[str, str] | None:
    """Returns the prompt, with system prompt and response if present; None for a text without a template, or with one of another form."""
    for form in (_INST, _CHATML, _LLAMA3):
        match = form.fullmatch(text)
        if match is not None:
            parts = {"prompt": match["prompt"], "system_prompt": match["system"], "response": match["response"]}
            return {name: value.strip() for name, value in parts.items() if value is not None and value.strip()}
    return None


def has_marks(text: str) -> bool:
    """Returns whether a text holds a mark of a chat template, known to `apart` or not."""
    return bool(_MARK.search(text))


def has_more_turns(row: Mapping[str, str]) -> bool:
    """Returns whether a part that `apart` returned holds the beginning of another turn."""
    return any(_TURN.search(part) for part in row.values())
