"""The embedded database: a private PostgreSQL cluster in a data folder, owned by one process at a time.

The folder holds `data` (the cluster), `lock` (held by the owner for its lifetime), `running.json` (where a ready
service is found), `postgres.log` and `secret.key`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from clinic import postgres
from clinic.postgres import ClusterError
from clinic.settings import Settings

if TYPE_CHECKING:
    import psycopg

__all__ = ["Attached", "Cluster", "ClusterError", "FolderInUse", "Urls", "attach", "data_folder", "database"]

CHECKOUT = Path(__file__).parents[1]
DATABASE = "clinic"
APPLICATION = "clinic_app"
PATIENCE = 30.0
"""Seconds a command waits for a service that is starting, or for another command to end."""
_LONGEST_SOCKET_FOLDER = 85
"""Bytes: a socket's whole path may have 107 on Linux and 103 on macOS."""
_LOG_LIMIT = 8 * 2**20

_SERVER = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "synchronous_commit": "on",
    "wal_log_hints": "on",
    "wal_sender_timeout": "5s",
    "wal_receiver_timeout": "5s",
    "wal_retrieve_retry_interval": "500ms",
    "client_connection_check_interval": "1s",
    "jit": "off",
    # Statements and details of errors carry the names of persons.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# For tests: what a crash would lose is thrown away anyhow.
_FAST = {
    "synchronous_commit": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_log_hints": "off",
    "autovacuum": "off",
    "max_wal_size": "2GB",
}


class FolderInUse(ClusterError):
    """Another process owns the data folder."""


@dataclass(frozen=True)
class Urls:
    """One database, as its owner and as the application; `served` when a running service keeps it up to date."""

    owner: str
    app: str
    served: bool = False


class _Addresses:
    """URLs of the databases behind a socket folder."""

    socket_folder: Path

    def owner_url(self, database: str = DATABASE) -> str:
        """As the superuser, who owns the schema and migrates it."""
        return self._url(postgres.OWNER, database)

    def app_url(self, database: str = DATABASE) -> str:
        """As the application, which owns nothing."""
        return self._url(APPLICATION, database)

    def _url(self, user: str, database: str) -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self.socket_folder), safe='/')}"


@dataclass(frozen=True)
class Attached(_Addresses):
    """The database of a service that runs in another process."""

    socket_folder: Path


