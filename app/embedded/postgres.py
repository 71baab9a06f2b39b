"""Runs the embedded Postgres: one cluster in one folder, behind a private socket and a password, safe to kill and restart.

Runs the wheel's initdb and postgres itself. Independent of the data stored in it.

    folder/data        the cluster (0700, owned by the server's account)
    folder/socket      its socket (0700), unless the path would be too long for one
    folder/password    of the role `binnacle` (0600, owned by the caller)
    folder/access.conf who may connect (0600, owned by the server's account), only if it listens on TCP
    folder/programs    a copy of the programs, only if the server's account cannot reach the installation
"""

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg

from app.embedded.accounts import Account, can_enter, server_account
from app.embedded.children import ChildSpec
from app.embedded.errors import EmbeddedError
from app.embedded.postgres_programs import Programs, find_programs
from app.embedded.private import private_folder, secret_file, socket_folder, write_private
from app.embedded.server import Server

ROLE = DATABASE = "binnacle"
PORT = 5432  # only part of the socket's name, unless TCP is used
ACCESS = "local all all scram-sha-256\nhost all all all scram-sha-256\n"
"""pg_hba.conf: every client with the password may connect; the listening address limits from where."""
ELSEWHERE = Path("/var/lib/binnacle")
THROWAWAY = {"fsync": "off", "full_page_writes": "off"}  # commits still reach the kernel: killing the server loses nothing


