"""Shows how to repeat a page's actions with curl and Python, for the drawers of the pages."""

import json
import re
from pprint import pformat

from app.jobs.schemas import JobOut
from terms.values import JsonObject

MOST = 20_000
"""Most characters of a specification on a job's page."""


def _json(value: JsonObject, indent: int) -> str:
    """Returns the value as JSON. Characters that a page would show as escapes of Python are escapes of JSON, so that the text can be copied."""
    return re.sub(r"[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, indent=indent, ensure_ascii=False))


def specification(job: JobOut) -> str:
    """Returns the whole stored specification, as JSON."""
    return _json(job.spec, 2)


def repeats(job: JobOut, base: str) -> dict[str, str]:
    """Returns commands that fetch what the page shows, and the first MOST characters of the stored specification."""
    path = job.links.get("result", job.links["self"])
    python = ["from binnacle import Client", "", f'with Client("{base}") as client:', f'    job = client.job("{job.id}")']
    if job.artifacts:
        python.append("    client.download_all(job)")
    return {
        "curl": f'curl -H "Authorization: Bearer $BINNACLE_KEY" {base}{path}',
        "Python": "\n".join(python),
        "command line": f"binnacle get {job.id}",
        "specification": specification(job)[:MOST],
    }


def requests(kind: str, path: str, body: JsonObject, base: str) -> dict[str, str]:
    """Returns commands that submit this request. `kind`: its name in the client."""
    written = _json(body, 1)
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
