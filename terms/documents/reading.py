"""The one reader of each stored file and dataset: bytes to its type. A reader trusts the writer for the shape.

Other modules call these readers and do not parse the files themselves (`tests/terms/test_reading.py`).
"""

import json
from collections.abc import Callable, Iterator

from terms.documents.calibration import CalibrationDocument
from terms.documents.extraction import ExtractionDocument, RespondedLine
from terms.documents.runs import AnswerLine, RunLine
from terms.documents.steering import Summary
from terms.documents.study import TablesDocument
from terms.documents.trait import TraitDataset
from terms.documents.trait_interp import ResultsBaseline, ResultsHeader, ResultsRun

read_trait: Callable[[bytes], TraitDataset] = json.loads
"""Returns a trait's dataset from its stored bytes."""
read_calibration: Callable[[bytes], CalibrationDocument] = json.loads
"""Returns the content of calibration.json."""
read_extraction: Callable[[bytes], ExtractionDocument] = json.loads
"""Returns the content of extraction.json."""
read_summary: Callable[[bytes], Summary] = json.loads
"""Returns the content of summary.json."""
read_tables: Callable[[bytes], TablesDocument] = json.loads
"""Returns the content of tables.json."""
read_run: Callable[[bytes], RunLine] = json.loads
"""Returns one line of a steering's runs.jsonl."""
read_answer: Callable[[bytes], AnswerLine] = json.loads
"""Returns one line of a steering's responses.jsonl."""
read_response: Callable[[bytes], RespondedLine] = json.loads
"""Returns one line of an extraction's responses.jsonl."""


def read_runs(data: bytes) -> Iterator[RunLine]:
    """Yields the lines of runs.jsonl."""
    return map(read_run, data.splitlines())


def read_answers(data: bytes) -> Iterator[AnswerLine]:
    """Yields the lines of a steering's responses.jsonl."""
    return map(read_answer, data.splitlines())


def read_responses(data: bytes) -> Iterator[RespondedLine]:
    """Yields the lines of an extraction's responses.jsonl."""
    return map(read_response, data.splitlines())


def read_results(data: bytes) -> tuple[ResultsHeader, ResultsBaseline, list[ResultsRun]]:
    """Returns the lines of results.jsonl: the header, the baseline, and the steered runs."""
    header, baseline, *runs = map(json.loads, data.splitlines())
    return header, baseline, runs
