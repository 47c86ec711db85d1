"""The price feed's fast way: ready bytes, answered before Flask.

A process keeps the answers of `GET /v1/prices` and gives them as long as the clinic's day and the catalog's version
are the same. One request a second asks for the version, while the others get what there is. With the database away
everything goes on as it was, marked stale. The route alone knows what an answer says; it hands it over by `offer`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import psycopg
from flask import request
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import http_date, parse_accept_header

from catalog import negotiation
from clinic import clock, db, http, observing, security_headers
from clinic.errors import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATHS = frozenset({"/v1/prices", "/v1/prices/"})
KEPT = frozenset({"lang", "on", "from", "until", "category"})
"""Parameters whose answers are kept; searches are too many."""
ASK_EVERY = 1.0
"""Seconds between two questions for the catalog's version."""
FRESH_FOR = 60
"""Seconds others may keep an answer; less when the clinic's midnight is nearer."""
UNDATED_AFTER_MIDNIGHT = timedelta(hours=1)
"""How long after midnight an answer that turned over by itself says no date, see `Answer`."""
_MOST_ENTRIES = 256
_MOST_BYTES = 64 * 2**20
_LONGEST_QUERY = 200
_HANDED = "clinic.price_feed"
_STALE = ("Warning", '110 - "Response is Stale"')
_FOR_ALL_SITES = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "ETag, Last-Modified, X-Request-Id"),
    security_headers.FOR_ALL_SITES,
)
_PREFLIGHT = (
    *_FOR_ALL_SITES,
    ("Access-Control-Allow-Methods", "GET, HEAD"),
    ("Access-Control-Allow-Headers", "If-Modified-Since, If-None-Match, X-Request-Id"),
    ("Access-Control-Max-Age", "86400"),
    ("Allow", "GET, HEAD, OPTIONS"),
)
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    """What the route has made: the body, its type and language, and the date it goes by from some instant on.

    A date must name one content, or a reader would be told that an old price has not changed. A version of the
    catalog has a second of its own. An answer that depends on today changes at midnight too, and then goes by
    midnight; but a change that had begun before it may be seen after it, with a second before it. So for a while
    after midnight such an answer says no date, nor does any answer while its second has not come by our clock.
    """

    body: bytes
    content_type: str
    lang: str
    modified: str
    dated_from: datetime

    @classmethod
    def made(cls, body: bytes, content_type: str, lang: str, changed_at: datetime, midnight: datetime | None) -> Answer:
        """`changed_at` is the second of the catalog's version, `midnight` began the day that the answer depends on."""
        if midnight is None or changed_at > midnight:
            return cls(body, content_type, lang, http_date(changed_at), changed_at)
        return cls(body, content_type, lang, http_date(midnight), midnight + UNDATED_AFTER_MIDNIGHT)


def offer(answer: Answer) -> None:
    """Hand the finished answer of this request to the front."""
    request.environ[_HANDED] = answer


def fresh_for() -> int:
    """Seconds for which others may keep an answer made of prices now."""
    now = clock.now()
    return min(FRESH_FOR, int((clock.midnight_after(now) - now).total_seconds()))


@dataclass(frozen=True)
class _Stamp:
    """What an answer is good for: one version of the catalog on the clinic's day that ends at `midnight`."""

    version: int
    midnight: datetime
    since: datetime = field(compare=False)


class _Variant:
    """An answer in one encoding, with the headers that are always the same."""

    def __init__(self, answer: Answer, encoding: str) -> None:
        body = negotiation.packed(answer.body, encoding)
        self.size = len(body)
        self.body = [body]
        # Of the bytes that are sent: other bytes need another strong ETag, whatever they unpack to.
        self.etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self.unchanged = [
            ("ETag", self.etag),
            ("Content-Language", answer.lang),
            ("Vary", "Accept-Language, Accept, Accept-Encoding"),
            *_FOR_ALL_SITES,
        ]
        self.headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(body))),
            *([("Content-Encoding", encoding)] if encoding != negotiation.PLAIN else []),
            *self.unchanged,
        ]


