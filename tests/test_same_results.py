"""The comparison of two commits' results: what may differ, and that nothing else may."""

from pathlib import Path

import pytest

from tools.same_results import VARYING, compared

JOB, OTHER = "job_" + "0" * 26, "job_" + "1" * 26


def differ(tmp_path: Path, name: str, old: str, new: str) -> int:
    """The exit status of the comparison of one file: 1 where it differs."""
    for folder, text in (("old", old), ("new", new)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    return compared(tmp_path / "old", tmp_path / "new", VARYING)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (
            "summary.json",
            f'{{"job": "{JOB}", "r": 0.5, "versions": {{"torch": "1"}}}}',
            f'{{"job": "{OTHER}", "r": 0.5, "versions": {{}}}}',
        ),
        ("report.html", f"<a href='/v1/jobs/{JOB}'>", f"<a href='/v1/jobs/{OTHER}'>"),
        ("report.html", '<time datetime="2026-01-31">2026-01-31</time>', '<time datetime="2026-02-01">2026-02-01</time>'),
        ("rows.safetensors", "same", "same"),
    ],
)
def test_names_and_versions_may_differ(tmp_path: Path, name: str, old: str, new: str) -> None:
    assert differ(tmp_path, name, old, new) == 0


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("summary.json", '{"r": 0.5}', '{"r": 0.50001}'),
        ("summary.json", '{"r": 0.5}', '{"r": 0.5, "more": 1}'),
        ("runs.jsonl", '{"r": 1}\n', '{"r": 1}\n{"r": 2}\n'),
        ("report.md", "one line", "another line"),
        ("rows.safetensors", "same", "Same"),
    ],
)
def test_values_lines_and_bytes_may_not_differ(tmp_path: Path, name: str, old: str, new: str) -> None:
    assert differ(tmp_path, name, old, new) == 1


def test_a_file_of_one_commit_alone_is_a_difference(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "more.json").write_text("{}")
    assert compared(tmp_path / "old", tmp_path / "new", VARYING) == 1
