"""The check of written specs can fail; what the API writes is checked by `specs_as_written` (tests/api/conftest.py)."""

from tests.written_specs import fault

SPEC = {"kind": "inspect", "model": "demo", "source": "/models/demo", "revision": None}


def test_a_spec_with_other_keys_or_types_is_found() -> None:
    assert fault("inspect", SPEC) is None
    assert "extra_forbidden" in (fault("inspect", SPEC | {"more": 1}) or "")
    assert "missing" in (fault("inspect", {key: SPEC[key] for key in SPEC if key != "source"}) or "")
    assert "string_type" in (fault("inspect", SPEC | {"source": 5}) or "")
    assert fault("download", SPEC), "a download names a commit"
