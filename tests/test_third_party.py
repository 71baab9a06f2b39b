"""THIRD_PARTY.md names every vendored file with its SHA-256, every shipped model, and what the tests download."""

import hashlib
import re
from pathlib import Path

from tests.api.test_generated_client import GENERATOR, VALIDATOR
from tests.real import models

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "THIRD_PARTY.md").read_text()
OURS = {"page.js", "page.css", "icon.svg", "reference.js", "reference.css", "README.md"}
LISTED = dict(re.findall(r"^\| `([\w./-]+)` \|.*\| `([0-9a-f]{64})` \|$", PAGE, re.MULTILINE))


def test_every_vendored_file_is_listed_with_its_hash() -> None:
    folders = ("app/**/static/*", "workers/**/static/*", "tests/**/vendor/*")
    static = [path for pattern in folders for path in ROOT.glob(pattern) if path.is_file()]
    found = {
        str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in static if path.name not in OURS
    }
    assert len(found) >= 5
    assert found == LISTED


def test_a_file_of_others_cannot_hide_in_another_folder() -> None:
    """A minified script anywhere, or one with another project's notice, is vendored."""
    scripts = [
        path for top in ("app", "binnacle", "workers", "shipped", "terms", "tests", "docs") for path in (ROOT / top).rglob("*.js")
    ]
    long_lines = [path for path in scripts if max(map(len, path.read_text().splitlines())) > 2_000]
    assert {str(path.relative_to(ROOT)) for path in long_lines} <= LISTED.keys()


def test_every_shipped_model_and_every_download_of_the_tests_is_named() -> None:
    shipped = {path.name for path in (ROOT / "shipped" / "models").iterdir() if path.is_dir()}
    packages = {package.split("==")[0] for package in (models.PEERS, GENERATOR, VALIDATOR)}
    downloads = packages | {real.name for real in (models.SMOLLM2, models.GEMMA3)}
    assert [name for name in sorted(shipped | downloads) if f"`{name}`" not in PAGE] == []
