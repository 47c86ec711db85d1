"""The worker: a process beside the server that does jobs one after another, and the chores, until it is stopped.

Several may run on one database. Asked to stop, it finishes the job in hand, or hands it back when that takes too long.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

import psycopg
from psycopg import sql

from clinic import child, chores, command, db, jobs, logs, pool
from clinic.errors import DatabaseAway, InternalError, Problem
from clinic.jobs import Claimed, JobAbandoned, Lost, Progress

CONNECTIONS = 5
"""Of a worker's pool: the job, its sign of life, a chore and its guard, and one to spare; it listens on another."""
_FINISH_WITHIN = 15.0
"""Seconds the job in hand gets once we are asked to stop: below what `serve` waits for us."""
_LOOK_AGAIN = 2.0
"""Seconds after which to look for jobs though nobody has called: the call may have been lost."""
_BEAT = 1.0
_BEAT_ANYHOW = 5.0
_CHORE_AGAIN = 60.0
_log = logging.getLogger("clinic.worker")


def run(url: str) -> None:
    """Do jobs and chores, over the pool that is open, until SIGTERM, SIGINT or SIGHUP; asked twice, end at once."""
    worker = Worker(url)
    child.until_asked(worker.start, worker.stop)


class Worker:
    """The jobs and the chores of this process, each on a thread; `url` is where to listen for calls."""

    def __init__(self, url: str) -> None:
        self._bell = _Bell(url)
        self._asked = threading.Event()
        # Held from before a job is claimed until it is finished: whoever gets it knows that none is in hand.
        self._busy = threading.Lock()
        self._job: Claimed | None = None
        self._owed: list[Claimed] = []
        self._away = False

    def start(self) -> None:
        for work in (self._do_jobs, self._do_chores):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def stop(self) -> None:
        """Begin no further job, and return when none is in hand any more."""
        self._asked.set()
        if self._busy.acquire(timeout=_FINISH_WITHIN):
            return
        if job := self._job:
            _log.warning("job %s is handed back: it takes longer than stopping may", job.id)
            with suppress(psycopg.Error, Problem, db.InDoubt):
                jobs.hand_back(job, unused=True)

    # ---- Jobs ----

    def _do_jobs(self) -> None:
        while not self._asked.is_set():
            try:
                found = self.do_next()
                self._tell("the database answers again", away=False)
                if not found:
                    self._bell.wait(_LOOK_AGAIN)
            except (psycopg.Error, Problem, db.InDoubt) as exc:
                self._tell(f"the database does not answer: {type(exc).__name__}", away=True)
                self._asked.wait(1.0)

    def _tell(self, what: str, *, away: bool) -> None:
        if away != self._away:
            self._away = away
            _log.warning("%s", what)

    def do_next(self) -> bool:
        """Do one job; False when there is none."""
        with self._busy:
            if self._asked.is_set():
                return True
            while self._owed:
                jobs.hand_back(self._owed[0], unused=False)
                del self._owed[0]
            self._job = jobs.claim()
            if self._job is None:
                return False
            try:
                self._do(self._job)
            finally:
                self._job = None
            return True

    def _do(self, job: Claimed) -> None:
        progress = Progress()
        try:
            with _Pulse(job, progress):
                self._attempt(job, progress)
        except Lost:
            _log.warning("job %s went to another attempt", job.id)
        except DatabaseAway:
            # Nothing is known of this attempt, not even whether it was committed; handing back finds out.
            _log.warning("job %s: the database went away", job.id)
            self._owed.append(job)

    def _attempt(self, job: Claimed, progress: Progress) -> None:
        try:
            if job.attempts > jobs.MOST_ATTEMPTS:
                raise JobAbandoned()
            # An attempt whose COMMIT is in doubt may be made again: only one of the two can finish the job.
            db.retrying(lambda: _work(job, progress), repeatable=True)
        except (DatabaseAway, Lost):
            raise
        except Problem as refusal:
            _fail(job, refusal, progress)
        except Exception as exc:
            _note(exc, f"job {job.id}")
            _fail(job, InternalError(), progress)

    # ---- Chores ----

    def _do_chores(self) -> None:
        due = dict.fromkeys(chores.registry, 0.0)
        while not self._asked.is_set():
            for name, chore in chores.registry.items():
                if time.monotonic() >= due[name] and not self._asked.is_set():
                    try:
                        chores.run_if_due(chore)
                    except Exception as exc:
                        _note(exc, f"chore {name}")
                    due[name] = time.monotonic() + min(chore.every, _CHORE_AGAIN)
            self._asked.wait(1.0)


def _work(job: Claimed, progress: Progress) -> None:
    with command.change(job.caller, request_id=job.request_id) as change:
        result = job.work(change, progress)
        jobs.finish(change.conn, job, result, progress)


def _fail(job: Claimed, problem: Problem, progress: Progress) -> None:
    db.retrying(lambda: jobs.fail(job, problem, progress), repeatable=True)


def _note(exc: Exception, where: str) -> None:
    """Neither the exception's text nor the input: both may hold a person's name."""
    _log.error("a defect in %s", where, extra={"told": logs.failure(exc)})


class _Pulse:
    """Shows others that the attempt lives and how far it is, from a thread and a connection of its own."""

    def __init__(self, job: Claimed, progress: Progress) -> None:
        self._job, self._progress = job, progress
        self._over = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        # Not waited for: a beat that comes late finds the job finished.
        self._over.set()

    def _beat(self) -> None:
        shown, at = -1, 0.0
        while not self._over.wait(_BEAT):
            now = time.monotonic()
            if self._progress.done == shown and now - at < _BEAT_ANYHOW:
                continue
            shown, at = self._progress.done, now
            with suppress(psycopg.Error, Problem, db.InDoubt):
                if not jobs.beat(self._job, self._progress) and not self._over.is_set():
                    self._progress.lost = True


class _Bell:
    """Hears when a job is added, on a connection of its own, which is made again when it is lost."""

    def __init__(self, url: str) -> None:
        self._info = pool.conninfo(url)
        self._conn: psycopg.Connection | None = None

    def wait(self, seconds: float) -> None:
        """Return when a job was added, or after so many seconds."""
        try:
            if self._conn is None:
                self._conn = psycopg.connect(self._info, autocommit=True)
                self._conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(jobs.CHANNEL)))
                return  # what was added before we listened was not heard
            for _ in self._conn.notifies(timeout=seconds, stop_after=1):
                pass
        except psycopg.Error:
            conn, self._conn = self._conn, None
            if conn is not None:
                conn.close()
            time.sleep(min(seconds, 1.0))
