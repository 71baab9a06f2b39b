"""Reads persona_vectors' artifacts (Chen et al., 2025: `data_generation/trait_data_extract/TRAIT.json` and `trait_data_eval/TRAIT.json`).

    {"instruction": [{"pos": "...", "neg": "..."}], "questions": ["..."], "eval_prompt": "... {question} ... {answer} ..."}

Each instruction is a system prompt, combined with every question of the extraction. With both files, steering uses the questions of the file
with `eval` in its name; with one file, some of its questions are kept out of the extraction.
"""

from collections.abc import Sequence

from app.errors import invalid
from app.traits.readers.base import Held, Reader, Row, Source, Taken, held_note, hold_out
from binnacle.words.counting import counted
from terms.values import Json, JsonObject

FIELDS = ("instruction", "questions", "eval_prompt")


def recognises(source: Source) -> bool:
    """Returns whether the file is an object with instructions and questions."""
    return {"instruction", "questions"} <= _object(source).keys()


def _object(source: Source) -> JsonObject:
    """Returns the object in the file; an empty object for any other content."""
    return source.content if isinstance(source.content, dict) else {}


def _texts(source: Source, value: Json, field: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text.strip() for text in value):
        raise invalid(f"/{source.file}", "invalid_row", f"{source.file}: {field!r} must be a list of texts that are not blank.")
    return value


def _instructions(source: Source) -> list[tuple[str, str]]:
    instructions, pairs = _object(source)["instruction"], []
    for number, instruction in enumerate(instructions if isinstance(instructions, list) and instructions else [None], start=1):
        if not isinstance(instruction, dict) or not all(
            isinstance(instruction.get(side), str) and instruction[side].strip() for side in ("pos", "neg")
        ):
            detail = f"{source.file}, instruction {number}: it must be an object with the texts 'pos' and 'neg'."
            raise invalid(f"/{source.file}", "invalid_row", detail)
        pairs.append((instruction["pos"], instruction["neg"]))
    return pairs


def read(sources: Sequence[Source], seed: int) -> Taken:
    """Reads every instruction with every question, once with the positive and once with the negative instruction as the system prompt."""
    tests = [source for source in sources if "eval" in source.file.lower()] if len(sources) > 1 else []
    first = [source for source in sources if source not in tests] or list(sources)
    if len(first) > 1 or len(tests) > 1:
        names = ", ".join(source.file for source in sources)
        detail = f"{names}: send the extraction's file, and the evaluation's with 'eval' in its name; no other file."
        raise invalid(f"/{sources[-1].file}", "too_many_files", detail)
    source, test = first[0], (tests[0] if tests else None)
    instructions, asked = _instructions(source), _texts(source, _object(source)["questions"], "questions")
    held = hold_out(asked, seed)
    questions: list[Row]
    if test is not None:
        held = Held(held.clusters, set())
        questions = [{"question": question} for question in _texts(test, _object(test)["questions"], "questions")]
        said = f"{counted(len(questions), 'steering question')} of {test.file}."
    else:
        questions = [{"question": asked[i], "cluster": held.clusters[i]} for i in sorted(held.questions)]
        said = held_note(held)
    taken = Taken(questions=questions, eval_prompt=_object(test or source).get("eval_prompt"))
    for positive, negative in instructions:
        for i, question in enumerate(asked):
            if i not in held.questions:
                row = {"prompt": question, "cluster": held.clusters[i]}
                taken.positive.append({**row, "system_prompt": positive})
                taken.negative.append({**row, "system_prompt": negative})
    taken.notes += [
        f"Read as persona_vectors: {len(instructions):,} instruction pairs x {len(asked) - len(held.questions):,} questions of {source.file}, "
        "the instruction alone as the system prompt.",
        said,
    ]
    if taken.eval_prompt is not None:
        taken.notes.append(f"eval_prompt of {(test or source).file} is the judge's own prompt for this trait.")
    for upload in sources:
        unused = sorted(_object(upload).keys() - set(FIELDS)) + (["instruction"] if upload is test else [])
        taken.notes += [f"{upload.file}: the fields {', '.join(map(repr, unused[:20]))} were left out."] if unused else []
    return taken


READER = Reader("instruction pairs, questions and eval_prompt (JSON)", recognises, read)
