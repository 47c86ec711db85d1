"""Child processes that never outlive us: the database server, the web server, the worker and the deliverer."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def start(
    command: Sequence[str | os.PathLike[str]], *, at_our_death: signal.Signals, **options: Any
) -> subprocess.Popen[Any]:
    """Start `command` in a session of its own, so that Ctrl-C reaches us first.

    On Linux it gets `at_our_death` when the thread that started it ends in any way, kill -9 included.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns of threads beside preexec_fn; ours takes no lock a thread could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # Runs after the change of account, which would clear the wish again.
            preexec_fn=_die_with(os.getpid(), at_our_death),
            **options,
        )


def _die_with(parent: int, sig: signal.Signals) -> Callable[[], None]:
    def ask() -> None:
        if _libc is None:
            return
        _libc.prctl(_PR_SET_PDEATHSIG, int(sig))
        if os.getppid() != parent:  # the parent died before we asked
            os._exit(1)

    return ask


def until_asked(start: Callable[[], None], stop: Callable[[], None]) -> None:
    """On the other side: work from `start` until SIGTERM, SIGINT or SIGHUP, then `stop`; asked twice, end at once."""
    asking = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    # Blocked in all threads, which inherit it: a handler could meet a lock that its own thread holds.
    signal.pthread_sigmask(signal.SIG_BLOCK, asking)
    start()
    signal.sigwait(asking)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, asking)
    stop()


class Restarted:
    """A child that others can do without for a while: when it ends it is started again, later each time."""

    def __init__(self, start_one: Callable[[], subprocess.Popen[Any]], say: Callable[[int, float], None]) -> None:
        """`say` is told the status of one that ended and the seconds until the next one is started."""
        self._start_one, self._say = start_one, say
        self.process: subprocess.Popen[Any] | None = None
        self._started_at = self._next_at = 0.0
        self._pause = 0.0
        self._asked_at: float | None = None

    def tend(self) -> None:
        """Start it if it is not there and its time has come. Returns at once; call it now and then."""
        now = time.monotonic()
        if self.process and (status := self.process.poll()) is not None:
            self.process = None
            self._ended(status, now)
        if self.process is None and now >= self._next_at:
            try:
                self.process, self._started_at = self._start_one(), now
            except OSError as exc:  # for instance: no memory for another process just now
                self._ended(exc.errno or 1, now)

    def _ended(self, status: int, now: float) -> None:
        # One that lived for a minute has earned a quick start again.
        self._pause = 1.0 if now - self._started_at > 60 else min(max(1.0, self._pause * 2), 30.0)
        self._next_at = now + self._pause
        self._say(status, self._pause)

    def ask_to_end(self) -> None:
        """Send SIGTERM, once, and do not wait."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            if self.process and self.process.poll() is None:
                self.process.terminate()

    def end(self, within: float) -> None:
        """Wait until it has ended, at most so many seconds after it was asked to; then kill it."""
        self.ask_to_end()
        if self.process is None or self._asked_at is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, self._asked_at + within - time.monotonic()))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