class Postgres(Server):
    """A cluster.

    folder: everything of this cluster. Under root it is moved to /var/lib/binnacle/<hash of folder> if the server's account
        cannot reach `folder` (for instance a home folder under /root); `self.folder` is the actual place.
    listen: (host, port) to listen on TCP too; None for the socket alone.
    durable: False trades crash safety of the machine (not of the process) for speed, for tests.
    """

    name = program = "postgres"
    stop_signal = signal.SIGINT  # its fast shutdown: sessions end, everything is written
    hard_signals = (signal.SIGQUIT, signal.SIGKILL)

    def __init__(
        self, folder: Path, *, listen: tuple[str, int] | None = None, durable: bool = True, log: Path | None = None
    ) -> None:
        self._account: Account | None = server_account()
        super().__init__(_place(folder.absolute(), self._account), listen=listen, log=log)
        self._port = listen[1] if listen else PORT
        self._durable = durable
        self._programs: Programs | None = None

    def prepare(self) -> None:
        """Creates the cluster when there is none; idempotent. Raises EmbeddedError when the cluster is of another major version."""
        private_folder(self.folder, mode=0o711 if self._account else 0o700)
        self._programs = find_programs(self._account, self.folder / "programs")
        self._password = secret_file(self.folder / "password")
        self._sockets = socket_folder(self.folder / "socket", f".s.PGSQL.{self._port}.lock", owner=self._account)
        if self.data.exists():
            self._check_version()
        else:
            self._initialise()
        if self._listen:  # initdb's file admits only this machine
            write_private(self._access_file, ACCESS)
            if self._account:
                os.chown(self._access_file, self._account.uid, self._account.gid)

    @property
    def _access_file(self) -> Path:
        return self.folder / "access.conf"

    @property
    def url(self) -> str:
        """Returns the SQLAlchemy URL of the service's database, over the socket."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Returns the SQLAlchemy URL of another database of this cluster."""
        return f"postgresql+psycopg://{ROLE}:{self._password}@/{database}?host={quote(str(self._sockets))}&port={self._port}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Returns a plain connection in autocommit mode, for administration of the cluster."""
        return psycopg.connect(
            host=str(self._sockets),
            port=self._port,
            user=ROLE,
            password=self._password,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def child_spec(self, env: Mapping[str, str] | None = None) -> ChildSpec:
        """Returns how to run the server. It is stopped gently also when its parent dies."""
        settings = {
            "listen_addresses": self._listen[0] if self._listen else "",
            "port": str(self._port),
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "max_connections": "200",
            **({} if self._durable else THROWAWAY),
        }
        if self._listen:
            settings["hba_file"] = str(self._access_file)
        return ChildSpec(
            name=self.name,
            argv=[self._program("postgres"), "-D", str(self.data), *(f"--{name}={value}" for name, value in settings.items())],
            env={**_environment(), **(env or {})},
            log=self.log,
            ready=self.answers,
            prepare=self.clear_leftovers,
            account=self._account,
            stop_signal=self.stop_signal,
            death_signal=self.stop_signal,
            grace=30,
        )

    def answers(self) -> bool:
        """Returns whether the server accepts a query; creates the service's database the first time."""
        try:
            with self.connect() as connection:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    def clear_leftovers(self) -> None:
        """Stops a server of this cluster that outlived its supervisor, and removes the pid file of a server that died.

        Raises EmbeddedError when the server cannot be stopped: two servers on one cluster would destroy it.
        """
        super().clear_leftovers()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _program(self, name: str) -> str:
        if self._programs is None:
            raise RuntimeError("prepare() comes first")
        return self._programs.path(name)

    def _check_version(self) -> None:
        data_version = (self.data / "PG_VERSION").read_text().strip()
        have = self._programs.major if self._programs else 0
        if data_version == str(have):
            return
        raise EmbeddedError(
            "postgres_major_version",
            f"the data in {self.data} was written by PostgreSQL {data_version}; this installation runs {have}, which cannot "
            "read it. Either install the package version that wrote the data, or move the data to the new version. "
            f"With the old installation, which has PostgreSQL {data_version} (HOME: the data folder):\n"
            "  binnacle backup BACKUP --home HOME\n"
            "with this installation (NEW: a folder that does not exist):\n"
            "  binnacle restore BACKUP --home NEW\n"
            "  binnacle up --home NEW\n"
            "HOME stays as it is. Delete it, and the backup, once NEW works.",
        )

    def _initialise(self) -> None:
        """Runs initdb in a temporary folder and renames it when complete: an interrupted first start leaves no partial cluster."""
        partial = self.folder / f"data.partial.{secrets.token_hex(4)}"
        for abandoned in self.folder.glob("data.partial.*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        private_folder(partial, owner=self._account)
        password = partial.with_suffix(".password")
        password.touch(mode=0o600)
        password.write_text(self._password)
        if self._account:
            os.chown(password, self._account.uid, self._account.gid)
        auth = ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", f"--pwfile={password}"]
        locale = [
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ]  # independent of the machine's locale
        made = subprocess.run(
            [self._program("initdb"), "-D", partial, "-U", ROLE, *auth, *locale, *([] if self._durable else ["--no-sync"])],
            env=_environment(),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=[] if self._account else None,
        )
        password.unlink()
        if made.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            raise EmbeddedError(
                "initdb_failed", f"initdb could not make the cluster in {self.folder}:\n{made.stderr.strip()[-2000:]}"
            )
        partial.rename(self.data)


def _environment() -> dict[str, str]:
    """Returns the server's environment: without PG* variables, which would change its behaviour, and with an English log."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _place(folder: Path, account: Account | None) -> Path:
    """Returns where the cluster is, or where to make it: `folder`, or root's alternative place when the server's account cannot reach `folder`.

    Raises EmbeddedError when the account can no longer reach the cluster: a new one elsewhere would be empty.
    """
    if account is None:
        return folder
    elsewhere = ELSEWHERE / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    holding = [place for place in (folder, elsewhere) if (place / "data" / "PG_VERSION").exists()]
    if len(holding) != 1:
        existing = next(parent for parent in folder.parents if parent.exists())
        return folder if can_enter(existing, account) else elsewhere
    [place] = holding
    closed = next((parent for parent in reversed(place.parents) if not can_enter(parent, account)), None)
    if closed is not None:
        raise EmbeddedError(
            "cluster_unreachable",
            f"the data are in {place / 'data'}, but the account {account.name}, which runs Postgres under root, may not enter {closed}. "
            f"Let it pass (chmod o+x {closed}), then start again.",
        )
    return place
