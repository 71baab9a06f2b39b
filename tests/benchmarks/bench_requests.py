"""What requests cost the API process: its CPU, and its messages to Postgres. Real Postgres (fsync on), broker and API process on this machine.

    python -m tests.benchmarks.bench_requests [--requests 200] [--other CHECKOUT]

cpu:       milliseconds of the API process's CPU per request (`/proc/PID/schedstat`, all threads), by one client, after a warm-up
messages:  client messages that Postgres answered, per request, counted by a proxy between the two
crowd:     submissions by 100 clients at once: how many a second, and how long each took
steady:    50 submissions a second for ten seconds
other:     instead of all that, the CPU beside that of another checkout with the same tables, such as the parent commit's, installed in its
           own .venv. Both serve one database and are asked in turn, so that the machine's speed is the same for both
"""

# ruff: noqa: T201 - it prints
import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from app.embedded.accepting import tally_file
from app.embedded.broker import Broker
from app.embedded.postgres import Postgres
from app.migrate import upgrade
from app.models.models import Model
from app.settings import Settings
from tests.api.conftest import FACTS, PEPPER
from tests.api.process import ApiProcess
from tests.counting import Proxy
from tests.services import make_folder

TRAIT = {
    "name": "warm",
    "positive": ["Thank them.", "Praise it."],
    "negative": ["Snub them.", "Scorn it."],
    "steering": {"questions": ["How do I ask?", "What do I write?"]},
}


