"""Imported vectors and uploaded traits are deleted one by one, unless an unfinished job uses them; shipped traits never."""

from typing import Any

import httpx2

from tests.api.conftest import Running
from tests.api.test_deleting_jobs import refused, stored
from tests.api.test_traits import TRAIT, folder
from tests.api.test_vector_import import made, send


def generate(client: httpx2.Client, vector: str) -> dict[str, Any]:
    """Submits a generation with this vector, which stays queued."""
    answer = client.post("/v1/generations", json={"model": "demo", "prompts": [{"prompt": "Hello."}], "vectors": [vector]})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def test_an_imported_vector_goes_alone_and_comes_back_with_its_file(ada: httpx2.Client, admin: httpx2.Client) -> None:
    data = made("gguf", 1, 3)
    first, second = (one["id"] for one in send(ada, data).json()["items"])
    size = stored(ada)
    gone = ada.delete(f"/v1/vectors/{first}").json()
    assert (gone["deleted"], gone["vectors"], gone["bytes"]) == ([{"id": first, "kind": "vector", "name": None}], 1, 0)
    assert ada.get(f"/v1/vectors/{first}").status_code == 404
    assert ada.delete(f"/v1/vectors/{first}").status_code == 404
    again = send(ada, data)
    assert (again.status_code, [one["layer"] for one in again.json()["items"]]) == (201, [1, 3])
    for one in again.json()["items"]:
        last = ada.delete(f"/v1/vectors/{one['id']}").json()
    assert (last["bytes"], second in {one["id"] for one in again.json()["items"]}) == (size, True)
    assert stored(ada) == 0
    [*_, entry] = admin.get("/v1/audit", params={"action": "vector.delete"}).json()["items"]
    assert (entry["actor"], entry["object"], entry["details"]["owner"]) == ("ada", first, "ada")


def test_a_vector_that_unfinished_jobs_use_is_refused_with_their_names(api: Running, ada: httpx2.Client) -> None:
    [one] = send(ada, made("gguf", 1), visibility="public").json()["items"]
    mine = generate(ada, one["id"])
    with api.client("bob") as bob:
        theirs = generate(bob, one["id"])
        body = refused(ada.delete(f"/v1/vectors/{one['id']}"), "in_use")
        assert (body["facts"], theirs["id"] in str(body)) == ({"used_by": [mine["id"]], "hidden": 1}, False)
        assert bob.delete(f"/v1/vectors/{one['id']}").status_code == 403
        bob.post(f"/v1/jobs/{theirs['id']}/cancel")
    ada.post(f"/v1/jobs/{mine['id']}/cancel")
    assert ada.delete(f"/v1/vectors/{one['id']}").status_code == 200


def upload(client: httpx2.Client, **changes: Any) -> dict[str, Any]:
    """Uploads TRAIT with these changes."""
    answer = client.post("/v1/traits", json=TRAIT | changes)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_deleting_a_trait_needs_a_reference_to_one_version(ada: httpx2.Client, admin: httpx2.Client) -> None:
    first, second = upload(ada), upload(ada, definition="How polite a letter is.")
    body = refused(ada.delete("/v1/traits/politeness"), "several_versions")
    assert first["reference"] in body["detail"]
    assert second["reference"] in body["detail"]
    size = stored(ada)
    gone = ada.delete(f"/v1/traits/{first['reference']}").json()
    assert gone["deleted"] == [{"id": first["id"], "kind": "trait", "name": first["reference"]}]
    assert (stored(ada), gone["bytes"] > 0) == (size - gone["bytes"], True)
    assert ada.delete(f"/v1/traits/{first['id']}").status_code == 404
    assert ada.delete("/v1/traits/politeness", params={"dry_run": "true"}).json()["deleted"][0]["id"] == second["id"]
    assert ada.delete("/v1/traits/politeness").status_code == 200
    assert [one["object"] for one in admin.get("/v1/audit", params={"action": "trait.delete"}).json()["items"]] == [
        second["id"], first["id"],
    ]  # fmt: skip
    upload(ada)


def test_a_trait_stays_while_an_unfinished_job_reads_its_content_and_no_other_trait_holds_it(
    api: Running, ada: httpx2.Client
) -> None:
    mine = upload(ada)
    job = ada.post("/v1/extractions", json={"model": "demo", "trait": "politeness"}).json()
    assert job["id"] in refused(ada.delete(f"/v1/traits/{mine['id']}"), "in_use")["facts"]["used_by"]
    with api.client("bob") as bob:
        same = bob.post("/v1/traits", json=TRAIT).json()
        assert ada.delete(f"/v1/traits/{mine['id']}").status_code == 200
        body = refused(bob.delete(f"/v1/traits/{same['id']}"), "in_use")
        assert (body["facts"], job["id"] in str(body)) == ({"used_by": [], "hidden": 1}, False)


def test_shipped_traits_stay_and_ones_own_copy_goes(ada: httpx2.Client, admin: httpx2.Client) -> None:
    own = ada.post("/v1/traits", data={"name": "refusal"}, files=folder("refusal")).json()
    assert ada.delete("/v1/traits/refusal").json()["deleted"][0]["id"] == own["id"]
    assert ada.delete("/v1/traits/refusal").status_code == 403
    refused(admin.delete("/v1/traits/refusal"), "trait_shipped")
    assert ada.get("/v1/traits/refusal").json()["owner"] == "binnacle"
