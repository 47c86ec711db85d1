"""Files that come with a request: multipart/form-data, read whole into memory within a limit."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from typing import IO, Any, cast

import flask
from flask import g, request

from clinic import errors, fields
from clinic.errors import InvalidInput

LARGEST = 20 * 2**20
"""Bytes a body may have, all its parts together."""
_UNREADABLE = object()


class Request(flask.Request):
    """A request whose files stay in memory: their size has a limit, and no disk is needed."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()


def parts() -> dict[str, Any]:
    """The parts of this request's body by their names, read once: texts, and files as bytes.

    Raises:
        UnsupportedMediaType: the body is of another type.
        InvalidInput: a part is there twice.
    """
    if "parts" not in g:
        g.parts = _read()
    return cast(dict[str, Any], g.parts)


def digests() -> dict[str, Any]:
    """The same with each file by its SHA-256, to tell one request from another."""
    return {
        name: {"sha256": hashlib.sha256(part).hexdigest()} if isinstance(part, bytes) else part
        for name, part in parts().items()
    }


def _read() -> dict[str, Any]:
    if request.mimetype != "multipart/form-data":
        raise errors.UnsupportedMediaType()
    found: list[tuple[str, Any]] = [(name, _readable(text)) for name, text in request.form.items(multi=True)]
    # Browsers send a file without a name where none was chosen.
    found += [(name, file.read()) for name, file in request.files.items(multi=True) if file.filename]
    if twice := sorted(name for name, times in Counter(name for name, _ in found).items() if times > 1):
        raise InvalidInput(fields.faults_in(dict.fromkeys(twice, "repeated_parameter")))
    return dict(found)


def _readable(text: str) -> Any:
    # This mark is put where bytes were no UTF-8. No field takes what stands in the text's place then.
    return _UNREADABLE if "\ufffd" in text else text
