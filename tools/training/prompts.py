"""The calibration prompts of the little world: fifty neutral ones that the shipped models understand."""

import json
import random
from pathlib import Path

from tools.training import reserved
from tools.training.corpus import claim_question, fact_question, sum_question, task_question
from tools.training.facts import FACTS
from tools.training.language import CLAIM_FORMS, FACT_FORMS, SUM_FORMS, TASK_FORMS
from tools.training.tasks import HARMLESS

SEED = reserved.SEED + 3


def neutral_prompts() -> list[str]:
    """Twenty-six requests for help, ten facts, eight sums, six true claims; nothing harmful. Tasks, facts and claims are not asked as in
    the traits' sets; a sum may be."""
    rng = random.Random(SEED)
    tasks = rng.sample([task for task in HARMLESS if not reserved.untrained_task(task.name)], 26)
    facts = rng.sample(list(FACTS.values()), 16)
    return [
        *(task_question(t, rng.choice([f for f in TASK_FORMS if f not in reserved.task_forms(t)])) for t in tasks),
        *(fact_question(f, rng.choice([form for form in FACT_FORMS if form not in reserved.fact_forms(f)])) for f in facts[:10]),
        *(sum_question(a, b, rng.choice(list(SUM_FORMS))) for a, b in [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(8)]),
        *(claim_question(fact, fact.truth, rng.choice(list(CLAIM_FORMS))) for fact in facts[10:]),
    ]


def write_prompts(folder: Path) -> None:
    """Write the prompts in trait-interp's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {
        "name": "Little world",
        "description": "Neutral prompts in the vocabulary of the shipped demo models.",
        "prompts": [{"id": i + 1, "text": text} for i, text in enumerate(neutral_prompts())],
    }
    (folder / "little_world.json").write_text(json.dumps(body, indent=1) + "\n")
