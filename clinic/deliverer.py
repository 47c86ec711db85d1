"""The deliverer: a process beside the server that calls webhooks with what the journal says, until it is stopped.

Several may run on one database. Asked to stop, it begins nothing more and lets the attempts under way end.
"""

from __future__ import annotations

import logging
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import psycopg

from clinic import child, clock, db, delivering, sealing, sending, signatures, webhooks
from clinic.addresses import Allowed
from clinic.delivering import Claimed
from clinic.errors import Problem
from clinic.sealing import SealBroken

SENDERS = 16
CONNECTIONS = 6
"""Of a deliverer's pool: its senders hold one for a moment only, to write down what came of an attempt."""
_LOOK_AGAIN = 0.25
_LOOK_AGAIN_FOR_NOBODY = 2.0
_STOPPED_WITHIN = 12.0
_log = logging.getLogger("clinic.deliverer")


def run(ours: Allowed) -> None:
    """Deliver, over the pool that is open, until SIGTERM, SIGINT or SIGHUP; asked twice, end at once."""
    deliverer = Deliverer(ours)
    child.until_asked(deliverer.start, deliverer.stop)


class Deliverer:
    """One thread makes deliveries and claims them, others send."""

    def __init__(self, ours: Allowed) -> None:
        self._ours = ours
        self._asked = threading.Event()
        self._stirred = threading.Event()
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="sender")
        self._in_hand = 0
        self._none_in_hand = threading.Condition()
        self._away = False
        self._thread = threading.Thread(target=self._work, name="deliverer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no further attempt, and return when none is under way."""
        self._asked.set()
        self._stirred.set()
        if self._thread.is_alive():
            self._thread.join(_STOPPED_WITHIN)
        with self._none_in_hand:
            self._none_in_hand.wait_for(lambda: self._in_hand == 0, _STOPPED_WITHIN)
        self._senders.shutdown(wait=False)

    def _work(self) -> None:
        while not self._asked.is_set():
            pause = _LOOK_AGAIN
            try:
                busy = self.turn()
                self._tell("the database answers again", away=False)
                if busy:
                    continue
                pause = _LOOK_AGAIN if delivering.count() else _LOOK_AGAIN_FOR_NOBODY
            except (psycopg.Error, Problem, db.InDoubt) as exc:
                self._tell(f"the database does not answer: {type(exc).__name__}", away=True)
                pause = 1.0
                self._stirred.clear()
            # Until an attempt has ended, so that its endpoint gets the next one at once.
            self._stirred.wait(pause)
            self._stirred.clear()

    def _tell(self, what: str, *, away: bool) -> None:
        if away != self._away:
            self._away = away
            _log.warning("%s", what)

    def turn(self) -> bool:
        """Make deliveries and begin to send what is due; whether there is more to do at once."""
        more = delivering.catch_up()
        room = SENDERS - self._in_hand
        claimed = delivering.claim(room) if room > 0 else []
        for each in claimed:
            with self._none_in_hand:
                self._in_hand += 1
            self._senders.submit(self._send, each)
        return more or bool(claimed)

    def wait(self) -> None:
        """Return when no attempt is under way."""
        with self._none_in_hand:
            self._none_in_hand.wait_for(lambda: self._in_hand == 0)

    def _send(self, sent: Claimed) -> None:
        try:
            self._attempt(sent)
        except (psycopg.Error, Problem, db.InDoubt) as exc:
            # Whether it was written down is not known; when it was not, it is sent again once its claim ends.
            _log.warning("delivery %s: %s", sent.id, type(exc).__name__)
        except Exception as exc:
            # Neither the exception's text nor the message: both may hold what is nobody else's business.
            where = "".join(traceback.format_tb(exc.__traceback__))
            _log.error("%s in delivery %s\n%s", type(exc).__name__, sent.id, where)
        finally:
            with self._none_in_hand:
                self._in_hand -= 1
                self._none_in_hand.notify_all()
            self._stirred.set()

    def _attempt(self, sent: Claimed) -> None:
        purpose = webhooks.purpose(sent.webhook_id)
        try:
            keys = [sealing.opened(purpose, each) for each in (sent.secret, sent.old_secret) if each is not None]
        except SealBroken:
            _log.error("webhook %s: its secret is sealed under another CLINIC_SECRET_KEY", sent.webhook_id)
            delivering.postpone(sent, "secret_unreadable")
            return
        now, body = clock.now(), sent.body.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Clinic-Billing-Webhooks/1",
            **signatures.headers(sent.message_id, now, body, keys),
        }
        outcome = sending.post(sent.url, headers, body, self._ours, now)
        db.retrying(lambda: delivering.finish(sent, outcome), repeatable=True)
