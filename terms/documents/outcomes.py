"""Types of a job's stored result, by kind. An `id` is that of the row which the service makes; what a handler returns lacks it.

Results of generations and studies are in `generation` and `study`.
"""

from typing import NotRequired

from typing_extensions import TypedDict

from terms.documents.calibration import CalibrationResult
from terms.documents.extraction import ExtractionResult, VectorFacts
from terms.documents.steering import SteeringResult


class StoredCalibration(CalibrationResult):
    """A calibration's result with the id of its row."""

    id: NotRequired[str]


class CalibrationOutcome(TypedDict):
    """The result of a calibrate job."""

    calibration: StoredCalibration


class StoredExtraction(ExtractionResult):
    """An extraction's result with the id of its row."""

    id: NotRequired[str]


class ExtractionOutcome(TypedDict):
    """An extraction's result. The handler returns its `vectors`, too, which the service stores as rows."""

    extraction: StoredExtraction
    vectors: NotRequired[list[VectorFacts]]


class StoredSteering(SteeringResult):
    """A steering's result with the id of its row."""

    id: NotRequired[str]


class SteeringOutcome(TypedDict):
    """The result of a steer or rescore job."""

    steering: StoredSteering


class ExportedFile(TypedDict):
    """The file of an export, the number of vectors or of calibrations in it, and notes for its reader."""

    file: str
    format: str
    vectors: NotRequired[int]
    calibrations: NotRequired[int]
    notes: list[str]


class ExportOutcome(TypedDict):
    """The result of an export job."""

    export: ExportedFile