class Cluster(_Addresses):
    """A cluster this process owns, from `start` to `stop`; the server dies with the process.

    `fast` trades safety for speed, for tests.
    """

    def __init__(self, root: Path, *, bindir: Path | None = None, fast: bool = False, connections: int = 50) -> None:
        self.root = Path(root).absolute()
        self.data = self.root / "data"
        self.process: subprocess.Popen[bytes] | None = None
        """The server, for a supervisor to poll."""
        self._bindir = bindir
        self._fast = fast
        self._connections = connections
        self._account = postgres.server_account()
        self._lock: int | None = None
        self._log_from = 0
        self.socket_folder = _socket_folder(self.root, self._account)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Make the cluster if there is none, start it, and make sure of the database and its roles.

        Raises:
            FolderInUse: another process runs on the folder.
            ClusterError: it cannot be started for any other reason.
        """
        self.launch()
        self.wait()

    def launch(self) -> None:
        """The first half of `start`: up to the server's process, which `wait` waits for."""
        with self._stopped_on_failure():
            self._take_folder()
            programs = postgres.find(self._bindir, self.root)
            self._make_cluster(programs)
            self._make_socket_folder()
            self._end_orphan()
            self._launch(programs)

    def wait(self) -> None:
        """The second half of `start`: until the server answers and has the database."""
        with self._stopped_on_failure(), self._first_connection() as conn:
            from clinic.migrate import ensure_roles

            ensure_roles(conn)
            if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                conn.execute(f"CREATE DATABASE {DATABASE}")

    def announce(self) -> None:
        """Let commands of other processes use this database from now on: it is migrated and stays."""
        found = {"pid": os.getpid(), "socket_folder": str(self.socket_folder)}
        unfinished = self.root / "running.json.new"
        unfinished.write_text(json.dumps(found))
        unfinished.replace(self.root / "running.json")

    def stop(self) -> None:
        """Shut the server down cleanly and give the folder free; a second call does nothing."""
        if self._lock is None:
            return
        (self.root / "running.json").unlink(missing_ok=True)
        if self.process is not None:
            _end(self.process)
            with suppress(OSError):
                self.socket_folder.rmdir()
        os.close(self._lock)
        self._lock = None

    @contextmanager
    def _stopped_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException as exc:
            self.stop()
            if isinstance(exc, OSError):
                where = f"{exc.filename}: " if exc.filename else ""
                raise ClusterError(f"the embedded database cannot start: {where}{exc.strerror}") from exc
            raise

    def _take_folder(self) -> None:
        try:
            self._make_root()
            lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise ClusterError(f"the data folder {self.root} cannot be written: {exc.strerror}") from exc
        if not _locked(lock, fcntl.LOCK_EX, tries=5):
            owner = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise FolderInUse(f"another instance runs on the data folder {self.root} (process {owner})")
        self._lock = lock
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        (self.root / "running.json").unlink(missing_ok=True)

    def _make_root(self) -> None:
        if not self.root.is_dir():
            self.root.mkdir(parents=True)
            self.root.chmod(0o711 if self._account else 0o700)  # the server's account must pass through
        if self._account and not postgres.reachable(self.root, self._account):
            raise ClusterError(
                f"PostgreSQL runs as the account {self._account.pw_name}, which cannot reach the data folder "
                f"{self.root}: choose another with --data or CLINIC_DATA"
            )

    def _make_cluster(self, programs: postgres.Programs) -> None:
        version = self.data / "PG_VERSION"
        if version.exists() and (self.data / "global" / "pg_control").exists():
            if (have := version.read_text().strip()) != str(programs.major):
                raise ClusterError(
                    f"{self.data} was made by PostgreSQL {have}, the programs are {programs.major}: "
                    f"set PG_BINDIR to those of {have}, or dump and load the data"
                )
            return
        if self.data.exists() and any(self.data.iterdir()):
            raise ClusterError(f"{self.data} is not empty and holds no PostgreSQL cluster: move it away")
        # Renamed only when whole, so that an interrupted initdb is never taken for a cluster.
        unfinished = self.root / "data.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        self._give_away(unfinished)
        programs.initdb(unfinished, fast=self._fast)
        unfinished.rename(self.data)
        _flush(self.root)

    def _make_socket_folder(self) -> None:
        with suppress(FileExistsError):
            self.socket_folder.mkdir(mode=0o700)
            self._give_away(self.socket_folder)
        # The name can be guessed by others on the machine: whoever made the folder owns every connection in it.
        found = self.socket_folder.lstat()
        ours = {os.geteuid()} if self._account is None else {0, self._account.pw_uid}
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours or found.st_mode & 0o077:
            raise ClusterError(f"{self.socket_folder} is not a private folder of ours: remove it")
        self._give_away(self.socket_folder)

    def _give_away(self, folder: Path) -> None:
        if self._account:
            os.chown(folder, self._account.pw_uid, self._account.pw_gid)

    def _end_orphan(self) -> None:
        """Wait for a server whose owner was killed; it may still be shutting down, or know nothing of it (macOS)."""
        end = time.monotonic() + PATIENCE
        while _listens(self.socket_folder):
            with suppress(OSError, ValueError):
                os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
            if time.monotonic() > end:
                raise ClusterError(f"a PostgreSQL of an earlier start still runs on {self.data}")
            time.sleep(0.05)

    def _launch(self, programs: postgres.Programs) -> None:
        settings = _SERVER | {
            "unix_socket_directories": str(self.socket_folder),
            "max_connections": str(self._connections),
        }
        log_path = self.root / "postgres.log"
        if log_path.exists() and log_path.stat().st_size > _LOG_LIMIT:
            log_path.replace(self.root / "postgres.log.1")
        with log_path.open("ab") as log:
            self._log_from = log.tell()
            self.process = programs.start_server(self.data, settings | (_FAST if self._fast else {}), log)

    def _first_connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        # Imported only here: it takes as long as the server needs to come up.
        import psycopg

        assert self.process is not None
        end = time.monotonic() + 120  # recovery after a crash may take a while
        while True:
            if self.process.poll() is not None:
                raise ClusterError(f"PostgreSQL did not start: {self._last_words()}")
            try:
                # A real connection: postmaster.pid may say "ready" of a server that is gone.
                return psycopg.connect(self.owner_url("postgres"), autocommit=True, connect_timeout=2)
            except psycopg.OperationalError as exc:
                if time.monotonic() > end:
                    raise ClusterError(f"PostgreSQL did not answer; see {self.root / 'postgres.log'}") from exc
                time.sleep(0.01)

    def _last_words(self) -> str:
        with (self.root / "postgres.log").open(errors="replace") as log:
            log.seek(self._log_from)
            lines = log.read().splitlines()
        fatal = [line.split(":  ", 1)[-1] for line in lines if "FATAL:" in line or "PANIC:" in line]
        return (fatal or lines or [f"see {self.root / 'postgres.log'}"])[-1]


