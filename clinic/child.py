"""Child processes that never outlive us: the database server and the web server."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
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
