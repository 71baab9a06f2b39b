"""Bodies that would cost far more than their size are refused with a problem document, in bounded memory, while others are served."""

import gzip
import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import httpx2
import pytest

from tests.api.process import ApiProcess
from tests.hostile.conftest import MB, refused, watching
from tests.hostile.routes import with_bodies

JSON = {"Content-Type": "application/json"}
TAKE_BODIES = with_bodies()
BIGGEST = 4_990_000
"""A little under what a JSON body may have."""


Made = Callable[[], tuple[bytes, bytes]]
"""Makes the bodies of one kind: only the test that sends them needs them."""


def listed(element: str, before: str, after: str) -> Made:
    """Two bodies: one with as many elements as fit; one with 24,000, a few less values than are refused unchecked."""
    fits = BIGGEST // (len(element) + 1)
    return lambda: tuple((before + ",".join([element] * count) + after).encode() for count in (fits, 24_000))  # type: ignore[return-value]


def numbered(form: str, before: str, after: str) -> Made:
    """The same two bodies of elements with their number in them."""
    return lambda: tuple(  # type: ignore[return-value]
        (before + ",".join(form.format(i) for i in range(count)) + after).encode() for count in (350_000, 48_000)
    )


TRAIT = ('{"name":"x","positive":[', '],"negative":[],"steering":{"questions":[]}}')
MANY: dict[str, Made] = {
    "unknown fields": numbered('"f{0}":0', "{", "}"),
    "one key again and again": listed('"model":"x"', "{", "}"),
    "empty lists": listed("[]", '{"model":"demo","prompts":[', "]}"),
    "empty objects": listed("{}", *TRAIT),
    "one letters": listed('"x"', *TRAIT),
    "layers": numbered("{0}", '{"model":"new","trait":"refusal","layers":[', "]}"),
    "one layer again and again": listed("1", '{"model":"new","trait":"refusal","layers":[', "]}"),
    "edges": listed('{"job":"x"}', '{"model":"demo","after":[', "]}"),
    "tags": listed('"a"', '{"model":"demo","tags":[', "]}"),
}
DEEP: dict[str, bytes] = {
    "brackets": b"[" * BIGGEST,
    "braces": b'{"a":' * (BIGGEST // 5),
    "closed brackets": b"[" * (BIGGEST // 2) + b"]" * (BIGGEST // 2),
    "a nesting below the parser's limit": b'{"model":"demo","prompts":' + b"[" * 900 + b"]" * 900 + b"}",
    "a number of millions of digits": b'{"model":"demo","max_new_tokens":' + b"9" * BIGGEST + b"}",
    "a number past every float": b'{"model":"demo","max_new_tokens":1e999999999}',
    "nothing but spaces": b" " * BIGGEST,
    "a string without end": b'{"model":"' + b"\\" * BIGGEST,
    "quotes": b'"' * BIGGEST,
    "not UTF-8": b'"' + b"\xff" * BIGGEST + b'"',
}
ROUTES = ("/v1/calibrations", "/v1/steerings", "/v1/traits", "/v1/vectors")
"""These read their bodies in different ways."""


@pytest.mark.parametrize("name", MANY)
def test_a_million_values_are_counted_before_they_are_checked(api: ApiProcess, admin: httpx2.Client, name: str) -> None:
    """To check them one by one would take a gigabyte and stop the service for 15 seconds. Below the limit they are checked, in 300 MB."""
    full, below = MANY[name]()
    with watching(api) as watch:
        for path in ROUTES:
            assert refused(admin.post(path, content=full, headers=JSON), 413)["code"] == "too_many_values"
    assert watch.grown < 64 * MB
    with watching(api) as watch:
        for path in ROUTES:
            problem = refused(admin.post(path, content=below, headers=JSON), 400, 422)
            assert len(problem["errors"]) <= 20
            assert len(json.dumps(problem)) < 20_000
    assert watch.grown < 300 * MB


@pytest.mark.parametrize("name", DEEP)
def test_a_json_bomb_is_refused_and_others_are_served_meanwhile(api: ApiProcess, admin: httpx2.Client, name: str) -> None:
    with watching(api) as watch:
        for path in ROUTES:
            refused(admin.post(path, content=DEEP[name], headers=JSON), 400, 413, 422)
    assert watch.grown < 128 * MB


def test_commas_inside_strings_are_not_counted(api: ApiProcess, ada: httpx2.Client) -> None:
    prose = "one, two, [three], {four}, " * 700
    answer = ada.post("/v1/calibrations?dry_run=true", json={"model": "demo", "prompts": [prose] * 60, "max_new_tokens": 8})
    assert answer.status_code == 200, answer.text[:500]


@pytest.mark.parametrize("depth", [3, 50, 200, 450, 900, 980, 100_000])
def test_no_depth_of_nesting_causes_a_server_error(api: ApiProcess, admin: httpx2.Client, depth: int) -> None:
    """Where a field takes any JSON the nesting reaches the checks, the hash, the database and the answer."""
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    bodies = {
        "/v1/extractions?dry_run=true": b'{"model":"demo","trait":"refusal","methods":[' + deep + b"]}",
        "/v1/judges": b'{"name":"j%d","kind":"openai","model":"m","url":"http://j.example/v1","options":{"extra":%s}}'
        % (depth, deep),
        "/v1/studies?dry_run=true": b'{"models":["demo"],"traits":["refusal"],"methods":[{"method":"gradient","steps":%s}]}'
        % deep,
    }
    for path, body in bodies.items():
        answer = admin.post(path, content=body, headers=JSON)
        if answer.status_code >= 300:
            refused(answer, 400, 413, 422)
    assert admin.get("/v1/judges").status_code == 200


@pytest.mark.parametrize(("method", "path"), TAKE_BODIES, ids=[" ".join(one) for one in TAKE_BODIES])
def test_a_hundred_megabytes_are_refused_unread(api: ApiProcess, admin: httpx2.Client, method: str, path: str) -> None:
    """With a Content-Length at once; in chunks, and packed, as soon as it is seen what they are."""
    with watching(api) as watch:
        announced = HTTPConnection(api.url.removeprefix("http://"), timeout=120)
        announced.putrequest(method, path)
        for name, value in {**admin.headers, **JSON, "Content-Length": str(100 * MB)}.items():
            announced.putheader(name, value)
        announced.endheaders()
        assert json.load(announced.getresponse())["code"] == "body_too_large"
        announced.close()
        assert sent(admin, method, path, chunks(), JSON) in ("body_too_large", CUT)
        packed = gzip.compress(bytes(100 * MB), 1)
        assert sent(admin, method, path, packed, JSON | {"Content-Encoding": "gzip"}) == "unsupported_encoding"
    assert watch.grown < 64 * MB


CUT = "cut"


def chunks() -> Iterator[bytes]:
    """A hundred megabytes that no header announces."""
    yield from (bytes(MB) for _ in range(100))


def sent(client: httpx2.Client, method: str, path: str, content: Any, headers: dict[str, str]) -> str:
    """The code of the refusal; CUT when the server closed the connection while more was being sent, as it may once it has answered."""
    try:
        return str(refused(client.request(method, path, content=content, headers=headers))["code"])
    except (httpx2.WriteError, httpx2.ReadError, httpx2.RemoteProtocolError):
        return CUT


@pytest.mark.parametrize("path", ["/v1/vectors", "/v1/traits"])
def test_a_form_over_its_own_limit_is_refused(api: ApiProcess, ada: httpx2.Client, path: str) -> None:
    """Forms may be larger than JSON, and are read from disk; past 64 MB they are refused as well."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="v.npy"\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    with watching(api) as watch:
        assert sent(ada, "POST", path, head + bytes(100 * MB), form) in ("body_too_large", CUT)
        assert sent(ada, "POST", path, (head, *chunks()), form) in ("body_too_large", CUT)
        below = head + b"\0" * (60 * MB) + b"\r\n--x--\r\n"
        refused(ada.post(path, content=below, headers=form), 400, 422)
    assert watch.grown < 256 * MB


TRAIT_FILES = {
    "positive.jsonl": b'"x"\n' * 1_200_000,
    "positive.txt": b"x\n" * 2_400_000,
    "steering.json": b"[" + b"{}," * 1_600_000 + b"{}]",
    "split.json": b'{"test":[' + b'"a",' * 1_200_000 + b'"a"]}',
    "paraphrases.json": b"[" * 2_000_000,
}


@pytest.mark.parametrize("name", TRAIT_FILES)
def test_a_bomb_in_a_traits_file_is_refused(api: ApiProcess, ada: httpx2.Client, name: str) -> None:
    """Forms take other ways than JSON bodies, and the same care."""
    files = {"positive.txt": b"a\nb\n", "negative.txt": b"c\nd\n", "steering.json": b'["e","f"]'} | {name: TRAIT_FILES[name]}
    with watching(api) as watch:
        answer = ada.post("/v1/traits", data={"name": "x"}, files=[("files", one) for one in files.items()])
        refused(answer, 413, 422)
    assert watch.grown < 128 * MB


FORMS: dict[str, bytes] = {
    "no boundary in the body": b"hello",
    "cut off": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalue',
    "no disposition": b"--x\r\n\r\nvalue\r\n--x--\r\n",
    "thousands of parts": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 50_000 + b"--x--\r\n",
    "a header of megabytes": b"--x\r\nContent-Disposition: form-data; name=" + b"a" * (4 * MB) + b"\r\n\r\n1\r\n--x--\r\n",
    "headers without end": b"--x\r\n" + b"A: b\r\n" * 500_000,
    "a field of megabytes": b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + b"a" * (4 * MB) + b"\r\n--x--\r\n",
    "a charset that is none": b'--x\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\nrot13\r\n--x--\r\n',
    "a name that is not UTF-8": b'--x\r\nContent-Disposition: form-data; name="\xff\xfe"\r\n\r\n\xff\r\n--x--\r\n',
    "a value that is not UTF-8": b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff\xfe\x00\r\n--x--\r\n',
}


FORM_TYPES = tuple(f"multipart/form-data{rest}" for rest in ("; boundary=x", "", "; boundary=", "; charset=rot13; boundary=x"))


@pytest.mark.parametrize("name", FORMS)
def test_a_malformed_form_is_refused(api: ApiProcess, ada: httpx2.Client, name: str) -> None:
    with watching(api) as watch:
        for path in ("/v1/vectors", "/v1/traits"):
            for kind in FORM_TYPES:
                assert sent(ada, "POST", path, FORMS[name], {"Content-Type": kind}) != CUT
    assert watch.grown < 128 * MB
