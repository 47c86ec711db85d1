"""Which form of an answer a reader takes: its type and its compression, by the q-values of RFC 9110, section 12."""

from __future__ import annotations

import gzip
from functools import lru_cache

import brotli
from werkzeug.datastructures import Accept, MIMEAccept
from werkzeug.http import parse_accept_header

JSON, CSV = "application/json", "text/csv"
BROTLI, GZIP, PLAIN = "br", "gzip", "identity"
ENCODINGS = (BROTLI, GZIP, PLAIN)
_BROTLI_QUALITY = 6
_GZIP_LEVEL = 6


@lru_cache(maxsize=512)
def media_type(accepted: str) -> str | None:
    """What of JSON and CSV the reader likes better, JSON when both are the same to it; None when it takes neither."""
    if not accepted.strip():
        return JSON
    likes = parse_accept_header(accepted, MIMEAccept)
    # The nearest name counts, not the best number: «text/csv;q=0, */*» does not want CSV.
    asked = {each: _quality_of_type(likes, each) for each in (JSON, CSV)}
    best = max(asked, key=lambda each: asked[each])
    return best if asked[best] > 0 else None


def _quality_of_type(likes: MIMEAccept, wanted: str) -> float:
    known = dict(reversed(list(likes)))
    for name in (wanted, f"{wanted.partition('/')[0]}/*", "*/*"):
        for given, quality in known.items():
            if given.partition(";")[0].strip().lower() == name:
                return quality
    return 0.0


@lru_cache(maxsize=512)
def encoding(accepted: str | None) -> str | None:
    """The compression to send, by the header Accept-Encoding; None when the reader takes no form that there is.

    What it likes best, of equals the smallest. Plain bytes are sent to whoever sends no such header, and last of all
    to whoever does not refuse them.
    """
    if accepted is None:
        return PLAIN
    known = {name.lower(): quality for name, quality in reversed(list(parse_accept_header(accepted, Accept)))}
    known = {name.replace("x-gzip", GZIP): quality for name, quality in known.items()}
    others = known.get("*", 0.0)
    likes = {name: known.get(name, others) for name in (BROTLI, GZIP)}
    if PLAIN in known:
        likes[PLAIN] = known[PLAIN]
    best = max(likes, key=lambda name: likes[name])
    if likes[best] > 0:
        return best
    refused = PLAIN in known or ("*" in known and not others)
    return None if refused else PLAIN


def packed(body: bytes, into: str) -> bytes:
    """`body` in an encoding. Both libraries let other threads work meanwhile."""
    if into == BROTLI:
        found: bytes = brotli.compress(body, mode=brotli.MODE_TEXT, quality=_BROTLI_QUALITY)
        return found
    return gzip.compress(body, _GZIP_LEVEL, mtime=0) if into == GZIP else body
