"""The web server's worker. What reaches no application, since it is no request, is refused here in our own form.

gunicorn's own answer is a page that repeats what was sent, and its line in the log does so too.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import ThreadWorker

from clinic import logs, security_headers
from clinic.errors import InternalError, Problem, UnreadableRequest

_STATUS = {
    http_errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    http_errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    http_errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    http_errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}
_OURS = (
    http_errors.InvalidResponseHeader, http_errors.InvalidResponseHeaderName, http_errors.ConfigurationProblem,
)  # fmt: skip
"""What the reader of requests raises too, though no caller is to blame."""
_log = logging.getLogger("clinic.http")


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker with threads."""

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer in place of the application, which has not been asked, or has failed before its own refusal."""
        if isinstance(exc, http_errors.ParseException) and not isinstance(exc, _OURS):
            logs.request.set(logs.Request(secrets.token_hex(8)))  # in place of the one this thread served before
            # Neither the caller's address nor his words: what he sends may be a key or a name.
            _log.warning("refused what is no request", extra={"told": {"fault": type(exc).__name__}})
            answer = self._refusal(UnreadableRequest(), _STATUS.get(type(exc), HTTPStatus.BAD_REQUEST))
        else:
            _log.error("a defect", extra={"told": logs.failure(exc)})
            answer = self._refusal(InternalError(), HTTPStatus.INTERNAL_SERVER_ERROR)
        with suppress(OSError):
            util.write_nonblock(client, answer)

    def _refusal(self, problem: Problem, status: HTTPStatus) -> bytes:
        """The whole answer, after which the connection ends; in Russian, since no language was read."""
        of = logs.request.get()
        request_id = of.id if of else secrets.token_hex(8)
        body = json.dumps(problem.as_json("ru", request_id) | {"status": int(status)}, ensure_ascii=False).encode()
        headers = [
            ("Connection", "close"),
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(body))),
            ("Content-Language", "ru"),
            ("Cache-Control", "no-store"),
            ("X-Request-Id", request_id),
            *security_headers.of(over_https=self.wsgi.config["CLINIC"].over_https),
        ]
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {text}" for name, text in headers), "", ""]
        return "\r\n".join(lines).encode() + body
