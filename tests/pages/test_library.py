"""The pages of vectors, traits, models and the fleet: what they show to whom, and what their forms change."""

import html
import json
import re
import socket
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

import numpy as np
from safetensors.numpy import load
from sqlalchemy import delete, func, select, update

from app.auth.viewer import Viewer
from app.devices.models import Worker
from app.formats.registry import write_vectors
from app.formats.vectors import NamedVector, Origin
from app.jobs import service as jobs
from app.jobs.models import Job
from app.jobs.states import State
from app.models.models import Model
from app.pages.library.fleet import in_order, memory
from app.pages.library.models import PER_PAGE
from app.quotas.repository import put as put_quota
from app.status.schemas import WorkerOut
from tests.api.conftest import FACTS, Running
from tests.api.extracted import numbers, store_extraction
from tests.api.lives import claim, inspect, prove
from tests.api.test_trait_formats import HOBBIES
from tests.pages.conftest import Person, form
from tests.pages.stories import HOSTILE
from tests.pages.test_jobs import words
from tests.pages.test_new_job import TRAIT

Make = Callable[..., Person]


def extracted(api: Running, ada: Person) -> dict[str, str]:
    """ada's vectors on demo by `method/layer`."""
    store_extraction(api.sessions, api.context.storage, ada.name, "b" * 64)
    found = ada.keyed.get("/v1/vectors", params={"limit": 500}).json()["items"]
    return {f"{one['method']}/{one['layer']}": one["id"] for one in found if one["owner"] == ada.name}


def test_vectors_are_found_compared_and_downloaded(api: Running, person: Make) -> None:
    ada, bob = person(), person()
    own = extracted(api, ada)
    page = words(ada.get("/vectors?method=probe&layer=5").text)
    assert "refusal: probe" in page
    assert "mean_diff" not in page
    shown = ada.get(f"/vectors/{own['mean_diff/2']}").text
    assert "an extraction" in shown
    assert "share of its squared norm in massive dimensions" in shown
    both = "&".join(f"v={own[key]}" for key in ("mean_diff/2", "mean_diff/5"))
    compared = words(ada.get(f"/vectors/cosines?{both}").text)
    raw = float(numbers("mean_diff", 2) @ numbers("mean_diff", 5))
    assert f"1: mean_diff, layer 2, vector 2: {raw:.3g}" in compared
    assert "Without massive dimensions" in compared
    file = ada.get(f"/vectors/{own['probe/5']}/download?format=safetensors")
    assert "attachment" in file.headers["content-disposition"]
    assert np.allclose(next(iter(load(file.content).values())), numbers("probe", 5))
    for path in (f"/vectors/{own['probe/5']}", f"/vectors/{own['probe/5']}/download", f"/vectors/cosines?{both}"):
        assert bob.get(path).status_code == 404, path
    assert "No vector that you may see matches" in bob.get("/vectors?trait=refusal&method=probe").text
    assert ada.get(f"/vectors/cosines?v={own['probe/5']}").status_code == 422


def test_vectors_of_two_components_are_told_apart_where_they_are_chosen(api: Running, person: Make) -> None:
    ada = person()
    own = extracted(api, ada)
    other = NamedVector(numbers("probe", 2), 2, "attn_out", "probe", "response[:5]")
    file = ("vectors.safetensors", write_vectors("safetensors", [other], Origin("demo", "LlamaForCausalLM"))[0])
    [made] = ada.keyed.post("/v1/vectors", data={"model": "demo"}, files=[("file", file)]).json()["items"]
    assert "layer 2, response[:5], attn_out" in words(ada.get(f"/vectors/{made['id']}").text)
    labels = re.findall(r'aria-label="(Choose [^"]+)"', ada.get("/vectors?layer=2").text)
    assert "Choose vector, probe, layer 2, response[:5], attn_out" in labels
    assert "response[:5] attn_out" in words(ada.get("/vectors?layer=2").text)
    assert "attn_out" not in words(ada.get(f"/vectors/{own['probe/2']}").text)


