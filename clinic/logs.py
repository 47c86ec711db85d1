"""The log: one JSON object a line on standard error, with the id of the request it belongs to.

No line holds what a person typed: no names, phones, bodies, query strings or tokens, also when something breaks. So a
failure is told by its type and place, never by its text, and of what libraries put into their words only numbers are
kept. Only what keeps the server from starting is told whole: nobody has asked anything then.
"""

from __future__ import annotations

import logging
import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from clinic import tracing

_OURS = "clinic"
_SERVER = "gunicorn.error"
_QUIET = {"psycopg.pool": logging.ERROR}
"""It tells of each connection it tries; that the database is away is said once by whoever needs it."""


@dataclass(frozen=True)
class Request:
    """Which request a line belongs to."""

    id: str
    trace: tracing.Context | None = None


request: ContextVar[Request | None] = ContextVar("request", default=None)
"""The request this thread serves, or served last: a server's own words about it come after its end."""


class Lines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if (of := request.get()) is not None:
            line["request_id"] = of.id
            if of.trace is not None:
                line["trace_id"] = of.trace.trace_id
        line |= getattr(record, "told", {})
        if record.exc_info and (error := record.exc_info[1]) is not None:
            line |= failure(error)
            if request.get() is None and record.name == _SERVER:
                line["text"] = str(error)
        return orjson.dumps(line, default=str).decode()


def _message(record: logging.LogRecord) -> str:
    if record.name.split(".")[0] == _OURS:
        return record.getMessage()
    args = record.args if isinstance(record.args, tuple) else ()
    try:
        return str(record.msg) % tuple(each if isinstance(each, int | float) else "…" for each in args)
    except (TypeError, ValueError):
        return str(record.msg)


def failure(error: BaseException) -> dict[str, str]:
    """Type and place of a failure, for `extra={"told": …}`. Its text may hold a person's name."""
    return {"error": type(error).__name__, "where": "".join(traceback.format_tb(error.__traceback__))}


def set_up() -> None:
    """Write this process's log as lines of JSON; what it has set up before is replaced."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(logging.INFO)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def for_gunicorn() -> dict[str, Any]:
    """gunicorn's own words, in the same form: its setting `logconfig_dict`."""
    plain = {"level": "WARNING", "handlers": ["lines"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": Lines}},
        "handlers": {"lines": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"level": "WARNING", "handlers": ["lines"]},
        "loggers": {
            _SERVER: plain,
            "gunicorn.access": plain,
            _OURS: {"level": "INFO"},
            **{name: {"level": level} for name, level in _QUIET.items()},
        },
    }
