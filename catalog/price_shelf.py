"""Finished price files of this process, so that the same list is not laid out again for every reader."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from flask import Response

from catalog import price_writing
from catalog.price_sheets import PriceSheet
from catalog.price_writing import File
from clinic.errors import TooManyRequests

_MOST_FILES = 32
_MOST_BYTES = 64 * 2**20
_PATIENCE = 2.0
"""Seconds a reader waits while another large file is being made."""


@dataclass(frozen=True)
class Ready:
    """A file with its strong ETag."""

    file: File
    etag: str

    @classmethod
    def of(cls, file: File) -> Ready:
        return cls(file, hashlib.sha256(file.content).hexdigest()[:32])

    def response(self) -> Response:
        """To be kept under its name by who asked for it."""
        response = Response(self.file.content, content_type=self.file.type)
        # The plain name for old programs, the other for those that know RFC 5987.
        name = self.file.name
        response.headers["Content-Disposition"] = f"attachment; filename=\"{name}\"; filename*=UTF-8''{quote(name)}"
        response.set_etag(self.etag)
        return response


_files: OrderedDict[str, Ready] = OrderedDict()
_guard = threading.Lock()
_making = threading.Lock()


def ready(sheet: PriceSheet, format: str, lang: str, encoding: str = "utf-8") -> Ready:
    """The list as a file; made now unless it was made before of the same facts.

    Raises:
        TooManyRequests: others are being made, one at a time: a PDF of a large list keeps a processor busy.
    """
    key = _key(sheet, format, lang, encoding)
    if found := _taken(key):
        return found
    with _alone():
        if found := _taken(key):
            return found
        made = Ready.of(price_writing.written(sheet, format, lang, encoding))
        _put(key, made)
        return made


def _key(sheet: PriceSheet, *how: str) -> str:
    """A digest of everything that the file is made from."""
    return hashlib.sha256(f"{how}{sheet}".encode()).hexdigest()


def _taken(key: str) -> Ready | None:
    with _guard:
        if key in _files:
            _files.move_to_end(key)
        return _files.get(key)


def _put(key: str, made: Ready) -> None:
    with _guard:
        _files[key] = made
        while len(_files) > _MOST_FILES or sum(len(each.file.content) for each in _files.values()) > _MOST_BYTES:
            _files.popitem(last=False)


@contextmanager
def _alone() -> Iterator[None]:
    if not _making.acquire(timeout=_PATIENCE):
        raise TooManyRequests()
    try:
        yield
    finally:
        _making.release()
