"""Labelling answers blind: each person has an order of their own, and the labels make a new report."""

import re
from collections.abc import Callable

from tests.api.conftest import Running
from tests.pages.conftest import Person
from tests.pages.stories import finished
from tests.pages.test_jobs import words

Make = Callable[..., Person]
TEXTS = re.compile(r"Answer \d\.")


def test_each_person_labels_in_an_order_of_their_own_that_stays(api: Running, person: Make) -> None:
    ada = person()
    job = finished(api, ada.name, "report", visibility="public")
    orders = [TEXTS.findall(one.get(f"/jobs/{job}/label").text) for one in (ada, ada, *(person() for _ in range(4)))]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) > 1
    assert {tuple(sorted(order)) for order in orders} == {tuple(f"Answer {at}." for at in range(5))}
    assert "Label answers blind" in ada.get(f"/jobs/{job}").text


def test_labels_make_a_new_report_and_a_form_without_labels_is_refused(api: Running, person: Make) -> None:
    ada = person()
    job = finished(api, ada.name, "report")
    refused = ada.send(f"/jobs/{job}/label")
    assert refused.status_code == 422
    assert "No text was labelled." in words(refused.text)
    made = ada.send(f"/jobs/{job}/label", **{f"t-{2:012x}": "9", f"t-{4:012x}": "3", "t-other": "x"})  # 0 to 9 mean 0 to 100
    found = ada.keyed.get(f"/v1{made.url.path}").json()
    assert found["kind"] == "report"
    assert found["spec"]["labels"] == {f"{2:012x}": 100.0, f"{4:012x}": 33.3}


def test_only_those_who_see_the_study_and_may_change_things_label_it(api: Running, person: Make) -> None:
    ada, bob = person(), person()
    job = finished(api, ada.name, "report")
    assert bob.get(f"/jobs/{job}/label").status_code == 404
    assert person("viewer").get(f"/jobs/{job}/label").status_code == 403
    assert ada.get(f"/jobs/{finished(api, ada.name, 'steer')}/label").status_code == 404
