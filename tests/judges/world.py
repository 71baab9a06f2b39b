"""World: a trait on a shipped model with its extraction responses, its judge, and answers steered along the mean difference.

Labels come from `tools.training.parser`, which knows the grammar of the models' training text and shares no code with the judges.
"""

import json
import random
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch

from shipped import model_folder
from tools.training.parser import read_answer
from tools.training.traits import refusal, sycophancy
from workers.judges.base import JudgeItem
from workers.judges.elicited import AnsweredPrompt
from workers.judges.material import Material, labelled_rows
from workers.judges.reference import ReferenceJudge
from workers.lm.capture import reading
from workers.lm.interventions import Push
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.lm.steered import SteeredRow, generate_steered

LAYER = 2
NEW_TOKENS = 48
SAYS = {"refusal": ("refuses", "complies"), "sycophancy": ("agrees", "corrects")}
"""The kinds of answers that show the trait, and its absence, by trait."""


@dataclass(frozen=True, eq=False)
class World:
    """One trait on one shipped model."""

    lm: LanguageModel
    trait: dict[str, Any]
    answered: list[AnsweredPrompt]

    @cached_property
    def judge(self) -> ReferenceJudge:
        """The judge fitted on the responses."""
        return ReferenceJudge.fit(self.lm, Material(self.trait, self.responses, NEW_TOKENS), batch_rows=96)

    @property
    def name(self) -> str:
        return str(self.trait["name"])

    @property
    def responses(self) -> list[dict[str, Any]]:
        """The responses as an extraction stores them."""
        rows = [row for row, _ in labelled_rows(self.trait)]
        return [
            {"class": one.label, "prompt": one.prompt, "system_prompt": row.system_prompt, "cluster": one.cluster}
            | {"response": one.text, "response_ids": list(one.ids)}
            for row, one in zip(rows, self.answered, strict=True)
        ]

    def questions(self, which: str, step: int = 1) -> list[str]:
        return [row["question"] for row in self.trait["steering"]["questions"] if row["split"] == which][::step]

    def items(self, questions: list[str], dose: float = 0.0, sign: int = 1) -> list[JudgeItem]:
        """The greedy answers to questions, pushed along the unit mean difference by `dose` of the layer's clean norm."""
        push = () if not dose else (self.push(sign * dose),)
        prompts = [tuple(encode_prompt(self.lm, question)) for question in questions]
        rows = [SteeredRow(prompt, push) for prompt in prompts]
        found = generate_steered(self.lm, rows, max_new_tokens=NEW_TOKENS, batch_rows=96)
        return [
            JudgeItem(question, None, self.lm.tokenizer.decode(one.ids, skip_special_tokens=True), tuple(one.ids), prompt)
            for question, prompt, one in zip(questions, prompts, found, strict=True)
        ]

    def push(self, dose: float) -> Push:
        report = json.loads((model_folder(self.lm_name) / "report.json").read_text())["calibration"]["calibration_50"]
        vector_D = _mean_difference(self)
        vector_D[report["massive_dims"]] = 0
        return Push(LAYER, "residual", vector_D / vector_D.norm(), dose * report["clean_norms"][str(LAYER)])

    @property
    def lm_name(self) -> str:
        return self.lm.tokenizer.name_or_path.rstrip("/").rsplit("/", 1)[-1]

    def label(self, item: JudgeItem) -> float | None:
        """100 where the parser finds the trait, 0 where it finds its absence, None for any other text."""
        kind = read_answer(item.text).kind
        yes, no = SAYS[self.name]
        return 100.0 if kind == yes else 0.0 if kind == no else None


@cache
def _mean_difference(world: World) -> torch.Tensor:
    """Positive minus negative mean of the first 5 response tokens at LAYER, over every fourth response."""
    sums = {"positive": [], "negative": []}  # type: dict[str, list[torch.Tensor]]
    for one in world.answered[::4]:
        seen: list[torch.Tensor] = []
        with reading(world.lm, {"residual": lambda _l, _c, h, seen=seen: seen.append(h[0])}, [LAYER]), torch.no_grad():
            world.lm.layout.decoder(input_ids=torch.tensor([[*one.prompt_ids, *one.ids]]), use_cache=False)
        sums[str(one.label)].append(seen[0][len(one.prompt_ids) : len(one.prompt_ids) + 5].mean(0))
    return torch.stack(sums["positive"]).mean(0) - torch.stack(sums["negative"]).mean(0)


def dataset(name: str, step: int = 1) -> dict[str, Any]:
    """A shipped trait as jobs read it, or about one in `step` of its rows. Rows are drawn by their place, so matched rows stay together."""

    def some(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [row for place, row in enumerate(rows) if random.Random(place).random() * step < 1]

    made = {"refusal": refusal, "sycophancy": sycophancy}[name]()
    return {
        "name": name,
        "definition": f"How much {name}.",
        "positive": some(made.positive),
        "negative": some(made.negative),
        "steering": {"questions": some(made.questions), "eval_prompt": None, "direction": "positive"},
        "paraphrases": some(made.paraphrases),
        "unrelated": some(made.unrelated),
    }
