"""What every answer tells browsers they may not do with it; the only place that says so.

It is said by the layer around the application, so that whatever answers says it: routes, pages, files, refusals, and
the price feed's answers from memory. An answer that needs other words brings them; the layer adds what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CONTENT_POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
FOR_ALL_SITES = ("Cross-Origin-Resource-Policy", "cross-origin")
"""In place of ours, beside CORS: other sites may show this answer."""
_USUAL = (
    ("Content-Security-Policy", CONTENT_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # No page of ours uses any of these; neither may what somebody gets into one.
    (
        "Permissions-Policy",
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), serial=(), usb=()",
    ),
)
_OVER_HTTPS = ("Strict-Transport-Security", "max-age=31536000")


def of(*, over_https: bool) -> list[tuple[str, str]]:
    """The headers of an answer that brings none of them.

    Browsers are told to come by https only where the public address is an https one.
    """
    return [*_USUAL, *([_OVER_HTTPS] if over_https else [])]


class Front:
    """WSGI middleware that adds to every answer the headers it does not bring itself."""

    def __init__(self, app: WSGIApplication, *, over_https: bool) -> None:
        self.app = app
        self._headers = [(each[0].lower(), each) for each in of(over_https=over_https)]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def guarded(status: str, headers: list[tuple[str, str]], *failure: Any) -> Any:
            brought = {name.lower() for name, _ in headers}
            missing = [header for name, header in self._headers if name not in brought]
            return start_response(status, headers + missing, *failure)

        return self.app(environ, guarded)
