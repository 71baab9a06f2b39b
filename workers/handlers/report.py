"""`report`: the end of a study. Reads what its jobs left and writes tables.json, report.md and report.html.

It runs when every job before it is over, however each ended, and names what is missing with its reason.
"""

import json
from typing import Any

from workers.handlers.base import ArtifactBytes, JobContext, Outcome
from workers.reports import document
from workers.reports.gathered import gather


def run(spec: dict[str, Any], context: JobContext) -> Outcome:
    """Spec: `{"study": what was asked, "nodes": {name: {job, kind, model, trait, place}}}`. Raises JobFault missing_input."""
    context.phase("gathering", len(spec["nodes"]), "jobs", share=0.7)
    data = gather(context, spec["nodes"])
    context.phase("writing", 1, "reports")
    report = document.build(spec["study"], data)
    files = [
        ArtifactBytes(
            "tables.json", (json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n").encode(), "application/json"
        ),
        ArtifactBytes("report.md", report.to_markdown().encode(), "text/markdown; charset=utf-8"),
        ArtifactBytes("report.html", report.to_html().encode(), "text/html; charset=utf-8"),
    ]
    context.progress(1)
    summary = {
        "partial": bool(data.missing),
        "missing": data.missing,
        "recommendations": [{key: one[key] for key in ("model", "sentence", "because")} for one in report.findings],
    }
    return Outcome(result={"study": summary}, artifacts=files)
