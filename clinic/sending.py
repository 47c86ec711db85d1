"""One message to one URL: five seconds in all, no redirect, no proxy, and little of the answer.

The connection is made by hand to an address that was looked at, so that no library resolves the name again. The time
is kept by cutting the socket: a receiver that sends a byte now and then would outlive any time-out of single reads.
"""

from __future__ import annotations

import functools
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from clinic import addresses
from clinic.addresses import Allowed, NotAllowed, Target

WITHIN = 5.0
"""Seconds for resolving, connecting, sending and the answer together."""
MOST_READ = 64 * 1024
_ONE_ADDRESS = 2.0
_LONGEST_WAIT = 24 * 3600


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt. Of the answer nothing is kept but its status and when to come again."""

    status: int | None
    error: str | None
    milliseconds: int
    retry_after: int | None = None
    """Seconds, a day at most."""

    @property
    def is_delivered(self) -> bool:
        return self.error is None

    @property
    def is_gone(self) -> bool:
        """Whether the receiver says it wants nothing any more."""
        return self.status == 410


def post(url: str, headers: Mapping[str, str], body: bytes, ours: Allowed, now: datetime) -> Outcome:
    """Send `body` once; `now` is what a date of Retry-After is counted from. Never raises."""
    began = time.monotonic()
    status, error, retry_after = None, None, None
    try:
        target = addresses.target(url, ours, within=WITHIN)
        status, retry_after = _asked(target, headers, body, began + WITHIN)
        error = _refusal(status)
    except NotAllowed as exc:
        error = exc.code
    except (OSError, http.client.HTTPException, ValueError) as exc:
        error = "timed_out" if time.monotonic() >= began + WITHIN - 0.05 else _failure(exc)
    return Outcome(status, error, round((time.monotonic() - began) * 1000), _seconds(retry_after, now))


def _refusal(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return "redirected" if 300 <= status < 400 else "refused"


def _failure(exc: Exception) -> str:
    match exc:
        case ssl.SSLError():
            return "tls_failed"
        case TimeoutError():
            return "timed_out"
        case http.client.HTTPException() | ValueError():
            return "bad_answer"
        case _:
            return "no_connection"


def _asked(target: Target, headers: Mapping[str, str], body: bytes, until: float) -> tuple[int, str | None]:
    with _connected(target, until) as raw, _cut_at(until, raw):
        stream = _context().wrap_socket(raw, server_hostname=target.name) if target.secure else raw
        with stream:
            connection = http.client.HTTPConnection(target.name, target.port)
            connection.sock = stream
            connection.request("POST", target.path, body, {"Host": target.authority, **headers})
            answer = connection.getresponse()
            if time.monotonic() >= until:
                raise TimeoutError("the head was cut short")  # which the library takes for its end
            # It has said what became of the message; that it also says it all, and well, is not asked.
            with suppress(OSError, http.client.HTTPException, ValueError):
                answer.read(MOST_READ)
            return answer.status, answer.headers.get("Retry-After")


@functools.cache
def _context() -> ssl.SSLContext:
    """Certificates are checked against the system's authorities (SSL_CERT_FILE names others), hosts by their name."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextmanager
def _connected(target: Target, until: float) -> Iterator[socket.socket]:
    """A connection to the first address that takes one."""
    last: OSError = TimeoutError("no time is left")
    for address in target.addresses:
        left = until - time.monotonic()
        if left <= 0:
            break
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        raw = socket.socket(family, socket.SOCK_STREAM)
        try:
            raw.settimeout(min(left, _ONE_ADDRESS) if len(target.addresses) > 1 else left)
            raw.connect((address, target.port))
            raw.settimeout(left)
        except OSError as exc:
            raw.close()
            last = exc
            continue
        with raw:
            yield raw
        return
    raise last


@contextmanager
def _cut_at(until: float, raw: socket.socket) -> Iterator[None]:
    """Shut the socket down when the time is over, whatever it is doing then."""
    with raw.dup() as ours:

        def cut() -> None:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, until - time.monotonic()), cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _seconds(retry_after: str | None, now: datetime) -> int | None:
    """Retry-After (RFC 9110, section 10.2.3) in seconds; what is neither a number nor a date is passed over."""
    if retry_after is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", retry_after.strip(), re.ASCII):
        return min(int(retry_after), _LONGEST_WAIT)
    try:
        wait = (parsedate_to_datetime(retry_after) - now).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(0, int(wait)), _LONGEST_WAIT)
