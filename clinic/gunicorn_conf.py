"""The web server's settings. Used by `serve`, and by `gunicorn -c python:clinic.gunicorn_conf wsgi:app` on its own."""

from __future__ import annotations

import os
import select
import shutil
import tempfile
from typing import Any

from clinic import logs
from clinic import settings as clinic_settings
from clinic.server import GATE

_settings = clinic_settings.from_environment()

bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = "clinic.web_worker.Worker"  # gthread
workers = _settings.workers
threads = _settings.threads
timeout = 30
graceful_timeout = 20
keepalive = 5
backlog = 512
limit_request_line = 4094
limit_request_fields = 60
forwarded_allow_ips = ""  # who called, and how, is read by `clinic.proxies` and the settings alone
max_requests = 0  # renewing workers lifted the slowest answers fourfold
# The workers' sign of life is a file: on a slow disk it would stop them. gunicorn makes one of its own there.
_MEMORY = "/dev/shm"  # nosec B108
worker_tmp_dir = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None
# By default all instances of a user would share one socket in the home folder.
control_socket_disable = True
accesslog = None
loglevel = "warning"
logconfig_dict = logs.for_gunicorn()
if _settings.metrics_token:
    # The library looks for it when it is first loaded: the workers' figures add up in this folder.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="clinic-metrics-", dir=worker_tmp_dir)

_gate = int(os.environ.pop(GATE, "-1"))
_cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pre_fork(server: Any, worker: Any) -> None:
    """Choose the core fewest other workers run on; a worker that replaces a dead one gets the core left free."""
    if _settings.pin_workers and _cores:
        taken = [each.core for each in server.WORKERS.values()]
        worker.core = min(_cores, key=taken.count)


def post_fork(_server: Any, worker: Any) -> None:
    if _settings.pin_workers and _cores:
        os.sched_setaffinity(0, {worker.core})


def post_worker_init(worker: Any) -> None:
    """With the application loaded: wait until `serve` says the database is ready, then open the pool."""
    from clinic import db, metrics, pool, tracing

    _wait_at_gate(worker)
    if _settings.database_url is None:
        raise RuntimeError("DATABASE_URL is needed when the web server is started without `serve`")
    db.open_pool(_settings.database_url, size=_settings.threads)
    tracing.set_up(_settings.otlp_url)
    if _settings.metrics_token:
        pool.watch(metrics.PoolFigures())


def worker_exit(_server: Any, _worker: Any) -> None:
    from clinic import db

    db.close_pool()


def child_exit(_server: Any, worker: Any) -> None:
    if _settings.metrics_token:
        from clinic import metrics

        metrics.forget(worker.pid)


def on_exit(_server: Any) -> None:
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        shutil.rmtree(folder, ignore_errors=True)


def _wait_at_gate(worker: Any) -> None:
    # The pipe is readable once its other end is closed, and stays so for workers that come later.
    while _gate >= 0 and worker.alive and not select.select([_gate], [], [], 1.0)[0]:
        worker.notify()