class _Entry:
    """An answer in every encoding asked for so far: each is made once and given thousands of times."""

    def __init__(self, answer: Answer, stamp: _Stamp) -> None:
        self.stamp = stamp
        self.modified = answer.modified
        self.dated_from = answer.dated_from
        self.used = time.monotonic()
        self._answer = answer
        self._variants: dict[str, _Variant] = {}
        self._packing = {each: threading.Lock() for each in negotiation.ENCODINGS}

    def variant(self, encoding: str) -> _Variant:
        found = self._variants.get(encoding)
        if found is None:
            # Only who wants the very same bytes waits for them.
            with self._packing[encoding]:
                found = self._variants.get(encoding) or _Variant(self._answer, encoding)
                self._variants[encoding] = found
        return found

    @property
    def size(self) -> int:
        return len(self._answer.body) + sum(each.size for each in list(self._variants.values()))


_Key = tuple[str, str, str | None]
"""The query as it stands, the language and the type that the headers ask for."""


class Front:
    """WSGI middleware around the whole application; everything but the price feed goes straight through."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app
        self._entries: dict[_Key, _Entry] = {}
        self._stamp = _Stamp(-1, _LONG_AGO, _LONG_AGO)
        self._away = False
        self._asked_at = float("-inf")
        self._asking = threading.Lock()
        self._making = [threading.Lock() for _ in range(16)]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] in PATHS:
            method = environ["REQUEST_METHOD"]
            environ[observing.ROUTE] = "/v1/prices"
            if method in ("GET", "HEAD"):
                return self._answer(environ, start_response)
            if method == "OPTIONS":
                start_response("204 No Content", [*_PREFLIGHT, ("X-Request-Id", environ["HTTP_X_REQUEST_ID"])])
                return []
        return self.app(environ, start_response)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        now, moment = clock.now(), time.monotonic()
        if not self._stamp.since <= now < self._stamp.midnight:
            self._stamp = _Stamp(self._stamp.version, clock.midnight_after(now), now)
        if moment - self._asked_at >= ASK_EVERY:
            self._ask(moment)
        stamp = self._stamp
        key: _Key = (
            environ.get("QUERY_STRING", ""),
            _language(environ.get("HTTP_ACCEPT_LANGUAGE", "")),
            negotiation.media_type(environ.get("HTTP_ACCEPT", "")),
        )
        if key[2] is None or negotiation.encoding(environ.get("HTTP_ACCEPT_ENCODING")) is None:
            # The reader takes no form that there is: the route says so.
            return self._through(environ, start_response, key, stamp, keep=False)
        entry = self._entries.get(key)
        if entry is None or entry.stamp != stamp:
            return self._make(environ, start_response, key, stamp)
        entry.used = moment
        return self._give(environ, start_response, entry, stale=self._away)

    def _ask(self, moment: float) -> None:
        """Learn the catalog's version. One request at a time does; the others do not wait for it."""
        if not self._asking.acquire(blocking=False):
            return
        try:
            self._asked_at = moment
            version = db.retrying(_version, repeatable=True)
            self._stamp = _Stamp(version, self._stamp.midnight, self._stamp.since)
            self._away = False
        except (Problem, psycopg.Error, RuntimeError):
            self._away = True
        finally:
            self._asking.release()

    def _make(
        self, environ: WSGIEnvironment, start_response: StartResponse, key: _Key, stamp: _Stamp
    ) -> Iterable[bytes]:
        """Have the route make the answer; when it cannot, an old answer is better than none."""
        if not _may_be_kept(key[0]):
            return self._through(environ, start_response, key, stamp, keep=False)
        # One makes it and who wants the same waits a moment; afterwards they find it made.
        making = self._making[hash(key) % len(self._making)]
        alone = making.acquire(timeout=1.0)
        try:
            entry = self._entries.get(key)
            if entry is None or entry.stamp != stamp:
                return self._through(environ, start_response, key, stamp, keep=True)
        finally:
            if alone:
                making.release()
        return self._give(environ, start_response, entry, stale=self._away)

    def _through(
        self, environ: WSGIEnvironment, start_response: StartResponse, key: _Key, stamp: _Stamp, *, keep: bool
    ) -> Iterable[bytes]:
        said: list[Any] = []
        content = self.app(environ, _remember(said))
        if handed := environ.pop(_HANDED, None):
            _close(content)
            entry = _Entry(handed, stamp)
            if keep:
                self._keep(key, entry)
            return self._give(environ, start_response, entry, stale=False)
        status, headers = said
        if status.startswith("503") and (old := self._entries.get(key)):
            _close(content)
            return self._give(environ, start_response, old, stale=True)
        start_response(status, [*headers, *_FOR_ALL_SITES])
        return content

    def _keep(self, key: _Key, entry: _Entry) -> None:
        entries = {**self._entries, key: entry}
        size = sum(each.size for each in entries.values())
        for oldest in sorted(entries, key=lambda each: entries[each].used):
            if len(entries) <= _MOST_ENTRIES and size <= _MOST_BYTES:
                break
            size -= entries.pop(oldest).size
        # Replaced whole: other threads read it without a lock.
        self._entries = entries

    def _give(
        self, environ: WSGIEnvironment, start_response: StartResponse, entry: _Entry, *, stale: bool
    ) -> Iterable[bytes]:
        variant = entry.variant(negotiation.encoding(environ.get("HTTP_ACCEPT_ENCODING")) or negotiation.PLAIN)
        dated = clock.now() >= entry.dated_from
        unchanged = _is_known(environ, variant.etag, entry.modified if dated else None)
        headers = [
            *(variant.unchanged if unchanged else variant.headers),
            ("Cache-Control", self._cache_control()),
            ("X-Request-Id", environ["HTTP_X_REQUEST_ID"]),
        ]
        if dated:
            headers.append(("Last-Modified", entry.modified))
        if stale:
            headers.append(_STALE)
        start_response("304 Not Modified" if unchanged else "200 OK", headers)
        return [] if unchanged or environ["REQUEST_METHOD"] == "HEAD" else variant.body

    def _cache_control(self) -> str:
        left = int((self._stamp.midnight - clock.now()).total_seconds())
        return f"public, max-age={max(0, min(FRESH_FOR, left))}, stale-if-error=86400"


