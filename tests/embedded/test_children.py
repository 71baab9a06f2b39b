"""A child process is restarted, never doubled, and takes everything it started with it; its log stays small and whole."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.embedded import log_writer
from app.embedded.children import Backoff, Child, ChildSpec, stop_together
from app.embedded.errors import EmbeddedError
from app.embedded.processes import carrying

QUICK = Backoff(first=0.05, most=0.4, healthy=60)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Makes children that run shell programs; stops them all after the test."""
    made: list[Child] = []

    def make(script: str, **options: object) -> Child:
        spec = ChildSpec(
            name=f"child-{len(made)}",
            argv=["/bin/sh", "-c", script],
            log=tmp_path / f"child-{len(made)}.log",
            **{"backoff": QUICK, "grace": 5, **options},  # type: ignore[arg-type]
        )
        made.append(Child(spec))
        return made[-1]

    yield make
    stop_together(made, impatient=lambda: True)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def ticked(one: Child, enough: Callable[[list[str]], object]) -> list[str]:
    """Ticks the child as its supervisor does, until what the ticks reported is `enough`; returns it."""
    said: list[str] = []

    def done() -> object:
        if news := one.tick(time.monotonic()):
            said.append(news)
        return enough(said)

    until(done)
    return said


def state(pid: int | None) -> str:
    """What the process does, as psutil names it."""
    return psutil.Process(pid).status()


def exits(count: int) -> Callable[[list[str]], object]:
    """Whether so many exits were reported."""
    return lambda said: sum("exited" in line for line in said) >= count


def test_a_killed_child_is_started_again_and_the_signal_is_named(child: Callable[..., Child]) -> None:
    one = child("sleep 60")
    one.start()
    first = one.pid
    assert first
    os.kill(first, signal.SIGKILL)
    until(lambda: not one.alive)
    said = ticked(one, lambda _said: one.alive)
    assert "was killed by SIGKILL" in said[0]
    assert one.alive
    assert one.pid != first
    assert one.restarts == 1


def test_pauses_double_up_to_a_limit_while_the_child_keeps_dying(child: Callable[..., Child]) -> None:
    one = child("exit 4")
    one.start()
    said = ticked(one, exits(5))
    pauses = [line.split(" again in ")[1].split(" s ")[0] for line in said if "exited with status 4" in line]
    assert pauses[:5] == ["0.05", "0.1", "0.2", "0.4", "0.4"]


def test_a_child_that_lived_long_enough_starts_over_with_the_first_pause(child: Callable[..., Child]) -> None:
    one = child("sleep 0.15; exit 1", backoff=Backoff(first=0.01, most=10, healthy=0.1))
    one.start()
    said = [line for line in ticked(one, exits(3)) if "exited" in line]
    assert len(said) == 3
    assert all("again in 0.01 s" in line for line in said)


def test_a_child_that_cannot_be_started_again_is_tried_later(child: Callable[..., Child], tmp_path: Path) -> None:
    """A leftover in the way, or a program being upgraded, must not end the supervisor."""
    blocked = tmp_path / "blocked"

    def prepare() -> None:
        if blocked.exists():
            raise EmbeddedError("leftover", "still there")

    one = child("sleep 60", prepare=prepare)
    one.start()
    blocked.touch()
    one.kill()
    ticked(one, lambda said: any("could not be started: leftover: still there" in line for line in said))
    blocked.unlink()
    ticked(one, lambda _said: one.alive)