def attach(root: Path) -> Attached | None:
    """The database of the service that runs on this data folder; None when the folder is free.

    Waits for a service that is starting, and for a command that has the folder to itself.

    Raises:
        FolderInUse: its owner neither offers the database nor ends.
    """
    end = time.monotonic() + PATIENCE
    while _is_taken(root):
        service = _running(root)
        if service and _listens(service.socket_folder):
            return service
        if time.monotonic() > end:
            raise FolderInUse(f"another process uses the data folder {root} and does not share its database")
        time.sleep(0.05)
    return None


@contextmanager
def database(settings: Settings) -> Iterator[Urls]:
    """The database the settings name, for a command: external, of a running service, or started for this command."""
    if settings.database_url:
        yield Urls(settings.database_owner_url or settings.database_url, settings.database_url)
        return
    root = data_folder(settings)
    if service := attach(root):
        yield Urls(service.owner_url(), service.app_url(), served=True)
        return
    with Cluster(root, bindir=settings.pg_bindir) as cluster:
        yield Urls(cluster.owner_url(), cluster.app_url())


def data_folder(settings: Settings) -> Path:
    """The folder of the embedded database: the one set, else the first of the usual ones that can be used."""
    if settings.data:
        return settings.data.absolute()
    account = postgres.server_account()
    places = list(_usual_places())
    for place in places:
        if _can_be_used(place, account):
            return place
    raise ClusterError(f"none of {', '.join(map(str, places))} can hold the data: name a folder with CLINIC_DATA")


def heads_file(settings: Settings) -> Path | None:
    """Where the journal's heads are added to; beside an external database only where a file is named."""
    if settings.audit_file or settings.database_url:
        return settings.audit_file
    return data_folder(settings) / "journal-heads"


def _can_be_used(folder: Path, account: pwd.struct_passwd | None) -> bool:
    """Whether we can write to this folder, or make it, and the server's account reach it."""
    with suppress(OSError):
        above = next(path for path in (folder, *folder.parents) if path.exists())
        return os.access(above, os.W_OK | os.X_OK) and postgres.reachable(above, account)
    return False


def _usual_places() -> Iterator[Path]:
    yield CHECKOUT / "var"
    # Elsewhere each checkout has a folder of its own too: two of them do not share data by accident.
    name = f"clinic-{hashlib.sha256(os.fsencode(CHECKOUT)).hexdigest()[:8]}"
    with suppress(RuntimeError):  # an account without a home
        yield Path.home() / ".local/share" / name
    yield Path("/var/lib") / name


def _socket_folder(root: Path, account: pwd.struct_passwd | None) -> Path:
    """The same for every start on `root`, and short: a socket's path has about a hundred bytes. Checked to be ours."""
    name = f"clinic-{os.geteuid()}-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:10]}"
    for base in dict.fromkeys((Path(tempfile.gettempdir()), Path("/tmp"))):  # nosec B108
        folder = base / name
        if len(os.fsencode(folder)) <= _LONGEST_SOCKET_FOLDER and base.is_dir() and postgres.reachable(base, account):
            return folder
    raise ClusterError("no temporary folder with a short name can hold the database's socket: set TMPDIR")


def _listens(folder: Path) -> bool:
    """Whether a server listens in this socket folder."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(folder / ".s.PGSQL.5432"))
        except PermissionError as exc:
            raise ClusterError("the database of the running service belongs to another account") from exc
        except OSError:
            return False
    return True


def _running(root: Path) -> Attached | None:
    try:
        return Attached(Path(json.loads((root / "running.json").read_text())["socket_folder"]))
    except FileNotFoundError:
        return None


def _is_taken(root: Path) -> bool:
    try:
        lock = os.open(root / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise ClusterError(f"the data folder {root} cannot be read: {exc.strerror}") from exc
    try:
        return not _locked(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _locked(lock: int, kind: int, tries: int = 1) -> bool:
    """Take the lock if nobody has it. An owner tries more than once, since another process may just be looking."""
    for _ in range(tries):
        with suppress(BlockingIOError):
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return True
        time.sleep(0.02 if tries > 1 else 0)
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """Fast shutdown: sessions are ended, everything is written. The hard way only after a minute."""
    for sig, patience in ((signal.SIGINT, 60), (signal.SIGQUIT, 10)):
        if server.poll() is not None:
            return
        server.send_signal(sig)
        with suppress(subprocess.TimeoutExpired):
            server.wait(patience)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
