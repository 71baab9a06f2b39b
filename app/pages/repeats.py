"""The same by curl and by Python, for the drawer of a job's page."""

import json

from app.jobs.schemas import JobOut


def repeats(job: JobOut, base: str) -> dict[str, str]:
    """Commands that fetch what the page shows, and the stored specification."""
    path = job.links.get("result", job.links["self"])
    files = [one.name for one in job.artifacts]
    python = ["from binnacle import Client", "", f'with Client("{base}") as client:', f'    job = client.job("{job.id}")']
    if files:
        python.append(f'    client.download(job["artifacts"][0], "{files[0]}")')
    return {
        "curl": f'curl -H "Authorization: Bearer $BINNACLE_KEY" {base}{path}',
        "Python": "\n".join(python),
        "command line": f"binnacle get {job.id}",
        "specification": json.dumps(job.spec, indent=2, ensure_ascii=False)[:20_000],
    }
