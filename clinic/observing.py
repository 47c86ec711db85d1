"""The outermost layer: gives each request its id, and tells log, figures and traces of each answer.

What is told is the rule of the address, never the address: a search or a link's secret may stand in it.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinic import logs, metrics, tracing

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROUTE = "clinic.route"
"""Where in the WSGI environment an answer notes the rule of its address."""
ACTOR = "clinic.actor"
"""Where it notes who asked, as the journal names him."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNTOLD = frozenset({"/v1/prices", "/health/live", "/health/ready", "/metrics", "/static/<path:filename>"})
"""Asked many times a minute by machines: told of only when they fail."""
_log = logging.getLogger("clinic.requests")


@dataclass(frozen=True)
class Observed:
    """What is told: lines of the log, and figures."""

    logged: bool
    measured: bool


class Front:
    """WSGI middleware around everything else."""

    def __init__(self, app: WSGIApplication, observed: Observed) -> None:
        self.app = app
        self.observed = observed

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = time.monotonic()
        trace = tracing.read(environ.get("HTTP_TRACEPARENT"))
        request_id = _request_id(environ.get("HTTP_X_REQUEST_ID"), trace)
        # Whatever was sent: from here on it is an id of the right form.
        environ["HTTP_X_REQUEST_ID"] = request_id
        logs.request.set(logs.Request(request_id, trace))
        status = [500]
        with tracing.serving(trace) as span:
            try:
                content = self.app(environ, _noting(start_response, status))
            finally:
                tracing.describe(span, *_span(environ, status[0]), failed=status[0] >= 500)
                self._tell(environ, status[0], time.monotonic() - began)
        return content

    def _tell(self, environ: WSGIEnvironment, status: int, seconds: float) -> None:
        route, method = _route(environ), _method(environ)
        if self.observed.measured:
            metrics.answered(method, route, status, seconds)
        if self.observed.logged and (status >= 500 or route not in _UNTOLD):
            told = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
            if actor := environ.get(ACTOR):
                told["actor"] = actor
            _log.info("answered", extra={"told": told})


def _request_id(given: str | None, trace: tracing.Context | None) -> str:
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return trace.trace_id if trace else secrets.token_hex(8)


def _route(environ: WSGIEnvironment) -> str:
    return str(environ.get(ROUTE, "none"))


def _method(environ: WSGIEnvironment) -> str:
    method = environ["REQUEST_METHOD"]
    return method if method in _METHODS else "other"


def _span(environ: WSGIEnvironment, status: int) -> tuple[str, dict[str, Any]]:
    method, route = _method(environ), _route(environ)
    named = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
    return f"{method} {route}", named | {"clinic.request_id": environ["HTTP_X_REQUEST_ID"]}


def _noting(start_response: StartResponse, status: list[int]) -> StartResponse:
    def noting(line: str, headers: list[tuple[str, str]], *failure: Any) -> Any:
        status[0] = int(line[:3])
        return start_response(line, headers, *failure)

    return noting