def test_compared_vectors_say_which_were_cleaned(api: Running, person: Make) -> None:
    """An imported vector without a calibration has no list of massive dimensions: in the second matrix it is as it was."""
    ada = person()
    own = extracted(api, ada)
    outside = NamedVector(np.arange(1.0, 65.0, dtype=np.float32), 2, "residual", "their-pca", "response[:5]")
    file = ("vectors.gguf", write_vectors("gguf", [outside], Origin("elsewhere", "LlamaForCausalLM"))[0])
    imported = ada.keyed.post("/v1/vectors", data={"model": "demo"}, files=[("file", file)]).json()["items"][0]["id"]
    page = ada.get(f"/vectors/cosines?v={own['mean_diff/2']}&v={imported}").text
    shown = words(page)
    assert "layer 2 , response[:5], on demo. Second matrix: without dimension 7." in shown
    assert "on demo. Second matrix: not cleaned: no calibration lists its massive dimensions." in shown
    assert "the list below names them. Not cleaned: vector 2." in shown
    clean = numbers("mean_diff", 2).astype(np.float64)
    clean[7] = 0
    cosine = clean @ np.arange(1.0, 65.0) / np.linalg.norm(clean) / np.linalg.norm(np.arange(1.0, 65.0))
    assert f"1: mean_diff, layer 2, vector 2: {cosine:.3g}" in shown[shown.index("Without massive dimensions") :]
    assert "Not cleaned" not in words(ada.get(f"/vectors/cosines?v={own['mean_diff/2']}&v={own['probe/5']}").text)


def test_a_trait_is_uploaded_with_its_checks_shown(person: Make) -> None:
    ada, bob = person(), person()
    hidden = dict(re.findall(r'name="(csrf)" value="(\w+)"', ada.get("/traits/new").text))
    body = json.dumps({**TRAIT, "name": "kindness", "definition": HOSTILE}).encode()
    made = ada.http.post("/traits/new", data={**hidden, "name": ""}, files={"files": ("trait.json", body)})
    assert made.url.path.startswith("/traits/kindness@"), words(made.text)
    assert "questions had no split" in words(made.text)
    assert "<img src=x" not in made.text
    assert "a verdict needs 20: add" in words(made.text)
    reference = made.url.path.removeprefix("/traits/")
    file = ada.get(f"/traits/{reference}/dataset.json")
    assert file.json()["positive"][0]["prompt"] == TRAIT["positive"][0]
    assert file.headers["Cache-Control"] == "private, no-cache"  # others may use this browser
    assert "kindness" in ada.get("/traits").text
    assert bob.get(f"/traits/{reference}").status_code == 404
    folder = {
        "positive.txt": b"Thank them.\nAsk kindly.\n",
        "negative.txt": b"Order it.\nDemand it.\n",
        "definition.txt": b"Polite.",
    }
    files = [("files", (name, data)) for name, data in folder.items()]
    files.append(("files", ("steering.json", json.dumps({"questions": ["How?", "What?"]}).encode())))
    again = ada.http.post("/traits/new", data={**hidden, "name": "from-folder"}, files=files)
    assert again.url.path.startswith("/traits/from-folder@"), words(again.text)


def test_an_invalid_trait_is_refused_with_the_reason(person: Make) -> None:
    ada = person()
    hidden = dict(re.findall(r'name="(csrf)" value="(\w+)"', ada.get("/traits/new").text))
    few = json.dumps({**TRAIT, "positive": ["One."]}).encode()
    for files, sentence in (
        ([("files", ("trait.json", few))], "needs 2 or more of each class"),
        ([("files", ("trait.json", b"{"))], "trait.json: not valid JSON"),
        ([("files", ("trait.json", b"[]"))], "trait.json is in none of the formats"),
        ([("files", ("trait.json", b"[" * 40_000))], "nested too deeply"),
        ([("files", ("trait.json", b'{"positive": [' + b'"a", ' * 50_000 + b'"a"]}'))], "more than 50,000 lines or values"),
        ([("files", ("", b""))], "Choose the files of a trait"),
        ([("files", ("notes.docx", b"x"))], "notes.docx"),
    ):
        answer = ada.http.post("/traits/new", data={**hidden, "name": "few"}, files=files)
        assert answer.status_code == 422, sentence
        assert sentence in html.unescape(answer.text)
    assert ada.http.post("/traits/new", data={"csrf": "0"}, files={"files": ("trait.json", few)}).status_code == 403
    assert person("viewer").get("/traits/new").status_code == 403


def test_a_single_file_of_another_tool_is_read_as_the_api_reads_it(person: Make) -> None:
    ada = person()
    hidden = dict(re.findall(r'name="(csrf)" value="(\w+)"', ada.get("/traits/new").text))
    rows = [{"prompt": f"Tell me about {one}.", "positive": "Gladly!", "negative": "No."} for one in HOBBIES]
    persona = {"instruction": [{"pos": "Be kind.", "neg": "Be curt."}], "questions": [f"What is {one}?" for one in HOBBIES]}
    for name, content in (("pairs", rows), ("persona", persona)):
        made = ada.http.post("/traits/new", data={**hidden, "name": name}, files={"files": ("a.json", json.dumps(content))})
        assert made.url.path.startswith(f"/traits/{name}@"), words(made.text)


