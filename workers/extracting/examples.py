"""The examples of a trait, encoded, with their responses and their split (training or held out)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from terms.documents.extraction import RespondedLine
from terms.documents.reading import read_responses
from terms.documents.trait import TraitDataset
from terms.documents.writing import json_lines
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_answer, encode_prompt


@dataclass(frozen=True)
class Prompted:
    """One example. `ids` are the prompt's; `response_ids` follow them unchanged."""

    label: str
    index: int
    prompt: str
    system_prompt: str | None
    cluster: str
    given: str | None
    ids: tuple[int, ...]
    train: bool = True
    response_ids: tuple[int, ...] = ()
    response: str = ""
    kept: bool = True

    @property
    def positive(self) -> bool:
        """Whether the example is of the positive class."""
        return self.label == "positive"


def encode_examples(lm: LanguageModel, trait: TraitDataset, new_tokens: int) -> list[Prompted]:
    """Encodes the trait's prompts, positives first, in the dataset's order. Checks that each fits the context with its response.

    Raises ModelFault prompt_too_long, empty_prompt, chat_template_failed, naming the example.
    """
    examples = []
    for label in ("positive", "negative"):
        for index, row in enumerate(trait[label]):
            try:
                ids = tuple(encode_prompt(lm, row["prompt"], row.get("system_prompt")))
                lm.check_ids(ids, new_tokens)
            except ModelFault as fault:
                raise ModelFault(fault.code, f"The {label} prompt {index} (counted from 0): {fault.sentence}") from fault
            examples.append(
                Prompted(label, index, row["prompt"], row.get("system_prompt"), row["cluster"], row.get("response"), ids)
            )
    return examples


def split(examples: Sequence[Prompted], share: float, seed: int) -> list[Prompted]:
    """Holds out `share` of the clusters, drawn by seed, so that pairs and clusters stay together. Draws in turn from clusters with both classes,
    with positives only and with negatives only, so that the classes stay in proportion."""
    if share == 0:
        return [replace(example, train=True) for example in examples]
    classes: dict[str, set[str]] = {}
    for example in examples:
        classes.setdefault(example.cluster, set()).add(example.label)
    held: set[str] = set()
    draw = np.random.default_rng([seed, 0x5EED])
    for stratum in (("negative", "positive"), ("positive",), ("negative",)):
        names = sorted(cluster for cluster, labels in classes.items() if tuple(sorted(labels)) == stratum)
        held.update(names[i] for i in draw.permutation(len(names))[: round(share * len(names))])
    return [replace(example, train=example.cluster not in held) for example in examples]


def with_responses(lm: LanguageModel, examples: Sequence[Prompted], answers: Sequence[Sequence[int]]) -> list[Prompted]:
    """The examples with these response ids and the decoded text."""
    return [
        replace(example, response_ids=tuple(ids), response=lm.tokenizer.decode(list(ids), skip_special_tokens=True))
        for example, ids in zip(examples, answers, strict=True)
    ]


def given_ids(lm: LanguageModel, examples: Sequence[Prompted], most: int) -> list[list[int]]:
    """The ids of the responses given in the dataset, a leading space kept, cut at `most` tokens. Raises ModelFault responses_missing."""
    ids = []
    for example in examples:
        if example.given is None:
            raise ModelFault(
                "responses_missing",
                f"The {example.label} example {example.index} has no response. Let the model answer, or give a response.",
            )
        ids.append(encode_answer(lm, example.given)[:most])
    return ids


def to_lines(examples: Sequence[Prompted]) -> bytes:
    """The bytes of responses.jsonl."""
    return json_lines(_line(example) for example in examples)


def _line(example: Prompted) -> RespondedLine:
    return {
        "class": example.label,
        "index": example.index,
        "prompt": example.prompt,
        "system_prompt": example.system_prompt,
        "cluster": example.cluster,
        "split": "train" if example.train else "validation",
        "response": example.response,
        "response_ids": list(example.response_ids),
        "kept": example.kept,
    }


def from_lines(lm: LanguageModel, data: bytes) -> list[Prompted]:
    """The examples in the bytes of a responses.jsonl, with their prompts encoded again."""
    examples = []
    for row in read_responses(data):
        ids = tuple(encode_prompt(lm, row["prompt"], row["system_prompt"]))
        examples.append(
            Prompted(
                row["class"],
                row["index"],
                row["prompt"],
                row["system_prompt"],
                row["cluster"],
                None,
                ids,
                row["split"] == "train",
                tuple(row["response_ids"]),
                row["response"],
                row["kept"],
            )
        )
    return examples
