"""The journal's head, published outside: a signed line a day, by which a cut tail or an old backup is noticed.

A chain of hashes proves that no row between its ends was edited or taken out. That its end is the true end only those
can say who were told of it: a file kept elsewhere, and whoever reads the event `journal.published` or gets it by
webhook. A line reads

    clinic-journal 1 2026-11-28T00:00:05Z 12345 <SHA-256 of position 12345> <key> <signature>

and is signed with Ed25519 (RFC 8032). The key follows from CLINIC_SECRET_KEY, so it is the same after a restore; the
public half, which `audit key` shows, is all that is needed to check a line.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clinic import chores, db, ids, journal
from clinic.auth import COMMAND_LINE
from clinic.command import Change, change
from clinic.settings import PASSING, from_environment

_LINE = re.compile(
    r"(clinic-journal 1 ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z) ([0-9]{1,18}) ([0-9a-f]{64}) ([0-9a-f]{16})) (\S{88})",
    re.ASCII,
)


@dataclass(frozen=True)
class Head:
    """What a line says: at this time the journal ended at this position with this hash."""

    at: str
    position: int
    sha256: str


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was published. `position` is the first bad one, where that can be told."""

    position: int | None
    says: str


class Signer:
    """Signs heads with the key that follows from the service's secret."""

    def __init__(self, secret_key: str) -> None:
        seed = HKDF(SHA256(), 32, salt=None, info=b"clinic journal heads").derive(secret_key.encode())
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> str:
        """The public key, base64."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def line(self, head: Head) -> str:
        said = f"clinic-journal 1 {head.at} {head.position} {head.sha256} {_name(self.public)}"
        return f"{said} {base64.b64encode(self._key.sign(said.encode())).decode()}"


def _name(public: str) -> str:
    """A short name of a public key."""
    return hashlib.sha256(base64.b64decode(public)).hexdigest()[:16]


def publish(change: Change, signer: Signer, file: Path | None) -> str:
    """Sign the head, write the line to `file`, and record it for those who read events; returns the line."""
    (position, sha256) = change.conn.execute("SELECT position, encode(sha256, 'hex') FROM journal_head").fetchall()[0]
    line = signer.line(Head(f"{change.at:%Y-%m-%dT%H:%M:%SZ}", position, sha256))
    if file is not None:
        _append(file, line)
    change.record("journal.published", ids.new(), position=position, sha256=sha256, line=line)
    return line


def _append(file: Path, line: str) -> None:
    # One write to the end: two processes at once leave two whole lines.
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        os.write(handle, f"{line}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _publish_daily() -> None:
    settings = from_environment()
    # A secret that lasts for one start only would sign what nobody can check later.
    if settings.secret_key is not None and not settings.secret_key.startswith(PASSING):
        with change(COMMAND_LINE) as made:
            publish(made, Signer(settings.secret_key), settings.audit_file)


chores.every(chores.DAY, "journal_head", _publish_daily)


# ---- Checked ----


def findings(conn: db.Connection, lines: Iterable[str], public: str) -> Iterator[Finding]:
    """What of the journal is not as it is chained and as these lines say; the chain's own break comes first."""
    if (broken := journal.first_break(conn)) is not None:
        yield Finding(broken, f"position {broken} does not follow from the one before")
    length, agreed = journal.length(conn), 0
    for place, line in enumerate((each.strip() for each in lines), 1):
        if not line:
            continue
        head = _read(line, public)
        if head is None:
            yield Finding(None, f"line {place} of the published heads was not signed with this key")
        elif head.position > length:
            yield Finding(length + 1, f"the journal ends at {length}; on {head.at} it ended at {head.position}")
        elif not _agrees(conn, head):
            yield Finding(agreed + 1, f"what was published on {head.at} of position {head.position} is another journal")
        else:
            agreed = max(agreed, head.position)


def _read(line: str, public: str) -> Head | None:
    match = _LINE.fullmatch(line)
    if match is None or match[5] != _name(public):
        return None
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public))
        key.verify(base64.b64decode(match[6]), match[1].encode())
    except (InvalidSignature, ValueError):
        return None
    return Head(match[2], int(match[3]), match[4])


def _agrees(conn: db.Connection, head: Head) -> bool:
    if head.position == 0:
        return True
    found = db.value(
        conn,
        "SELECT encode(sha256, 'hex') FROM journal WHERE position = %(position)s::bigint",
        {"position": head.position},
    )
    return bool(found == head.sha256)
