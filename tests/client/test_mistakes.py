"""Mistakes of a new user, and outages, end in one sentence that says what to do: no traceback, no key on the screen, no unintended request.
Against a real API, a damaging server, and a wire that can be cut."""

import ast
import json
import os
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import httpx2
import numpy as np
import pytest
from sqlalchemy.orm import Session, sessionmaker

from binnacle import BinnacleError, Client, ServiceError, connection, following
from binnacle.address import find_address
from binnacle.cli.submit import read_prompts
from binnacle.sendable import json_bytes
from tests.api import lives
from tests.api.conftest import Running
from tests.api.extracted import store_extraction
from tests.client.commands import Cli, run_here
from tests.client.wire import Wire

NO_UTF8 = os.fsdecode(b"caf\xe9")
"""An argument in Latin-1, as Python decodes it under a UTF-8 locale: with a surrogate."""


@pytest.fixture
def binnacle(api: Running, key: str, tmp_path: Path) -> Callable[..., Cli]:
    """Runs one command as ada, a member, in a temporary folder."""
    environment = {"BINNACLE_URL": api.url, "BINNACLE_KEY": key, "BINNACLE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    return lambda *arguments, **changed: run_here(arguments, {**environment, **changed}, tmp_path)


def refused(done: Cli, code: str) -> str:
    """The line that a failed command printed; it must be a single line with this error code."""
    assert done.returncode == 1, done
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {code}: "), line
    return line


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", ["--dose", "--coefficient"])
def test_a_number_that_is_not_finite_is_refused_by_its_option(
    binnacle: Callable[..., Cli], api: Running, client: Client, option: str, value: str
) -> None:
    store_extraction(api.sessions, api.context.storage, "ada", client.trait("refusal")["version"])
    vector = next(client.vectors(model="demo"))["id"]  # an unknown vector would be refused first
    done = binnacle("generate", "demo", "x", "--vector", vector, option, "0.5", option, value)
    assert done.returncode == 1
    assert f"{option} (value 2) is {value}; it must be a finite number." in done.stderr


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        (("generate", "demo", "x", "--vector", "v"), "vec_"),
        (("vectors", "get", "v"), "vec_"),
        (("watch", "v"), "job_"),
        (("get", "v"), "job_"),
    ],
)
def test_text_that_is_not_an_id_is_refused_with_the_command_that_lists_ids(
    binnacle: Callable[..., Cli], command: tuple[str, ...], begins: str
) -> None:
    """The client once sent such text to the service, which answered about `path.vector_id`."""
    said = refused(binnacle(*command), "bad_id")
    assert f"'v' is not an id, like {begins}" in said
    assert "List them with: binnacle " in said


def test_a_value_that_json_cannot_hold_is_named_by_its_pointer(
    client: Client, binnacle: Callable[..., Cli], tmp_path: Path
) -> None:
    for bad in (float("nan"), float("inf"), NO_UTF8, {1, 2}, Path("x")):
        with pytest.raises(BinnacleError, match=r"bad_value: .*(/deep/1/here|caf)"):
            client.submit("calibrate", model="demo", deep=[0, {"here": bad}])
    (tmp_path / "spec.json").write_text('{"budget": NaN}')
    said = refused(binnacle("submit", "steer", "demo", "refusal", "--spec", "spec.json"), "bad_value")
    assert "--budget is nan; it must be a finite number." in said


