"""Figures for Prometheus: requests, latencies, the pool, changes of state, and what is asked of the database.

Server processes add up through files in memory (`PROMETHEUS_MULTIPROC_DIR`, set before this module is loaded). What
the database knows better, such as how many documents bear a number, is asked when the figures are read; with the
database away those figures are missing and `clinic_database_up` is 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import psycopg
from prometheus_client import REGISTRY as OF_THIS_PROCESS
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from clinic import db, pool
from clinic.errors import DatabaseAway

TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_requests = Counter("clinic_requests", "Requests answered.", ["method", "route", "status"])
_seconds = Histogram("clinic_request_seconds", "Seconds until the answer began.", ["method", "route"], buckets=_BUCKETS)
_lent = Gauge("clinic_pool_lent", "Database connections in use.", multiprocess_mode="livesum")
_waited = Histogram("clinic_pool_wait_seconds", "Seconds waited for a database connection.", buckets=_BUCKETS)
_refused = Counter("clinic_pool_refusals", "Requests that got no database connection.")
_changes = Counter("clinic_changes", "Changes of state committed, by type of event.", ["type"])


class PoolFigures(pool.Watcher):
    """Counts what the pool does."""

    def waited(self, seconds: float) -> None:
        _waited.observe(seconds)

    def refused(self) -> None:
        _refused.inc()

    def lent(self, change: int) -> None:
        _lent.inc(change)


def answered(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answer. `route` is the rule of the address, never the address itself."""
    _requests.labels(method, route, str(status)).inc()
    _seconds.labels(method, route).observe(seconds)


def changed(types: Iterable[str]) -> None:
    """Count changes of state that were committed."""
    for each in types:
        _changes.labels(each).inc()


# ---- What the database knows ----


Reading = Callable[[db.Connection], Iterable[tuple[tuple[str, ...], float]]]
"""Reads the values of labels and the number for each."""


@dataclass(frozen=True)
class Asked:
    """A figure that is read from the database."""

    name: str
    about: str
    labels: tuple[str, ...]
    read: Reading


_asked: dict[str, Asked] = {}


def ask(name: str, about: str, *labels: str) -> Callable[[Reading], None]:
    """Add a figure; modules call this when they are loaded. The reading must be quick at any size."""

    def add(read: Reading) -> None:
        if name in _asked:
            raise ValueError(f"two figures are called {name}")
        _asked[name] = Asked(name, about, labels, read)

    return add


class _OfDatabase(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("clinic_database_up", "Whether the database answers.")
        try:
            with db.seeing(None), db.transaction() as conn:
                found = [(each, list(each.read(conn))) for each in _asked.values()]
        except (psycopg.Error, DatabaseAway, db.InDoubt):
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        for each, rows in found:
            family = GaugeMetricFamily(each.name, each.about, labels=each.labels)
            for labels, number in rows:
                family.add_metric(list(labels), number)
            yield family


def exposed() -> bytes:
    """All figures of all processes, in Prometheus' text form."""
    registry = CollectorRegistry()
    if FOLDER in os.environ:
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        of_processes = generate_latest(registry)
    else:
        of_processes = generate_latest(OF_THIS_PROCESS)
    asked = CollectorRegistry()
    asked.register(_OfDatabase())
    return of_processes + generate_latest(asked)


def forget(process: int) -> None:
    """A worker has ended: what it held is held no more."""
    if FOLDER in os.environ:
        multiprocess.mark_process_dead(process)  # type: ignore[no-untyped-call]