def test_buttons_on_a_version_and_on_its_vectors_name_the_version(api: Running, person: Make) -> None:
    ada = person()
    older, newer = (
        ada.keyed.post("/v1/traits", json={**TRAIT, "name": "two", "definition": text}).json()["reference"]
        for text in ("A.", "B.")
    )
    assert older != newer
    page = ada.get(f"/traits/{older}").text
    for kind in ("extract", "steer"):
        [path] = re.findall(rf'href="(/new/{kind}\?[^"]+)"', page)
        assert f'<option value="{older}" selected' in ada.get(path).text
    vector = ada.keyed.get(f"/v1/vectors/{extracted(api, ada)['probe/5']}").json()
    page = html.unescape(ada.get(f"/vectors/{vector['id']}").text)
    assert f"trait={quote(vector['trait'] + '@' + vector['trait_version'][:12])}&" in page
    assert f'"{api.url}/v1/vectors/{vector["id"]}/download?format=safetensors"' in page


def test_an_upload_is_refused_before_its_body_is_read_and_counts_while_it_lasts(api: Running, person: Make) -> None:
    """Only the head of the form is sent, so that an answer shows that nothing of the body was waited for."""

    def began(who: Person) -> socket.socket:
        """A connection on which an upload of 60 MB has begun."""
        cookie = "; ".join(f"{name}={value}" for name, value in who.http.cookies.items())
        head = ["POST /traits/new HTTP/1.1", "Host: x", f"Cookie: {cookie}", "Content-Type: multipart/form-data; boundary=x"]
        client = socket.create_connection(("127.0.0.1", urlsplit(api.url).port or 0), timeout=120)
        client.sendall("\r\n".join([*head, "Content-Length: 60000000", "", ""]).encode())
        return client

    def places(count: int) -> bool:
        """Whether ada comes to have so many uploads under way."""
        ends = time.monotonic() + 60
        while (held := api.context.uploads._places._held[ada.name]) != count and time.monotonic() < ends:
            time.sleep(0.05)
        return held == count

    ada = person()
    with began(person("viewer")) as client:
        assert client.recv(4096).startswith(b"HTTP/1.1 403")
    with began(ada):
        assert places(1)
    assert places(0)
    with api.sessions.begin() as session:
        limits = {"max_queued": None, "max_running": None, "device_seconds_per_day": None, "stored_bytes": 0}
        put_quota(session, ada.name, limits, "test")
    with began(ada) as client:
        assert client.recv(4096).startswith(b"HTTP/1.1 429")


def test_an_upload_is_taken_only_where_files_are_asked_for(person: Make) -> None:
    ada = person()
    hidden = dict(re.findall(r'name="(csrf|once)" value="(\w+)"', ada.get("/new/calibrate").text))
    answer = ada.http.post("/new/calibrate", data=hidden, files={"files": ("a.txt", b"x")})
    assert answer.status_code == 400


def test_models_show_their_proofs_and_where_they_are_used(api: Running, person: Make) -> None:
    ada, root = person(), person("admin")
    assert "Add a model" not in ada.get("/models").text
    made = root.send("/models", name="proved", source="/models/proved")
    assert made.url.path.startswith("/jobs/"), words(made.text)
    assert "Not ready yet: inspecting" in ada.get("/models/proved").text
    assert '<a href="/models/proved">' in ada.get("/models").text, "the list failed before a first inspection"
    inspect(api.sessions, FACTS)
    while (lease := claim(api.sessions)).job.kind != "prove":
        pass
    prove(api.sessions, lease, "limited")
    job = ada.submit(model="proved")
    page = ada.get("/models/proved").text
    assert "Ready. Its proofs passed with limits." in page
    assert "It limited. Do this." in page
    assert FACTS["weight_hash"] in page
    assert f'href="/jobs/{job}"' in page
    assert job not in person().get("/models/proved").text
    assert "proved" in ada.get("/models").text
    assert ada.get("/models/gone").status_code == 404


def test_a_refused_model_leaves_the_way_to_further_models(api: Running, person: Make) -> None:
    root, names = person("admin"), [f"zz-{number:03}" for number in range(PER_PAGE)]
    with api.sessions.begin() as session:
        session.add_all(Model(name=name, source=f"/models/{name}", created_by="root") for name in names)
    try:
        assert "Further models" in root.get("/models").text
        refused = root.send("/models", name="twice", source="relative/x/y")
        assert (refused.status_code, "Further models" in refused.text) == (422, True)
    finally:
        with api.sessions.begin() as session:
            session.execute(delete(Model).where(Model.name.in_(names)))


