"""What is answered when everything else has failed: a defect outside the routes is told in our words, or in no words.

Without it the web server would answer with a page of its own, and write the exception's text into its log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request

from clinic import errors, http, logs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger("clinic.http")


class Front:
    """WSGI middleware around the layers that may break."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = []

        def beginning(*head: Any) -> Any:
            begun.append(head)
            return start_response(*head)

        try:
            return self.app(environ, beginning)
        except Exception as error:
            _log.error("a defect outside the routes", extra={"told": logs.failure(error)})
            if begun:
                raise  # an answer that has begun cannot become another one
            return _told(environ, start_response)


def _told(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    request_id = environ["HTTP_X_REQUEST_ID"]
    lang = Request(environ).accept_languages.best_match(http.LANGUAGES, "ru")
    body = http.dumped(errors.InternalError().as_json(lang, request_id))
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Request-Id", request_id),
    ]
    start_response("500 Internal Server Error", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