def test_ranges_tuples_and_numpy_are_sent_as_lists_and_numbers() -> None:
    value = {"layers": range(3), "doses": np.array([0.5, 1.0]), "seed": np.int64(7), "pair": (np.float32(0.5), True, None)}
    assert json.loads(json_bytes(value)) == {"layers": [0, 1, 2], "doses": [0.5, 1.0], "seed": 7, "pair": [0.5, True, None]}
    assert json_bytes({"text": "Müller", "one": 1.0}) == '{"text":"Müller","one":1.0}'.encode()
    with pytest.raises(BinnacleError, match="/doses/1 is nan"):
        json_bytes({"doses": np.array([0.5, np.nan])})


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"labels": {("a", 1): 50}}, "/labels has the key"),
        ({"labels": {NO_UTF8: 50}}, "A key of /labels is not valid Unicode"),
        ({"dose": np.longdouble(1)}, "/dose is of type longdouble"),
    ],
)
def test_a_key_or_number_that_json_cannot_hold_is_named(value: dict[str, Any], pointer: str) -> None:
    with pytest.raises(BinnacleError, match=f"bad_value: {pointer}"):
        json_bytes(value)


def test_a_byte_order_mark_is_not_part_of_the_first_prompt(tmp_path: Path) -> None:
    """Notepad on Windows writes one."""
    (tmp_path / "prompts.txt").write_text("One.\nTwo.\n", encoding="utf-8-sig")
    assert read_prompts(tmp_path / "prompts.txt") == ["One.", "Two."]


def test_only_line_breaks_separate_prompts(tmp_path: Path) -> None:
    """Text copied from a page may hold other separators, at which `str.splitlines` would split it."""
    (tmp_path / "prompts.txt").write_bytes("One\u2028prompt.\r\nTwo\x85.\n\n".encode())
    assert read_prompts(tmp_path / "prompts.txt") == ["One\u2028prompt.", "Two\x85."]


@pytest.mark.parametrize("command", [("submit", "steer", "demo", "refusal", "--spec"), ("study", "run")])
@pytest.mark.parametrize("field", ["dry_run", "reuse", "kind", "self", "idempotency_key"])
def test_a_file_with_a_name_that_is_not_a_field_is_refused(
    binnacle: Callable[..., Cli], tmp_path: Path, field: str, command: tuple[str, ...]
) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({field: True}))
    assert field in refused(binnacle(*command, "spec.json"), "bad_spec")


