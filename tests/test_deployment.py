"""The Dockerfile and docker-compose.yml agree with the code in commands, settings, times and stages; no engine is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.embedded.commands import API_GRACE, api_command, plan_workers, worker_command, worker_environment, worker_spec
from app.server import STOP_SECONDS
from app.settings import LeaseSettings, LimitSettings, Settings

ROOT = Path(__file__).resolve().parent.parent
OURS = ("prepare", "api", "worker-gpu0", "worker-light")
URLS = {"DATABASE_URL", "BROKER_URL", "STORAGE_URL"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def known_variables() -> set[str]:
    """What the settings read, and what tells a worker which one it is."""
    groups = [("BINNACLE_", Settings), ("BINNACLE_LEASE_", LeaseSettings), ("BINNACLE_LIMIT_", LimitSettings)]
    names = {f"{prefix}{field.upper()}" for prefix, group in groups for field in group.model_fields}
    return names | URLS | set(worker_environment(plan_workers([])[0], {}))


@pytest.mark.parametrize("name", OURS)
def test_every_variable_that_compose_sets_is_one_that_the_service_reads(compose: dict[str, Any], name: str) -> None:
    """A misspelt variable is not an error: the default would be used silently."""
    environment = compose["services"][name]["environment"]
    assert set(environment) - known_variables() == set()
    assert set(environment) >= URLS


def test_the_example_of_secrets_names_every_variable_that_compose_asks_for(compose: dict[str, Any]) -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    offered = set(re.findall(r"^(?:# )?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert asked - offered == set()


@pytest.mark.parametrize(("name", "plan"), [("worker-gpu0", plan_workers(["GPU-0"])[0]), ("worker-light", plan_workers([])[-1])])
def test_a_container_runs_the_worker_that_binnacle_up_runs(compose: dict[str, Any], name: str, plan: Any) -> None:
    service = compose["services"][name]
    assert service["command"] == ["python", *worker_command(plan)[1:]]
    wanted = worker_environment(plan, {})
    assert all(service["environment"][variable] == wanted[variable] for variable in ("BINNACLE_WORKER_CLASS", "BINNACLE_DEVICE"))


def test_a_container_runs_the_api_that_binnacle_up_runs(compose: dict[str, Any]) -> None:
    """The same program; only its socket differs, which `up` opens itself."""
    program = ["python", *api_command(3, after=4)[1:3]]
    assert compose["services"]["api"]["command"][:3] == program
    assert '", "'.join(program) in (ROOT / "Dockerfile").read_text()


def test_only_loopback_is_published_and_everything_comes_back_after_a_restart(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
    lasting = set(services) - {"prepare", "s3-bucket"}
    assert {name for name in lasting if services[name]["restart"] == "unless-stopped"} == lasting


def test_containers_are_given_the_time_that_our_processes_need_to_stop(compose: dict[str, Any]) -> None:
    grace = {name: int(compose["services"][name]["stop_grace_period"].removesuffix("s")) for name in OURS[1:]}
    lease = LeaseSettings()
    assert grace["api"] > STOP_SECONDS
    assert min(grace["worker-gpu0"], grace["worker-light"]) > lease.drain_grace + lease.kill_grace
    assert STOP_SECONDS < API_GRACE


def test_up_waits_for_its_workers_as_long_as_the_settings_let_them_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, `up` killed the node after 25 seconds whatever the settings, and its job counted as lost."""
    monkeypatch.setenv("BINNACLE_LEASE_DRAIN_GRACE", "60")
    [plan, _] = plan_workers([])
    assert worker_spec(plan, {}, tmp_path).grace > 60 + LeaseSettings().kill_grace


def test_every_image_is_pinned_by_its_version(compose: dict[str, Any]) -> None:
    """`latest`, no tag, or a major version alone: another build would be another service."""
    ours = {"binnacle-api", "binnacle-worker"}
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    bases = {base for base, _ in stages} - {name for _, name in stages}
    images = bases | {service["image"] for service in compose["services"].values()} - ours
    assert len(images) == 4
    assert [image for image in images if not re.fullmatch(r"[\w./-]+:\d+(\.\d+)+(-[\w.-]+)?", image)] == []


def test_each_worker_has_a_name_of_its_own_that_lasts(compose: dict[str, Any]) -> None:
    """The host name stands after the @ in the node's name. Docker's default one changes with each new container,
    and with it the node that held a device."""
    names = [service["hostname"] for name, service in compose["services"].items() if name.startswith("worker-")]
    assert len(set(names)) == len(names) == 2
    assert all("${WORKER_HOST:-" in name for name in names), "two hosts that run the same file need different names"


def test_what_is_waited_for_has_a_healthcheck(compose: dict[str, Any]) -> None:
    services = compose["services"]
    waits = {(name, other) for name, service in services.items() for other, how in service.get("depends_on", {}).items()
             if how["condition"] == "service_healthy"}  # fmt: skip
    assert waits
    assert all("healthcheck" in services[other] for _, other in waits)


def test_the_images_take_the_same_torch_as_make_and_the_api_takes_none() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", dockerfile, re.MULTILINE | re.DOTALL))
    [pin] = re.findall(r"^TORCH := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert pin in stages["worker-packages"]
    assert "torch" not in stages["api-packages"] + stages["api"]
    assert "/livez" in stages["api"]
    assert all("USER binnacle" in stages[target] and '["tini", "--"]' in stages[target] for target in ("api", "worker"))


def test_everything_the_images_copy_passes_the_dockerignore() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    wanted = {name for line in copied for name in line.split()}
    assert wanted <= admitted
    assert all((ROOT / name).exists() for name in wanted)
