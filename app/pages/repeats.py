"""Shows how to repeat a page's actions with curl and Python, for the drawers of the pages."""

import json
from pprint import pformat

from app.jobs.schemas import JobOut
from terms.values import JsonObject

MOST = 20_000
"""Most characters of a specification on a job's page."""


def specification(job: JobOut) -> str:
    """Returns the whole stored specification, as JSON."""
    return json.dumps(job.spec, indent=2, ensure_ascii=False)


def repeats(job: JobOut, base: str) -> dict[str, str]:
    """Returns commands that fetch what the page shows, and the stored specification, of which at most the first MOST characters."""
    path = job.links.get("result", job.links["self"])
    files = [one.name for one in job.artifacts]
    python = ["from binnacle import Client", "", f'with Client("{base}") as client:', f'    job = client.job("{job.id}")']
    if files:
        python.append(f'    client.download(job["artifacts"][0], "{files[0]}")')
    return {
        "curl": f'curl -H "Authorization: Bearer $BINNACLE_KEY" {base}{path}',
        "Python": "\n".join(python),
        "command line": f"binnacle get {job.id}",
        "specification": specification(job)[:MOST],
    }


def requests(kind: str, path: str, body: JsonObject, base: str) -> dict[str, str]:
    """Returns commands that submit this request. `kind`: its name in the client."""
    written = json.dumps(body, indent=1, ensure_ascii=False)
    curl = [
        'curl -H "Authorization: Bearer $BINNACLE_KEY" -H "Content-Type: application/json" \\',
        f"  {base}{path} -d @- <<'REQUEST'",
        written,
        "REQUEST",
    ]
    spec = pformat(dict(body), width=100, sort_dicts=False)
    python = [
        "from binnacle import Client",
        "",
        f"spec = {spec}",
        f'with Client("{base}") as client:',
        f'    job = client.submit("{kind}", **spec)',
    ]
    return {"curl": "\n".join(curl), "Python": "\n".join(python)}