@pytest.mark.parametrize("text", ['{"request": null}', '{"request": "x"}', '{"request": {"kind": "study"}}', "[]", "[" * 100_000])
def test_a_study_file_without_a_request_is_refused(binnacle: Callable[..., Cli], tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    refused(binnacle("study", "run", "study.json"), "bad_spec")


@pytest.mark.parametrize(("made", "code", "why"), [
    (None, "unreadable_file", "cannot be read: No such file or directory."),
    (Path.mkdir, "unreadable_file", "cannot be read: Is a directory."),
    (Path.touch, "empty_file", "is empty."),
    (lambda path: path.write_text(" \n"), "empty_file", "is empty."),
])  # fmt: skip
@pytest.mark.parametrize("command", [
    ("submit", "calibrate", "no-such-model", "--prompts"),
    ("submit", "extract", "no-such-model", "no-such-trait", "--spec"),
    ("study", "run"),
    ("study", "label", "std_00000000000000000000000000"),
    ("vectors", "import", "--model", "no-such-model"),
])  # fmt: skip
def test_a_file_that_is_absent_a_folder_or_empty_is_named_before_anything_else(
    binnacle: Callable[..., Cli],
    tmp_path: Path,
    command: tuple[str, ...],
    made: Callable[[Path], object] | None,
    code: str,
    why: str,
) -> None:
    name = f"mine{'.pt' if 'import' in command else '.json'}"
    if made is not None:
        made(tmp_path / name)
    assert refused(binnacle(*command, name), code) == f"error: {code}: {name} {why}"


@pytest.mark.parametrize("command", [("submit", "calibrate", "demo"), ("submit", "extract", "demo", "refusal")])
def test_empty_layers_do_not_mean_all(binnacle: Callable[..., Cli], command: tuple[str, ...]) -> None:
    """A script passes `--layers "$LAYERS"` with the variable unset."""
    refused(binnacle(*command, "--layers", "", "--dry-run"), "bad_layers")


@pytest.mark.parametrize(
    "arguments",
    [("generate", "demo", NO_UTF8), ("submit", "calibrate", NO_UTF8), ("jobs", "--search", NO_UTF8), ("models", "show", NO_UTF8)],
)
def test_an_argument_in_another_encoding_is_refused_in_one_line(binnacle: Callable[..., Cli], arguments: tuple[str, ...]) -> None:
    done = binnacle(*arguments)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "UTF-8" in done.stderr


@pytest.mark.parametrize("name", ["", ".", "..", "../judges/local", "lab/test", "lab\\test"])
def test_a_name_that_would_change_the_path_is_refused(binnacle: Callable[..., Cli], name: str) -> None:
    """`binnacle webhooks remove ../judges/local` must not remove a judge."""
    refused(binnacle("webhooks", "remove", name), "bad_name")


@pytest.mark.parametrize("name", ["lab#2", "lab?2", "lab%2e", "lab 2;"])
def test_a_name_with_special_characters_is_quoted_in_the_path(wire: Wire, far: Client, name: str) -> None:
    with pytest.raises(ServiceError):
        far.remove_webhook(name)
    sent = wire.connections[-1].said.split(b" ")[1].decode()
    assert sent.startswith("/v1/webhooks/")
    assert unquote(sent.removeprefix("/v1/webhooks/")) == name


def test_every_path_in_the_client_quotes_its_names() -> None:
    found = []
    for file in Path(connection.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr) and ast.unparse(node)[2:].startswith(("/v1/", "{route}/")):
                found += [ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
    assert len(found) > 25
    others = sorted(one for one in found if not one.startswith("quoted("))
    assert others == ["file_format", "route", "route"]  # file_format is one of FORMATS, route one of RESULTS


@pytest.mark.parametrize("damage", ["{} {}", "{}\nbnk_more", "{}\u200b", "schlüssel {}", "{}\x00"])
def test_a_key_that_cannot_be_sent_is_never_shown(api: Running, key: str, damage: str) -> None:
    """The error of the HTTP library would quote the header with the whole key."""
    with pytest.raises(BinnacleError) as found:
        Client(api.url, damage.format(key, key))
    assert found.value.code == "bad_key"
    assert key not in str(found.value)
    assert key.split("_")[2] not in repr(found.value)


@pytest.mark.parametrize("proxy", ["socks5://ada:secret@127.0.0.1:9", "ftp://proxy", "http://proxy\x01"])
@pytest.mark.parametrize("variable", ["ALL_PROXY", "https_proxy"])
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(
    binnacle: Callable[..., Cli], variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTTP library raises at the start, whatever the address; only loopback is reached without a proxy."""
    monkeypatch.setitem(sys.modules, "socksio", None)  # as after an installation without it
    said = refused(
        binnacle("jobs", BINNACLE_URL="http://lab:8000", HTTP_PROXY="http://proxy:3128", **{variable: proxy}), "bad_proxy"
    )
    assert f"{variable} does not name a proxy" in said
    assert "Set it to the address of a proxy with http:// or https://, or unset it" in said
    assert "secret" not in said
    assert binnacle("jobs", **{variable: proxy}).returncode == 0


def test_white_space_around_a_key_is_dropped(api: Running, key: str) -> None:
    """A file written on Windows ends in a carriage return, which `$(cat FILE)` keeps."""
    with Client(api.url, f" {key}\r\n") as client:
        assert client.me()["owner"] == "ada"


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_request_without_a_key_says_which_variable_holds_it(binnacle: Callable[..., Cli], blank: str) -> None:
    assert "none was sent. Set BINNACLE_KEY" in refused(binnacle("whoami", BINNACLE_KEY=blank), "unauthenticated")


def test_only_a_plain_number_in_retry_after_is_used() -> None:
    for value, seconds in ((b"7", 7.0), (b"\xb2", 0.0), (b"Wed, 21 Oct 2026 07:28:00 GMT", 0.0)):
        assert connection.retry_after(httpx2.Response(429, headers=[(b"Retry-After", value)])) == seconds


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://127.0.0.1:9", "tunnel"),
        ("http://binnacle.invalid:8000", "ask the server's administrator"),
        ("http://localhost:9", "binnacle up"),
    ],
)
def test_an_unreachable_address_says_what_to_check(url: str, hint: str) -> None:
    with pytest.raises(BinnacleError, match="unreachable") as found, Client(url, "bnk_x", patience=0, first_answer=0) as client:
        client.me()
    assert hint in str(found.value)


def test_https_to_a_server_without_tls_says_so(api: Running, key: str) -> None:
    with pytest.raises(BinnacleError, match=r"no_tls: .* http:// in place of https://"):  # noqa: SIM117 - the client is made within
        with Client(api.url.replace("http:", "https:"), key, patience=0) as client:
            client.me()


def test_a_damaged_answer_is_reported_without_a_traceback() -> None:
    class Damaging(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", "8")
            self.end_headers()
            self.wfile.write(b"not gzip")

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Damaging) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(BinnacleError, match="unreadable_answer"):  # noqa: SIM117 - the client is made within
            with Client(f"http://127.0.0.1:{server.server_port}", "bnk_x", patience=0, first_answer=0) as client:
                client.me()
        server.shutdown()


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://a b", "http://lab:99999", f"http://{NO_UTF8}", "http://lab:0", "http://.."]
)
def test_an_impossible_address_is_refused(url: str) -> None:
    with pytest.raises(BinnacleError, match="bad_url"):
        find_address(url)


def test_an_outage_is_reported_once_and_waited_for_no_longer_than_outage(
    wire: Wire, key: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the caller allows the job more time; `binnacle models add` once waited ten minutes without a word."""
    monkeypatch.setattr(connection, "SILENCE", 0.0)
    monkeypatch.setattr(following, "OUTAGE", 1.5)
    job = client.calibrate("demo")
    said: list[str] = []
    with Client(wire.url, key, patience=90, on_outage=said.append) as far:
        far.job(job)
        wire.upstream = None
        wire.cut()
        began = time.monotonic()
        with pytest.raises(BinnacleError, match="unreachable"):
            far.wait(job, timeout=90)
    assert time.monotonic() - began < 45, "to the end of the timeout, or of the client's patience, it would take 90 s"
    [sentence] = said
    assert sentence.startswith(wire.url)
    assert sentence.endswith("waiting for it")


def test_a_single_text_is_one_prompt(client: Client) -> None:
    """A string is a sequence too: each letter would become a prompt."""
    for prompts in ("two words", {"prompt": "two words", "system_prompt": None}):
        job = client.generate_job("demo", prompts)
        assert [one["prompt"] for one in job["spec"]["prompts"]] == ["two words"]


def test_an_invalid_parameter_is_named_once(client: Client) -> None:
    with pytest.raises(ServiceError) as found:
        client.job("nothing")
    assert str(found.value).count("The value must be an id") == 1


def test_a_dose_needs_a_vector(binnacle: Callable[..., Cli]) -> None:
    assert "--vector" in refused(binnacle("generate", "demo", "x", "--dose", "1"), "bad_option")


def test_a_job_without_files_says_why(binnacle: Callable[..., Cli], client: Client) -> None:
    job = client.calibrate("demo")["id"]
    assert "no files yet" in binnacle("get", job).stderr
    client.cancel(job)
    assert "has no files and will have none: it is cancelled" in binnacle("get", job).stderr


def test_a_download_does_not_replace_a_pipe(client: Client, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BinnacleError, match="not_a_file"):
        client.download("/openapi.json", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_that_cannot_be_made_is_named_in_one_line(
    api: Running, binnacle: Callable[..., Cli], sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    job = binnacle("submit", "calibrate", "demo").stdout.strip()
    lives.succeed(sessions, api.context.storage, lives.claim(sessions))
    assert str(tmp_path / "file" / "sub") in refused(binnacle("get", job, "--out", str(tmp_path / "file" / "sub")), "file_error")
