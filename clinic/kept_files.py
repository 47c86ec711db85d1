"""Files that a person's form has brought, kept for an hour: looked through first, loaded then, chosen once.

Each is given back to nobody but whom it came from. Of each person the three newest are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from flask import request

from clinic import chores, db, errors, forms, http, ids, uploads
from clinic.errors import Fault, InvalidInput

LARGEST_FORM = uploads.LARGEST + 12 * 2**20
"""Bytes of a form that is read at all: of a file somewhat too large the rest of the form is not lost."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)

errors.describe(
    {
        "no_file": ("Выберите файл.", "Choose a file."),
        "upload_too_large": (
            "Файл больше 20 МиБ. Разделите его или сохраните без картинок.",
            "The file has more than 20 MiB. Divide it, or save it without pictures.",
        ),
        "file_gone": (
            "Файл хранится час, и этот час прошёл: выберите его снова.",
            "A file is kept for an hour, and the hour is over: choose it again.",
        ),
    }
)


@dataclass(frozen=True)
class Brought:
    """A file, and the id by which a further form of the same person finds it again."""

    id: UUID
    content: bytes


def brought() -> Brought:
    """The file that this request's form has brought in its field `file`, or names by its field `kept`.

    Raises:
        InvalidInput: there is none, it is too large, or it is kept no longer.
    """
    sent = request.files.get("file")
    if sent is None or not sent.filename:
        return _kept(request.form.get("kept", ""))
    content = sent.read(uploads.LARGEST + 1)
    if len(content) > uploads.LARGEST:
        raise too_large()
    if not content:
        raise InvalidInput([Fault("/file", "no_file")])
    return _keep(content)


def too_large() -> InvalidInput:
    """The refusal of a file that is not read to its end."""
    return InvalidInput([Fault("/file", "upload_too_large")])


def swallow() -> None:
    """Read what a form too large still sends: a browser that cannot send everything shows no answer."""
    stream, left = request.environ["wsgi.input"], 8 * LARGEST_FORM
    while left > 0 and (part := stream.read(min(left, 2**20))):
        left -= len(part)


def _keep(content: bytes) -> Brought:
    kept = Brought(ids.new(), content)
    with forms.change() as change:
        change.conn.execute(
            """
            INSERT INTO kept_file (id, actor, content) VALUES (%(id)s::uuid, %(actor)s::text, %(content)s::bytea)
            """,
            {"id": kept.id, "actor": change.actor.label, "content": content},
        )
        change.conn.execute("SELECT kept_file_purge()")
    return kept


def _kept(named: str) -> Brought:
    if not _UUID.fullmatch(named):
        raise InvalidInput([Fault("/file", "no_file")])
    with db.reading() as conn:
        found = db.find(
            conn,
            Brought,
            """
            SELECT id, content
              FROM kept_file
             WHERE id = %(id)s::uuid AND actor = %(actor)s::text AND kept_at > now() - interval '1 hour'
            """,
            {"id": UUID(named), "actor": http.actor().label},
        )
    if found is None:
        raise InvalidInput([Fault("/file", "file_gone")])
    return found


def purge() -> int:
    """Forget files that are kept no longer; returns how many."""
    with db.transaction() as conn:
        return int(db.value(conn, "SELECT kept_file_purge()"))


chores.every(chores.HOUR, "kept_file_purge", purge)
