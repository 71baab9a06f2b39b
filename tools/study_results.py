"""One half of `same_results`: starts the service of the checkout on PYTHONPATH, runs a study, keeps the files of its jobs.

`study_results.py HOME RESULTS STUDY_JSON MODEL...`. Uses the routes and no client's classes, so that it runs beside any commit.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from app.cli.demo import running_service
from binnacle.address import local_key
from shipped import model_folder

WAIT_SECONDS = 25


def main() -> None:
    """Runs the study and writes each job's files to RESULTS/node/."""
    home, results, study, models = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:]
    with running_service(home) as client:
        headers = {"Authorization": f"Bearer {local_key(home)}"}
        with httpx2.Client(base_url=str(client.url), headers=headers, timeout=120, follow_redirects=True) as http:
            for name in models:
                asked(http.post("/v1/models", json={"name": name, "source": str(model_folder(name))}))
            for name in models:
                await_model(http, name)
            job = asked(http.post("/v1/studies", json={"models": models, **study}))
            done = finished(http, job["id"])
            nodes = asked(http.get(f"/v1/studies/{done['id']}"))["nodes"]
            for node, facts in {**nodes, "report": {"job": done["id"]}}.items():
                for artifact in finished(http, facts["job"])["artifacts"]:
                    place = results / node / artifact["name"]
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(
                        http.get(f"/v1/jobs/{facts['job']}/artifacts/{artifact['name']}").raise_for_status().content
                    )


def asked(response: httpx2.Response) -> Any:
    """The answer's JSON; the server's own words where it refused."""
    if response.is_error:
        sys.exit(response.text)
    return response.json()


def await_model(http: httpx2.Client, name: str) -> None:
    """Returns once the model is ready. Ends this program when it is refused."""
    while (found := asked(http.get(f"/v1/models/{name}")))["state"] != "ready":
        if found["state"] == "faulty":
            sys.exit(json.dumps(found["fault"]))
        time.sleep(1)


def finished(http: httpx2.Client, job: str) -> dict[str, Any]:
    """The job once it has ended. Ends this program when it did not succeed."""
    while True:
        found: dict[str, Any] = asked(http.get(f"/v1/jobs/{job}", params={"wait": WAIT_SECONDS}))
        if found["state"] == "succeeded":
            return found
        if found["state"] in ("failed", "cancelled"):
            sys.exit(json.dumps(found["error"]))


if __name__ == "__main__":
    main()
