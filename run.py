#!/usr/bin/env python3
"""One step from a checkout to a running service: makes `.venv`, installs the pinned requirements, and goes on inside.

    python3 run.py [serve …]     the service, with a database of its own
    python3 run.py test […]      the tests; arguments go to pytest
    python3 run.py WORD …        any other command; `python3 run.py --help` lists them

Standard library only, since it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RUNTIME = ROOT / "requirements.lock"
DEVELOPMENT = ROOT / "requirements-dev.lock"  # holds all of the runtime's, at the same versions


def main(words: list[str]) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this may not have read pyproject.toml
        sys.exit("run.py: Python 3.11 or newer is needed")
    if os.name != "posix":
        sys.exit("run.py: Linux or macOS is needed; on Windows use WSL")
    if not words or (words[0].startswith("-") and words[0] not in {"-h", "--help"}):
        words = ["serve", *words]
    testing = words[0] == "test"
    prepare(DEVELOPMENT if testing else RUNTIME)
    if testing:
        os.chdir(ROOT)
        replace_ourselves("-m", "pytest", *in_parallel(words[1:]))
    replace_ourselves(str(ROOT / "wsgi.py"), *words)


def replace_ourselves(*args: str) -> None:
    """Become the environment's Python: the same process, so signals and the exit status need no passing on."""
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), *args])


def in_parallel(args: list[str]) -> list[str]:
    """Spread the tests over the processors, unless told how to run them."""
    told = any(arg.startswith(("-n", "-p", "--numprocesses", "--dist", "--pdb", "--trace", "-s")) for arg in args)
    processors = min(os.cpu_count() or 1, 4)
    return args if told or processors == 1 else ["-n", str(processors), "--dist", "loadgroup", *args]


def prepare(lock: Path) -> None:
    """Install what `lock` names, unless that has been done."""
    try:
        if is_installed(lock):
            return
        with alone():
            if not is_installed(lock):  # by the one we waited for
                install(lock)
    except subprocess.CalledProcessError as exc:
        sys.exit(f"run.py: installing failed, see above (status {exc.returncode})")
    except OSError as exc:
        sys.exit(f"run.py: {VENV} cannot be used: {exc.strerror}: {exc.filename}")


def is_installed(lock: Path) -> bool:
    """Whether the environment holds `lock`, or the development requirements, which hold it too."""
    return PYTHON.exists() and any(
        stamp(each).exists() and stamp(each).read_text() == contents(each) for each in {lock, DEVELOPMENT}
    )


def stamp(lock: Path) -> Path:
    return VENV / f"{lock.name}.installed"


def contents(lock: Path) -> str:
    """Changes when the environment has to be brought up to date: with either file for the development requirements."""
    machine = os.uname()
    digest = hashlib.sha256(f"{machine.sysname} {machine.machine}".encode())
    for each in {RUNTIME: [RUNTIME], DEVELOPMENT: [RUNTIME, DEVELOPMENT]}[lock]:
        digest.update(each.read_bytes())
    return digest.hexdigest()


@contextmanager
def alone() -> Iterator[None]:
    """Keep a second run.py from installing at the same time; the lock is the folder itself and ends with us."""
    import fcntl

    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run.py to finish installing …")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def install(lock: Path) -> None:
    started = time.monotonic()
    number = sum("==" in line for line in lock.read_text().splitlines())
    say(f"installing {number} packages into {VENV} (only once, about half a minute) …")
    for each in (RUNTIME, DEVELOPMENT):
        stamp(each).unlink(missing_ok=True)
    if not installed_by_uv(lock):
        install_by_pip(lock)
    stamp(lock).write_text(contents(lock))
    say(f"installed in {time.monotonic() - started:.0f} s")


def installed_by_uv(lock: Path) -> bool:
    """Whether uv is here and did it; it is faster, but pip may know an index that uv was not told of."""
    if not (uv := shutil.which("uv")):
        return False
    try:
        install_by_uv(uv, lock)
    except subprocess.CalledProcessError:
        say("uv did not manage; trying pip …")
        return False
    return True


def install_by_uv(uv: str, lock: Path) -> None:
    if not has_python():
        run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV))
    run(uv, "pip", "install", "--quiet", "--python", str(PYTHON), "--require-hashes", "--requirement", str(lock))


def install_by_pip(lock: Path) -> None:
    if not (has_python() and has_pip()):
        if importlib.util.find_spec("ensurepip") is None:
            sys.exit("run.py: this Python cannot make environments: install the package python3-venv, or uv")
        run(sys.executable, "-m", "venv", "--clear", str(VENV))
    run(
        str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
        "--only-binary", ":all:", "--require-hashes", "--requirement", str(lock),
    )  # fmt: skip


def has_python() -> bool:
    """Whether `.venv` is whole enough to install into: an interrupted first start may have left half of it."""
    return (VENV / "pyvenv.cfg").exists() and PYTHON.exists() and succeeds(str(PYTHON), "-c", "import encodings")


def has_pip() -> bool:
    """Whether pip is in `.venv`, or could be put there: uv makes environments without it."""
    return any(succeeds(str(PYTHON), "-m", *words) for words in (["pip", "--version"], ["ensurepip"]))


def succeeds(*command: str) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def run(*command: str) -> None:
    # Standard output stays empty: its first line belongs to the service.
    subprocess.run(command, check=True, stdout=sys.stderr)


def say(line: str) -> None:
    print(f"run.py: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
