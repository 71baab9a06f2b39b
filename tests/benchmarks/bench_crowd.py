"""What one user's expensive requests cost the others: real Postgres (fsync on), broker and API process on this machine.

    python -m tests.benchmarks.bench_crowd

plans:    22 dry runs at once of a study of 165 jobs, all by one user, and what /readyz and a colleague's GET take meanwhile
uploads:  8 traits of 4,000 texts of unique words (4 MB each) at once by one user, and a download of 4 MB meanwhile
"""

import json
import shutil
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx2
from rich.console import Console
from rich.table import Table

from app.embedded.broker import Broker
from app.embedded.postgres import Postgres
from app.migrate import upgrade
from app.models.models import Model
from app.settings import Settings
from tests.api.conftest import FACTS, PEPPER
from tests.api.process import ApiProcess
from tests.services import make_folder

CROWD, MODELS, TRAITS = 22, 4, 20
PATIENCE = 900.0  # seconds
console = Console(width=110)


def trait(name: str) -> dict[str, object]:
    """A small dataset."""
    return {
        "name": name,
        "positive": [f"{name} yes one", f"{name} surely two"],
        "negative": [f"{name} no three", f"{name} never four"],
        "steering": {"questions": [f"{name} what is five?", f"{name} why is six?"]},
    }


def many_words(seed: int, texts: int = 4000, size: int = 4_000_000) -> dict[str, object]:
    """A trait of `texts` texts, `size` bytes in all; each text is of words that no other has."""
    each = size // texts // 8
    rows = [" ".join(f"{seed}{i:04x}{word:02x}" for word in range(each)) for i in range(texts)]
    return {"name": f"big{seed}", "positive": rows[::2], "negative": rows[1:-2:2], "steering": {"questions": rows[-1:]}}


def keep_asking(service: ApiProcess, path: str, seconds: list[tuple[float, int]], done: threading.Event) -> None:
    """GETs the path as a colleague until `done`; adds each answer's seconds and status (0: none came) to the list."""
    with service.client("bob") as client:
        while not done.is_set():
            began = time.monotonic()
            try:
                status = client.get(path, timeout=PATIENCE).status_code
            except httpx2.HTTPError:
                status = 0
            seconds.append((time.monotonic() - began, status))
            done.wait(0.2)


def beside(service: ApiProcess, work: Callable[[], object]) -> tuple[float, dict[str, list[tuple[float, int]]]]:
    """Seconds of the work, and by path the seconds and status of each request of others meanwhile."""
    done = threading.Event()
    taken: dict[str, list[tuple[float, int]]] = {"/livez": [], "/readyz": [], "/v1/jobs": []}
    threads = [threading.Thread(target=keep_asking, args=(service, path, into, done)) for path, into in taken.items()]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    try:
        work()
    finally:
        ended = time.monotonic() - began
        done.set()
        for thread in threads:
            thread.join()
    return ended, taken


def at_once(count: int, send: Callable[[int], int]) -> Counter[int]:
    """How many answered with which status."""
    found: list[int] = []
    threads = [threading.Thread(target=lambda i=i: found.append(send(i))) for i in range(count)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(found)


def report(table: Table, what: str, seconds: float, statuses: object, taken: dict[str, list[tuple[float, int]]]) -> None:
    table.add_row(what, f"{seconds:.1f} s", str(statuses))
    for path, found in taken.items():
        times = [one for one, _ in found]
        middle = statistics.median(times)
        table.add_row(f"  {path} meanwhile", f"{middle:.2f} s, most {max(times):.2f} s", str(dict(Counter(s for _, s in found))))


def plans(service: ApiProcess, table: Table) -> None:
    """One dry run, then the crowd of them."""
    names = [f"t{i}" for i in range(TRAITS)]
    study = {"models": [f"m{i}" for i in range(MODELS)], "traits": names, "layers": [2], "evidence": "full"}
    with service.client("ada") as client:
        for name in names:
            assert client.post("/v1/traits", json=trait(name)).status_code == 201

    def send(_: int) -> int:
        with service.client("ada") as client:
            return client.post("/v1/studies?dry_run=true", json=study, timeout=PATIENCE).status_code

    for what, count in (("one plan", 1), (f"{CROWD} plans at once", CROWD)):
        statuses: list[object] = []
        seconds, taken = beside(service, lambda n=count, s=statuses: s.append(dict(at_once(n, send))))  # type: ignore[misc]
        report(table, what, seconds, statuses[0], taken)


def uploads(service: ApiProcess, table: Table) -> None:
    """One upload, then eight at once with a download beside them."""
    bodies = [json.dumps(many_words(i)).encode() for i in range(8)]

    def send(i: int) -> int:
        with service.client("ada") as client:
            headers = {"Content-Type": "application/json"}
            return client.post("/v1/traits", content=bodies[i], headers=headers, timeout=PATIENCE).status_code

    before = service.memory()
    with service.client("ada") as client:
        sent = client.post("/v1/traits", json=many_words(9), timeout=PATIENCE)
        assert sent.status_code == 201, sent.text
        small = client.get(f"/v1/traits/{sent.json()['id']}/dataset.json", timeout=PATIENCE)
        assert small.status_code == 200
    statuses: list[object] = []
    downloads: list[float] = []

    def work() -> None:
        done = threading.Event()

        def download() -> None:
            with service.client("ada") as client:
                while not done.is_set():
                    began = time.monotonic()
                    client.get(f"/v1/traits/{sent.json()['id']}/dataset.json", timeout=PATIENCE).raise_for_status()
                    downloads.append(time.monotonic() - began)
                    done.wait(0.2)

        beside_it = threading.Thread(target=download)
        beside_it.start()
        statuses.append(dict(at_once(8, send)))
        done.set()
        beside_it.join()

    seconds, taken = beside(service, work)
    report(table, "8 uploads at once", seconds, statuses[0], taken)
    table.add_row("  a 4 MB download meanwhile", f"{statistics.median(downloads):.2f} s, most {max(downloads):.2f} s", "")
    table.add_row("  memory, more than before", f"{(service.memory() - before) / 2**20:.0f} MiB", "")


def main() -> None:
    folder = make_folder()
    postgres, broker = Postgres(folder / "pg"), Broker(folder / "broker")
    postgres.start()
    broker.start()
    try:
        upgrade(postgres.url)
        home = Path(folder, "home")
        home.mkdir()
        settings = Settings(
            database_url=postgres.url,
            broker_url=broker.url,
            storage_url=f"file://{home}/objects",
            key_pepper=PEPPER,
            home=home,
        )
        with ApiProcess(settings, home) as service:
            with service.sessions.begin() as session:
                session.add_all(
                    Model(name=f"m{i}", source=f"/models/m{i}", state="ready", facts=FACTS, created_by="a") for i in range(MODELS)
                )
            table = Table("what", "seconds", "statuses")
            uploads(service, table)
            console.print(table)
            plans(service, table)
            console.print(table)
    finally:
        broker.remove()
        postgres.remove()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