def test_stopping_waits_for_a_child_that_tidies_up(child: Callable[..., Child], tmp_path: Path) -> None:
    done = tmp_path / "done"
    one = child(f"trap 'sleep 0.3; touch {done}; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    one.start()
    until(lambda: "up" in one.log_tail())
    one.stop()
    assert done.exists()
    assert one.tick(time.monotonic()) is None  # and it stays stopped


def test_a_child_that_ignores_the_signal_is_killed_with_everything_it_started(
    child: Callable[..., Child], tmp_path: Path
) -> None:
    mark = f"BINNACLE_TEST={tmp_path}"
    one = child("trap '' TERM; sleep 61 & sleep 62 & echo up; wait", grace=0.2, env={"BINNACLE_TEST": str(tmp_path)})
    one.start()
    until(lambda: len(carrying(mark)) == 3)
    one.stop()
    until(lambda: not carrying(mark), 30)  # left alone they would run for a minute


def test_what_a_dead_child_left_is_gone_before_the_next_one_starts(child: Callable[..., Child], tmp_path: Path) -> None:
    mark = f"BINNACLE_TEST={tmp_path}"
    one = child("sleep 61 & echo up; wait", env={"BINNACLE_TEST": str(tmp_path)})
    one.start()
    until(lambda: len(carrying(mark)) == 2)
    before = set(carrying(mark))
    assert one.pid
    os.kill(one.pid, signal.SIGKILL)
    until(lambda: not one.alive)
    ticked(one, lambda _said: one.alive)
    until(lambda: len(carrying(mark)) == 2)
    assert not before & set(carrying(mark))


def test_children_die_with_their_supervisor_however_it_dies(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from app.embedded.children import Child, ChildSpec\n"
        "Child(ChildSpec('c', ['sleep', '60'], Path(sys.argv[1], 'log'), env={'BINNACLE_TEST': sys.argv[1]})).start()\n"
        "print('up', flush=True); time.sleep(60)"
    )
    mark = f"BINNACLE_TEST={tmp_path}"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout
        supervisor.stdout.readline()
        until(lambda: carrying(mark))
        supervisor.kill()
    until(lambda: not carrying(mark), 30)  # left alone it would run for a minute


def test_a_child_that_ends_before_it_is_ready_shows_the_end_of_its_log(child: Callable[..., Child]) -> None:
    one = child("echo the config is wrong; exit 2", ready=lambda: False)
    one.start()
    with pytest.raises(EmbeddedError, match=r"exited with status 2 before it was ready(.|\n)*the config is wrong"):
        one.wait_ready(10)


def test_a_child_that_never_gets_ready_is_given_up(child: Callable[..., Child]) -> None:
    one = child("echo still loading; sleep 60", ready=lambda: False)
    one.start()
    until(lambda: "loading" in one.log_tail())
    with pytest.raises(EmbeddedError, match=r"not ready after 0.2 s(.|\n)*still loading"):
        one.wait_ready(0.2)


def test_an_impatient_stop_does_not_wait_for_the_grace(child: Callable[..., Child]) -> None:
    several = [child("trap '' TERM; echo up; while :; do sleep 0.1; done", grace=60) for _ in range(2)]
    for one in several:
        one.start()
        until(lambda one=one: "up" in one.log_tail())  # type: ignore[misc]
    began = time.monotonic()
    stop_together(several, impatient=lambda: time.monotonic() > began + 0.2)
    assert time.monotonic() - began < 30, "the grace would take 60 s"
    assert not any(one.alive for one in several)


def test_a_log_that_grew_large_is_set_aside_at_the_next_start(
    child: Callable[..., Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.embedded.children.LOG_BYTES", 10)
    one = child("echo a new line")
    one.spec.log.write_text("many lines of an earlier run\n")
    one.start()
    until(lambda: "a new line" in one.log_tail())
    assert one.spec.log.read_text() == "a new line\n"
    assert (tmp_path / "child-0.log.1").read_text() == "many lines of an earlier run\n"


COUNTING = """
import os, sys
for number in range(int(sys.argv[1])):
    os.write(1, b"%07d of a line that tells something\\n" % number)
"""


def _numbers(folder: Path) -> list[int]:
    """The numbers of the lines in both files of the log."""
    lines: list[str] = []
    for file in (folder / "child-0.log.1", folder / "child-0.log"):
        with contextlib.suppress(FileNotFoundError):  # not written yet, or just renamed
            lines += file.read_text().splitlines()
    return [int(line.split()[0]) for line in lines]


def test_a_log_is_set_aside_while_the_child_runs_and_no_line_is_lost(
    child: Callable[..., Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.embedded.children.LOG_BYTES", 600_000)
    one = child(f"{sys.executable} -c '{COUNTING}' 20000; sleep 60")
    one.start()
    pid = one.pid
    until(lambda: 19_999 in _numbers(tmp_path)[-1:])
    assert (one.pid, one.alive) == (pid, True), "the child was not restarted for it"
    assert _numbers(tmp_path) == list(range(20_000)), "each line once, in order, none torn"
    assert (tmp_path / "child-0.log.1").exists()
    one.stop()


def test_a_log_is_written_again_after_one_rotation_failed(tmp_path: Path) -> None:
    """On a full disk the file after a rotation cannot be opened; here a limit on open files stands for the disk."""
    path = tmp_path / "a.log"
    with subprocess.Popen([sys.executable, log_writer.__file__, str(path), "10"], stdin=subprocess.PIPE, bufsize=0) as writer:
        limits = resource.prlimit(writer.pid, resource.RLIMIT_NOFILE)
        assert writer.stdin
        writer.stdin.write(b"one line\n")
        until(lambda: path.exists() and path.stat().st_size == 9)
        resource.prlimit(writer.pid, resource.RLIMIT_NOFILE, (3, limits[1]))  # its standard streams alone
        writer.stdin.write(b"dropped\n")
        # it renames the file, fails to open the new one, and closes the old: only its standard streams are left open
        until(lambda: not path.exists() and len(list(Path(f"/proc/{writer.pid}/fd").iterdir())) == 3)
        resource.prlimit(writer.pid, resource.RLIMIT_NOFILE, limits)
        writer.stdin.write(b"later\n")
        writer.stdin.close()
    assert path.read_text() == "later\n"


def test_the_log_of_a_child_that_writes_much_stays_small(
    child: Callable[..., Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.embedded.children.LOG_BYTES", 50_000)
    one = child(f"exec {sys.executable} -c '{COUNTING}' 30000")
    one.start()
    until(lambda: not one.alive)
    one.log_tail()
    sizes = [file.stat().st_size for file in tmp_path.glob("child-0.log*")]
    assert max(sizes) < 50_000 + 70_000, "at most one read of the pipe (64 KiB) and the rest of a line above the limit"
    numbers = _numbers(tmp_path)
    assert numbers == list(range(numbers[0], 30_000)), "the last lines, none missing between"


def test_a_writer_that_was_killed_is_started_again_on_the_same_pipe(child: Callable[..., Child], tmp_path: Path) -> None:
    one = child("n=0; while :; do echo $n; n=$((n + 1)); sleep 0.002; done")
    one.start()
    until(lambda: len(_numbers(tmp_path)) > 20)
    assert one._log._writer is not None
    assert one.pid
    killed = one._log._writer
    os.kill(one.pid, signal.SIGSTOP)
    until(lambda: state(one.pid) == psutil.STATUS_STOPPED)
    until(lambda: state(killed.pid) == psutil.STATUS_SLEEPING)  # it has written all that it read
    killed.kill()
    killed.wait()
    os.kill(one.pid, signal.SIGCONT)
    time.sleep(0.1)  # lines collect in the pipe while it has no reader
    ticked(one, lambda _said: one._log._writer is not killed)
    seen = len(_numbers(tmp_path))
    until(lambda: len(_numbers(tmp_path)) > seen + 100)
    one.stop()
    numbers = _numbers(tmp_path)
    assert numbers == list(range(len(numbers))), "no line is lost"


def test_the_last_line_of_a_child_is_logged_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from app.embedded.children import Child, ChildSpec\n"
        "script = 'trap \"echo goodbye; exit\" TERM; echo up; while :; do sleep 0.02; done'\n"
        "Child(ChildSpec('c', ['/bin/sh', '-c', script], Path(sys.argv[1], 'log'), env={'BINNACLE_TEST': sys.argv[1]})).start()\n"
        "print('up', flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout
        supervisor.stdout.readline()
        until(lambda: log.exists() and "up" in log.read_text())
        supervisor.kill()
    until(lambda: "goodbye" in log.read_text())