def _version() -> int:
    with db.reading(walled=False) as conn:
        return int(db.value(conn, "SELECT version FROM catalog_version"))


def _may_be_kept(query: str) -> bool:
    return len(query) <= _LONGEST_QUERY and {name for name, _ in parse_qsl(query, keep_blank_values=True)} <= KEPT


@lru_cache(maxsize=512)
def _language(accepted: str) -> str:
    return str(parse_accept_header(accepted, LanguageAccept).best_match(http.LANGUAGES, "ru"))


def _is_known(environ: WSGIEnvironment, etag: str, modified: str | None) -> bool:
    """Whether the reader has this very answer, by If-None-Match, or where it sends none by If-Modified-Since.

    The same date alone will do, not a later one: versions that follow one another within a second have seconds of
    their own, ahead of the clock, so an answer of a later date than ours may well be an older one.
    """
    known = environ.get("HTTP_IF_NONE_MATCH")
    if known is not None:
        return _names(known, etag)
    return modified is not None and environ.get("HTTP_IF_MODIFIED_SINCE") == modified


def _names(known: str, etag: str) -> bool:
    """Whether If-None-Match names `etag`, compared weakly."""
    return (
        known == etag or known.strip() == "*" or etag in {each.strip().removeprefix("W/") for each in known.split(",")}
    )


def _remember(said: list[Any]) -> StartResponse:
    def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None, /) -> Any:
        said[:] = [status, headers]
        return lambda _: None

    return start_response


def _close(content: Any) -> None:
    if hasattr(content, "close"):
        content.close()
