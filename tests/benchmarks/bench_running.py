"""What running a short job costs: a generation of one prompt and two tokens on a loaded model, from the request to its answer at the client.

    python -m tests.benchmarks.bench_running [--jobs 40]

Real Postgres (fsync on), broker, API process and model node. Messages to Postgres are counted by a proxy before each side; CPU is that of the
whole process group between the first and the last job. Wall times depend on what else the machine does.
"""

# ruff: noqa: T201 - it prints
import argparse
import os
import shutil
import statistics
import time

import psutil

from app.models.models import Model
from binnacle import Client
from shipped import model_folder
from tests.api.process import ApiProcess
from tests.benchmarks.bench_requests import percentiles, service
from tests.counting import Proxy
from tests.services import make_folder
from tests.worker.conftest import Service
from workers.lm.inspection import inspect_folder


def cpu(pids: list[int]) -> float:
    """Seconds of CPU of these processes and their children."""
    found = [one for pid in pids for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    return sum(sum(one.cpu_times()[:2]) for one in found)


def main() -> None:
    """Prints one line for each figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=40)
    jobs = parser.parse_args().jobs
    folder = make_folder()
    facts = inspect_folder(model_folder("demo-severe"), lambda _done, _total: None).to_dict()
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    try:
        with service(folder) as (_, settings):
            url = settings.database_url.get_secret_value()
            sides = {"API": Proxy(url), "node": Proxy(url)}
            live = Service(settings, folder)
            with ApiProcess(settings, folder, DATABASE_URL=sides["API"].start()) as api:
                with live.sessions.begin() as session:
                    session.add(
                        Model(name="demo", source=str(model_folder("demo-severe")), state="ready", facts=facts, created_by="a")
                    )
                node = live.node("model-0", application="workers.celery_app", DATABASE_URL=sides["node"].start())
                client = Client(api.url, api.key("ada"))

                def generate() -> None:
                    client.generate("demo", ["describe a river ."], max_new_tokens=2)

                for _ in range(5):
                    generate()
                pids = [api.process.pid, node.process.pid]
                before, used = {name: one.turns for name, one in sides.items()}, cpu(pids)
                times = []
                for _ in range(jobs):
                    began = time.perf_counter()
                    generate()
                    times.append(time.perf_counter() - began)
                print(f"a generation of 2 tokens: {percentiles(times)}, best {1000 * min(times):.0f} ms")
                print(f"CPU of the API and the node: {1000 * (cpu(pids) - used) / jobs:.0f} ms a generation")
                for name, one in sides.items():
                    print(f"messages of the {name}: {(one.turns - before[name]) / jobs:.0f} a generation")
                print(
                    f"longest {1000 * max(times):.0f} ms, mean {1000 * statistics.mean(times):.0f} ms; load {os.getloadavg()[0]:.1f}"
                )
            live.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