def test_a_refused_model_stays_in_the_form_and_members_may_not_change_models(person: Make) -> None:
    root = person("admin")
    refused = root.send("/models", name="twice", source="relative/x/y")
    assert refused.status_code == 422
    assert 'value="relative/x/y"' in refused.text
    ada = person()
    token = re.findall(r'name="csrf" value="(\w+)"', ada.get("/").text)[0]
    for path in ("/models", "/models/demo/inspect", "/fleet/x/pause"):
        assert ada.http.post(path, files=form(csrf=token)).status_code == 403, path


def test_the_fleet_is_for_administrators_and_troubled_workers_come_first(api: Running, person: Make) -> None:
    ada, root = person(), person("admin")
    with api.sessions.begin() as session:
        for name in ("fleet-a", "fleet-b"):
            memory_of = {"models": 3_100_000_000, "device_free": 20_000_000_000, "device_total": 24_000_000_000}
            about = {"job_class": "model", "device": "cuda:0", "host": "gpu", "parent_pid": 1, "version": "1"}
            session.merge(Worker(id=name, memory=memory_of, models=["demo"], **about))
    assert ada.get("/fleet").status_code == 403
    assert "Fleet" not in ada.get("/").text
    page = words(root.get("/fleet").text)
    assert "fleet-a cuda:0 free demo models 3.1 GB, 20 GB of 24 GB free" in page
    assert "Pause this worker?" in root.get("/fleet/fleet-b/pause").text
    refused = root.send("/fleet/fleet-b/pause", minutes="soon")
    assert refused.status_code == 422
    held = words(root.send("/fleet/fleet-b/pause", reason="notebook until lunch", minutes="30").text)
    assert re.search(r"paused by \w+ until \d\d:\d\d UTC: notebook until lunch", held)
    assert "draining by" in words(root.send("/fleet/fleet-a/drain").text)
    with api.sessions.begin() as session:
        session.execute(delete(Worker).where(Worker.id.not_like("fleet-%")))  # one of another test may be free
        session.execute(update(Worker).values(seen_at=func.now()))  # a slow machine must not make them silent
        for job_id in session.scalars(select(Job.id).where(Job.state == State.QUEUED)).all():
            jobs.cancel(session, job_id, Viewer("root", "admin"))  # jobs ahead would be the reason to wait
    waiting = words(ada.get(f"/jobs/{ada.submit()}").text)
    assert "every worker is paused" in waiting, waiting
    assert re.search(r"Paused by \w+: notebook until lunch, until [-\d]+ \d\d:\d\d UTC\.", waiting)
    assert "The job starts once a worker is resumed." in waiting
    assert "binnacle status" not in waiting
    root.send("/fleet/fleet-a/resume")
    after = root.send("/fleet/fleet-b/resume")
    assert after.url.path == "/fleet"
    assert "notebook" not in after.text
    assert root.get("/fleet/gone/pause").status_code == 404
    assert any(unchanged(root) for _ in range(3)), "the age of the oldest job, in minutes, may change between two requests"


def unchanged(root: Person) -> bool:
    """Whether the server answers that the part of the fleet's page is current, more than a second after it sent that part."""
    answer = root.get("/parts/fleet")
    assert "under 2 min" in answer.text, "a job waits"
    [headers] = re.findall(r"hx-headers='([^']+)'", html.unescape(answer.text))
    assert json.loads(headers) == {"If-None-Match": answer.headers["ETag"]}
    time.sleep(1.1)  # an age in seconds, which the part must not hold, would have changed
    return root.get("/parts/fleet", If_None_Match=answer.headers["ETag"]).status_code == 304


def test_silent_workers_come_before_blocked_held_and_free_ones() -> None:
    def worker(name: str, **changes: object) -> WorkerOut:
        facts = {
            "id": name,
            "job_class": "model",
            "device": "cpu",
            "host": "h",
            "version": "1",
            "models": [],
            "memory": {},
            "busy_with": None,
        }
        return WorkerOut.model_validate(
            {**facts, "seen_seconds_ago": 1.0, "alive": True, "hold": None, "blocked": None, **changes}
        )

    hold = {"mode": "paused", "reason": None, "by": "root", "since": "2026-01-01T00:00:00Z", "until": None}
    made = [
        worker("free"),
        worker("held", hold=hold),
        worker("full", blocked={"code": "x", "detail": "y"}),
        worker("silent", alive=False),
    ]
    assert [one.id for one in in_order(made)] == ["silent", "full", "held", "free"]
    assert memory({}) == ""
    assert memory({"device_total": 16_000_000_000}) == "16 GB in all"
