"""OpenAPI links: from an answer with an identifier to the operations that take it, for clients and the contract tests.

submitStudy --id--> getStudy, getJob, cancelJob, ...        listJobs --items/0/id--> getJob, getJobEvents, ...
"""

from collections.abc import Iterator, Mapping
from typing import NotRequired, TypedDict

from terms.values import JsonField


class Parameter(TypedDict):
    """A parameter of an operation."""

    name: str


class Link(TypedDict):
    """A link to an operation: the place in the answer of each of its parameters."""

    operationId: str
    parameters: dict[str, str]


class AnswerLinks(TypedDict):
    """The part of an operation's answer in the OpenAPI document that holds its links."""

    links: NotRequired[dict[str, Link]]


class Operation(TypedDict):
    """The parts of an operation of the OpenAPI document that links need."""

    operationId: str
    parameters: list[Parameter]
    responses: dict[str, AnswerLinks]


OF_A_JOB = ("getJob", "getJobEvents", "editJob", "cancelJob", "retryJob")
OF_A_CALIBRATION = ("getCalibration", "getCalibrationFile")
OF_AN_EXTRACTION = ("getExtraction", "getCosines", "getExtractionFile", "submitExport")
OF_A_STEERING = ("getSteering", "listSteeringRuns", "listSteeringResponses", "getSteeringFile", "rescoreSteering")
OF_A_STUDY = ("getStudy", "getStudyFile", "retryStudy", "labelStudy")
OF_A_VECTOR = ("getVector", "downloadVector")
OF_A_TRAIT = ("getTrait", "getTraitDataset")
OF_A_MODEL = ("getModel", "inspectModel", "deleteModel")
OF_A_WEBHOOK = ("testWebhook", "deleteWebhook")
OF_A_QUOTA = ("getQuota", "setQuota", "deleteQuota")
OF_A_DEVICE = ("pauseDevice", "drainDevice", "resumeDevice")

BODY = "$response.body#/"
FOLLOWED: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "submitCalibration": (("id", OF_A_JOB + OF_A_CALIBRATION),),
    "submitExtraction": (("id", OF_A_JOB + OF_AN_EXTRACTION),),
    "submitSteering": (("id", OF_A_JOB + OF_A_STEERING),),
    "submitStudy": (("id", OF_A_JOB + OF_A_STUDY),),
    "submitGeneration": (("id", (*OF_A_JOB, "getGeneration")),),
    "submitExport": (("id", OF_A_JOB),),
    "rescoreSteering": (("id", OF_A_JOB + OF_A_STEERING),),
    "retryStudy": (("id", OF_A_JOB + OF_A_STUDY),),
    "labelStudy": (("id", OF_A_JOB + OF_A_STUDY),),
    "retryJob": (("id", OF_A_JOB),),
    "registerModel": (("id", OF_A_JOB), ("model", OF_A_MODEL)),
    "inspectModel": (("id", OF_A_JOB), ("model", OF_A_MODEL)),
    "uploadTrait": (("reference", OF_A_TRAIT),),
    "importVectors": (("items/0/id", OF_A_VECTOR),),
    "addJudge": (("name", ("deleteJudge",)),),
    "addWebhook": (("name", OF_A_WEBHOOK),),
    "listWebhooks": (("items/0/name", OF_A_WEBHOOK),),
    "setQuota": (("user", OF_A_QUOTA),),
    "listQuotas": (("items/0/user", OF_A_QUOTA),),
    "listDevices": (("items/0/id", OF_A_DEVICE),),
    "getStatus": (("workers/0/id", OF_A_DEVICE),),
    "listJobs": (("items/0/id", OF_A_JOB),),
    "listCalibrations": (("items/0/id", OF_A_CALIBRATION), ("items/0/job", OF_A_JOB)),
    "listExtractions": (("items/0/id", OF_AN_EXTRACTION), ("items/0/job", OF_A_JOB)),
    "listSteerings": (("items/0/id", OF_A_STEERING), ("items/0/job", OF_A_JOB)),
    "listStudies": (("items/0/id", OF_A_STUDY), ("items/0/job", OF_A_JOB)),
    "listVectors": (("items/0/id", OF_A_VECTOR),),
    "listTraits": (("items/0/reference", OF_A_TRAIT),),
    "listModels": (("items/0/name", OF_A_MODEL),),
}
"""For each operation: where an identifier is in its answer, and the operations with this identifier as their only path parameter."""
FILES = {"getJob": ("getArtifact", {"job_id": f"{BODY}id", "name": f"{BODY}artifacts/0/name"})}
"""Links that fill several parameters."""
FIRST_FILE = {"getExtractionFile": "extraction.json", "getSteeringFile": "summary.json", "getStudyFile": "report.html"}
"""For operations that download one of several files: the file that the link selects."""


def add_links(document: JsonField) -> None:
    """Adds the links to the answers in the OpenAPI document. Raises KeyError for an operation that the document does not have."""
    operations = dict(_operations(document["paths"]))
    for source, places in FOLLOWED.items():
        for place, targets in places:
            for target in targets:
                parameter = operations[target]["parameters"][0]["name"]
                name = {"name": FIRST_FILE[target]} if target in FIRST_FILE else {}
                _add(operations[source], target, {parameter: f"{BODY}{place}", **name})
    for source, (target, parameters) in FILES.items():
        _add(operations[source], target, parameters)


def _operations(paths: Mapping[str, Mapping[str, Operation]]) -> Iterator[tuple[str, Operation]]:
    for item in paths.values():
        for told in item.values():
            yield told["operationId"], told


def _add(source: Operation, target: str, parameters: dict[str, str]) -> None:
    done = next(status for status in source["responses"] if status in ("202", "201", "200") and not _also(status, source))
    links = source["responses"][done].setdefault("links", {})
    links[target if target not in links else f"{target}Too"] = {"operationId": target, "parameters": parameters}


def _also(status: str, source: Operation) -> bool:
    """Returns whether this status answers a dry run or a repeated request, next to a 201 or 202 for the real request."""
    return status == "200" and ("202" in source["responses"] or "201" in source["responses"])