class Connection:
    """One HTTP connection that costs little: a request is bytes made once, an answer is its status and body."""

    def __init__(self, url: str, key: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._key = key

    async def __aenter__(self) -> "Connection":
        self._in, self._out = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._out.close()

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._key}\r\nContent-Length: {len(data)}\r\n"
        self._out.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + data)
        lines = (await self._in.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        size = next(int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:"))
        return int(lines[0].split()[1]), await self._in.readexactly(size)


def cpu_ms(pid: int) -> float:
    """CPU time of all threads of the process so far."""
    return sum(int(one.read_text().split()[0]) for one in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6


def requests(queued: str, extraction: str) -> dict[str, tuple[str, str, object]]:
    """By name: method, path and body. `queued`: a calibration."""
    steer = {"model": "demo", "trait": "warm", "methods": ["probe"], "layers": [2]}
    given = {"model": "demo", "trait": "warm", "extraction": extraction, "calibration": queued}
    return {
        "submit a calibration": ("POST", "/v1/calibrations", {"model": "demo"}),
        "submit a generation": ("POST", "/v1/generations", {"model": "demo", "prompts": [{"prompt": "Hello."}]}),
        "submit a steering": ("POST", "/v1/steerings", given),
        "submit one with its extraction and calibration": ("POST", "/v1/steerings", steer),
        "GET a queued job": ("GET", f"/v1/jobs/{queued}", None),
        "list 50 jobs": ("GET", "/v1/jobs?limit=50", None),
        "GET /v1/status": ("GET", "/v1/status", None),
        "GET /v1/me": ("GET", "/v1/me", None),
        "dry run of a study of 6 jobs": (
            "POST", "/v1/studies?dry_run=true", {"models": ["demo"], "traits": ["warm"], "layers": [2]},
        ),
    }  # fmt: skip


@contextmanager
def service(folder: Path) -> Iterator[tuple[Postgres, Settings]]:
    """Postgres and the broker, and settings for an API process."""
    postgres, broker = Postgres(folder / "pg"), Broker(folder / "broker")
    postgres.start()
    broker.start()
    try:
        upgrade(postgres.url)
        yield (
            postgres,
            Settings(
                database_url=postgres.url,
                broker_url=broker.url,
                storage_url=f"file://{folder}/objects",
                key_pepper=PEPPER,
                home=folder,
            ),
        )
    finally:
        broker.remove()
        postgres.remove()


@asynccontextmanager
async def prepared(api: ApiProcess) -> AsyncIterator[tuple[str, str, str]]:
    """A key, and the ids of a queued calibration, the first of 61, and of a queued extraction."""
    with api.sessions.begin() as session:
        if session.get(Model, "demo") is None:
            session.add(Model(name="demo", source="/models/demo", state="ready", facts=FACTS, created_by="a"))
    key = api.key("ada")
    async with Connection(api.url, key) as client:
        await client.ask("POST", "/v1/traits", TRAIT)
        _, body = await client.ask("POST", "/v1/calibrations", {"model": "demo"})
        for _ in range(60):
            await client.ask("POST", "/v1/calibrations", {"model": "demo"})
        extract = {"model": "demo", "trait": "warm", "methods": ["probe"], "layers": [2]}
        _, extraction = await client.ask("POST", "/v1/extractions", extract)
        yield key, json.loads(body)["id"], json.loads(extraction)["id"]


async def alone(api: ApiProcess, count: int) -> dict[str, tuple[float, list[float]]]:
    """By request: CPU milliseconds each, and each one's wall seconds."""
    found = {}
    async with prepared(api) as (key, queued, extraction), Connection(api.url, key) as client:
        for name, (method, path, body) in requests(queued, extraction).items():
            for _ in range(20):
                status, answer = await client.ask(method, path, body)
                assert status < 300, answer
            times, before = [], cpu_ms(api.process.pid)
            for _ in range(count):
                began = time.perf_counter()
                await client.ask(method, path, body)
                times.append(time.perf_counter() - began)
            found[name] = ((cpu_ms(api.process.pid) - before) / count, times)
    return found


async def counted(settings: Settings, folder: Path) -> dict[str, int]:
    """By request: messages to Postgres."""
    proxy = Proxy(settings.database_url.get_secret_value())
    through = proxy.start()
    found = {}
    with ApiProcess(settings, folder, DATABASE_URL=through) as api:
        async with prepared(api) as (key, queued, extraction), Connection(api.url, key) as client:
            for name, (method, path, body) in requests(queued, extraction).items():
                each = []
                for _ in range(9):
                    before = proxy.turns
                    await client.ask(method, path, body)
                    each.append(proxy.turns - before)
                found[name] = min(each)  # what the process does by itself meanwhile only adds
    return found


async def crowd(api: ApiProcess, clients: int, each: int) -> tuple[float, list[float]]:
    """Submissions a second, and each one's seconds."""
    times: list[float] = []

    async def one(number: int) -> None:
        async with Connection(api.url, api.key(f"u{number % 20}")) as client:
            connected.release()
            await start.wait()
            for _ in range(each):
                began = time.perf_counter()
                status, answer = await client.ask("POST", "/v1/calibrations", {"model": "demo"})
                assert status == 202, answer
                times.append(time.perf_counter() - began)

    connected, start = asyncio.Semaphore(0), asyncio.Event()
    tasks = [asyncio.create_task(one(n)) for n in range(clients)]
    for _ in range(clients):
        await connected.acquire()
    began = time.perf_counter()
    start.set()
    await asyncio.gather(*tasks)
    return clients * each / (time.perf_counter() - began), times


async def steady(api: ApiProcess, rate: float, seconds: float) -> list[float]:
    """Each submission's seconds when they arrive at a steady rate, whatever is still under way."""
    times: list[float] = []
    key = api.key("ada")
    idle: list[Connection] = []

    async def one() -> None:
        began = time.perf_counter()
        client = idle.pop() if idle else await Connection(api.url, key).__aenter__()
        status, answer = await client.ask("POST", "/v1/calibrations", {"model": "demo"})
        assert status == 202, answer
        times.append(time.perf_counter() - began)
        idle.append(client)

    tasks, began = [], time.perf_counter()
    for n in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    return times


def in_turn(settings: Settings, folder: Path, other: Path, count: int, rounds: int = 8) -> dict[str, list[float]]:
    """By request: in each round, the CPU of this checkout's process over that of the other's. Who begins changes from round to round."""
    ratios: dict[str, list[float]] = {}
    with ApiProcess(settings, folder) as ours, ApiProcess(settings, folder, root=other) as theirs:
        for number in range(rounds):
            sides = (ours, theirs) if number % 2 else (theirs, ours)
            cpu = {side: {name: each for name, (each, _) in asyncio.run(alone(side, count)).items()} for side in sides}
            for name, each in cpu[ours].items():
                ratios.setdefault(name, []).append(each / cpu[theirs][name])
    return ratios


def percentiles(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=20)
    return f"p50 {1000 * cuts[9]:.0f} ms, p95 {1000 * cuts[18]:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--other", type=Path, help="another checkout, with its .venv")
    asked = parser.parse_args()
    count = asked.requests
    folder = make_folder()
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    try:
        with service(folder) as (_, settings):
            if asked.other is not None:
                for name, ratios in in_turn(settings, folder, asked.other.resolve(), count).items():
                    print(
                        f"| {name} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of {asked.other} |"
                    )
                return
            messages = asyncio.run(counted(settings, folder))
            with ApiProcess(settings, folder) as api:
                for name, (cpu, times) in asyncio.run(alone(api, count)).items():
                    print(f"| {name} | {cpu:.1f} ms CPU | {messages[name]:.0f} messages | {percentiles(times)} |", flush=True)
                rate, times = asyncio.run(crowd(api, 100, 10))
                print(f"| 100 clients, one process | {rate:.0f} a second | {percentiles(times)} |", flush=True)
                print(f"| 50 arrivals a second | {percentiles(asyncio.run(steady(api, 50, 10)))} |", flush=True)
            with (
                socket.create_server(("127.0.0.1", 0), backlog=1024) as shared,
                tally_file(2) as tally,
                ApiProcess(settings, folder, shared, (tally.fileno(), 0)) as api,
                ApiProcess(settings, folder, shared, (tally.fileno(), 1)),
            ):
                rate, times = asyncio.run(crowd(api, 100, 10))
                print(f"| 100 clients, two processes | {rate:.0f} a second | {percentiles(times)} |")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
