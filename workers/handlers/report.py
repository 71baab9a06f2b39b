"""`report`: the last job of a study. Reads the results of its jobs and writes tables.json, report.md, report.html and a blind labelling sheet.

It runs when all other jobs of the study have ended, in any state, and lists missing results with the reason.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime

from terms.documents.study import StudySummary
from terms.specs import ReportSpec
from workers.job import ArtifactBytes, JobContext, Outcome
from workers.reports import document, labelling
from workers.reports.gathered import gather
from workers.reports.texts import reader


def run(spec: ReportSpec, context: JobContext) -> Outcome:
    """Spec: `{"study": the request, "nodes": {name: {job, kind, model, trait, place}}, "labels": {text id: 0-100} or None}`.

    Raises JobFault missing_input, unknown_labels.
    """
    context.phase("gathering", len(spec["nodes"]), "jobs", share=0.7)
    data = gather(context, spec["nodes"], spec["study"]["models"])
    texts = labelling.sample(context, spec["nodes"], spec["study"]["seed"])
    if labels := spec.get("labels"):
        data = replace(data, agreement=labelling.agreed(texts, labels))
    context.phase("writing", 1, "reports")
    report = document.build(spec["study"], data)
    files = [
        ArtifactBytes(
            "tables.json", (json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n").encode(), "application/json"
        ),
        ArtifactBytes("report.md", report.to_markdown().encode(), "text/markdown; charset=utf-8"),
        ArtifactBytes(
            "report.html", report.to_html(reader(context), datetime.now(UTC).date()).encode(), "text/html; charset=utf-8"
        ),
        ArtifactBytes("labelling.csv", labelling.sheet(texts), "text/csv; charset=utf-8"),
    ]
    context.progress(1)
    summary: StudySummary = {
        "partial": bool(data.missing),
        "missing": data.missing,
        "recommendations": [
            {"model": finding["model"], "sentence": finding["sentence"], "because": finding["because"]}
            for finding in report.findings
        ],
    }
    return Outcome(result={"study": summary}, artifacts=files)
