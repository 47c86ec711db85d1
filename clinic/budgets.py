"""How many requests a caller may make: counted by each process for itself, settled in the table all processes share.

A request costs no question to the database. A process lets a caller's requests pass and settles them once a second, or
sooner when they are many, so over all processes a caller may get through what a few have not settled yet: for each of
them a twentieth of the budget. Where the table cannot be read nobody gets through.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta

from flask import Flask, current_app, request

from clinic import limits
from clinic.auth import Actor
from clinic.errors import TooManyRequests
from clinic.limits import Limit

USUAL = 0
"""Of what is not costly: the caller's whole budget is all there is."""
COSTLY = 10
"""Times in a minute for what takes long to make."""
_MINUTE = timedelta(minutes=1)
_SETTLED_EVERY = 1.0
_UNSETTLED = 20
"""So many parts of the budget make one that waits to be settled."""
_MOST_CALLERS = 20_000
_OF_APP = "clinic-budgets"


def set_up(app: Flask, a_minute: int) -> None:
    """Let this application's callers have so many requests in a minute; 0 is no limit."""
    app.extensions[_OF_APP] = Budgets(a_minute)


def count(actor: Actor | None, what: str = "", a_minute: int = USUAL) -> None:
    """Count this request of `actor`, or of a stranger at its address; `what` may be had `a_minute` times.

    Raises:
        TooManyRequests: a budget is used up.
        DatabaseAway: the budgets cannot be settled.
    """
    budgets: Budgets = current_app.extensions[_OF_APP]
    caller = actor.label if actor else limits.of_address(request.remote_addr)
    budgets.count(caller)
    if a_minute:
        budgets.spend(what, a_minute, caller)


@dataclass
class _Account:
    """What one caller has done since this process last settled; `settled_at` is None while that has to be tried."""

    count: int = 0
    settled_at: float | None = None
    refused_until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Budgets:
    """The budgets of one process's callers: `a_minute` for each, and smaller ones for what is costly. 0 is no limit."""

    def __init__(self, a_minute: int) -> None:
        self._limit = Limit("requests", a_minute, _MINUTE) if a_minute else None
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, caller: str) -> None:
        """Count a request of this caller.

        Raises:
            TooManyRequests: his budget is used up.
            DatabaseAway: it is time to settle, and that cannot be done.
        """
        if self._limit is not None:
            self._count(self._limit, self._account(caller), caller)

    def spend(self, what: str, most: int, caller: str) -> None:
        """Count one of the `most` times in a minute that a caller may do something costly; exact over all processes.

        Raises:
            TooManyRequests: he has done it so often.
            DatabaseAway: the table cannot be read.
        """
        if self._limit is not None:
            limits.take(Limit(f"costly_{what}", most, _MINUTE), caller)

    def _account(self, caller: str) -> _Account:
        with self._lock:
            account = self._accounts.setdefault(caller, _Account())
            self._accounts.move_to_end(caller)
            if len(self._accounts) > _MOST_CALLERS:
                self._accounts.popitem(last=False)
            return account

    def _count(self, limit: Limit, account: _Account, caller: str) -> None:
        with account.lock:
            now = time.monotonic()
            if now < account.refused_until:
                raise TooManyRequests(max(1, round(account.refused_until - now)))
            account.count += 1
            most = max(1, limit.most // _UNSETTLED)
            settled = account.settled_at
            if settled is not None and now - settled < _SETTLED_EVERY and account.count < most:
                return
            counted, account.count, account.settled_at = account.count, 0, now
        self._settle(limit, account, caller, counted)

    def _settle(self, limit: Limit, account: _Account, caller: str, counted: int) -> None:
        # Outside the lock: others of this caller need not wait for the database.
        try:
            seconds = limits.add(limit, caller, counted)
        except BaseException:
            with account.lock:
                account.count, account.settled_at = account.count + counted - 1, None
            raise
        if seconds:
            account.refused_until = time.monotonic() + seconds
            raise TooManyRequests(seconds)
