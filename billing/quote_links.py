"""Links: an address under which a patient reads his quote at home, without signing in.

The address has 192 random bits, of which only the SHA-256 is kept: it is shown once, when it is made. It opens one
revision of one quote for reading until its last day, or until it is revoked, and opens nothing of a draft.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, replace
from datetime import date as Date
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing import quote_verification, quotes
from billing.quotes import Quote, QuoteLine
from clinic import access_log, branches, db, errors, fields, ids, limits
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, NotFound
from clinic.limits import Limit

MISSES = Limit("quote_link", 20, timedelta(minutes=10))
"""Addresses of no link that may be tried from one place."""
_SHORTEST = timedelta(days=30)
_LONGEST = timedelta(days=366)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}", re.ASCII)
_SHOWN = ("sent", "accepted", "invoiced", "declined", "expired", "superseded")
"""States in which a quote is shown: a draft never was, and a cancelled one is no more."""

errors.describe(
    {
        "link_too_long": ("Ссылка действует не дольше года.", "A link is valid for a year at most."),
    }
)


class QuoteLinkIn(fields.Shape):
    """A link to the newest revision, or to the one that must be the newest."""

    expires_on = fields.Day(
        load_default=None, allow_none=True,
        metadata={"description": "the last day; by default the quote's, and thirty days at least"},
    )  # fmt: skip
    revision = fields.Whole(1, 100_000, load_default=None, allow_none=True)


class QuoteLinkOut(ma.Schema):
    """A link; `url` is in the answer that makes it and in no other."""

    id = ma.fields.UUID(required=True)
    quote = ma.fields.UUID(required=True)
    revision = ma.fields.Integer(required=True)
    state = ma.fields.String(required=True, metadata={"enum": ["open", "revoked", "ended"]})
    url = ma.fields.String(required=True, allow_none=True)
    expires_on = ma.fields.Date(required=True)
    created_at = ma.fields.DateTime(required=True)
    created_by = ma.fields.String(required=True)
    revoked_at = ma.fields.DateTime(required=True, allow_none=True)
    revoked_by = ma.fields.String(required=True, allow_none=True)


class QuoteLinksOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(QuoteLinkOut), required=True)


@dataclass(frozen=True)
class QuoteLink:
    """A link as it is kept: without the address."""

    id: UUID
    quote_id: UUID
    revision: int
    expires_on: Date
    created_at: datetime
    created_by: str
    revoked_at: datetime | None
    revoked_by: str | None

    def state(self, today: Date) -> str:
        if self.revoked_at is not None:
            return "revoked"
        return "open" if today <= self.expires_on else "ended"

    def as_json(self, today: Date, url: str | None = None) -> dict[str, Any]:
        return {
            "id": self.id,
            "quote": self.quote_id,
            "revision": self.revision,
            "state": self.state(today),
            "url": url,
            "expires_on": self.expires_on,
            "created_at": self.created_at,
            "created_by": self.created_by,
            "revoked_at": self.revoked_at,
            "revoked_by": self.revoked_by,
        }


def create(change: Change, quote_id: UUID, wanted: dict[str, Any]) -> tuple[QuoteLink, str]:
    """A new link to the quote's newest revision, and the path of its address, which nobody is told again.

    Raises:
        NotFound: there is no such quote, or the caller does not see its branch.
        QuoteNotOpen: it is a draft or cancelled, or another revision is the newest.
        InvalidInput: the last day is over, or too far away.
    """
    quote = quotes.locked(change.conn, change.actor, quote_id, wanted["revision"])
    quote.must_be(*_SHOWN)
    expires_on = wanted["expires_on"] or max(quote.valid_until, change.today + _SHORTEST)
    if wanted["expires_on"]:
        _must_be_near(expires_on, change.today)
    token = secrets.token_urlsafe(24)
    link = QuoteLink(
        ids.new(), quote.id, quote.revision, expires_on, change.at, change.actor.label, None, None,
    )  # fmt: skip
    change.conn.execute(
        """
        INSERT INTO quote_link (id, quote_id, revision, token_sha256, expires_on, created_at, created_by)
        VALUES (%(id)s::uuid, %(quote_id)s::uuid, %(revision)s::int, %(token)s::bytea, %(expires_on)s::date,
                %(created_at)s::timestamptz, %(created_by)s::text)
        """,
        vars(link) | {"token": _digest(token)},
    )
    change.record(
        "quote_link.created", link.id, quote.branch_id,
        quote=quote.id, revision=quote.revision, expires_on=expires_on.isoformat(),
    )  # fmt: skip
    return link, f"/q/{token}"


def _must_be_near(expires_on: Date, today: Date) -> None:
    if expires_on < today:
        raise InvalidInput([Fault("/expires_on", "end_passed")])
    if expires_on > today + _LONGEST:
        raise InvalidInput([Fault("/expires_on", "link_too_long")])


def of_quote(conn: db.Connection, actor: Actor, quote_id: UUID) -> list[QuoteLink]:
    """The links of a quote, newest first.

    Raises:
        NotFound: there is no such quote, or the caller does not see its branch.
    """
    quotes.get(conn, actor, quote_id)
    return db.many(
        conn,
        QuoteLink,
        """
        SELECT id, quote_id, revision, expires_on, created_at, created_by, revoked_at, revoked_by
          FROM quote_link WHERE quote_id = %(quote)s::uuid ORDER BY id DESC
        """,
        {"quote": quote_id},
    )


def revoke(change: Change, quote_id: UUID, link_id: UUID) -> QuoteLink:
    """Close a link for good; one that is closed stays as it is.

    Raises:
        NotFound: there is no such link, or the caller does not see its branch.
    """
    quote = quotes.get(change.conn, change.actor, quote_id)
    link = db.find(
        change.conn,
        QuoteLink,
        """
        SELECT id, quote_id, revision, expires_on, created_at, created_by, revoked_at, revoked_by
          FROM quote_link WHERE id = %(id)s::uuid AND quote_id = %(quote)s::uuid FOR UPDATE
        """,
        {"id": link_id, "quote": quote_id},
    )
    if link is None:
        raise NotFound()
    if link.revoked_at is not None:
        return link
    revoked = replace(link, revoked_at=change.at, revoked_by=change.actor.label)
    change.conn.execute(
        """
        UPDATE quote_link SET revoked_at = %(revoked_at)s::timestamptz, revoked_by = %(revoked_by)s::text
         WHERE id = %(id)s::uuid
        """,
        vars(revoked),
    )
    change.record("quote_link.revoked", link.id, quote.branch_id, quote=quote_id, revision=link.revision)
    return revoked


# ---- For whoever has the address ----


@dataclass(frozen=True)
class Shown:
    """What the patient sees of his quote."""

    quote: Quote
    lines: list[QuoteLine]
    fingerprint: str
    requisites: dict[str, Any] | None


@dataclass(frozen=True)
class _Opened:
    id: UUID
    quote_id: UUID
    revision: int


def opened(token: str, address: str, today: Date, request_id: str) -> Shown:
    """The quote that this address opens; its reading is noted as a stranger's.

    One answer for what never was, is revoked, has ended or shows nothing any more, so that nothing is told by it. Call
    it while no transaction is open.

    Raises:
        NotFound: the address opens nothing.
        TooManyRequests: too many such addresses were tried from here.
    """
    place = limits.of_address(address)
    limits.must_have_room(MISSES, place)
    if _TOKEN.fullmatch(token):
        # Who has the link sees the quote, of whichever branch it is.
        with db.seeing(None), db.transaction() as conn:
            found = _shown(conn, token, today, request_id)
        if found is not None:
            return found
    limits.take(MISSES, place)
    raise NotFound()


def _shown(conn: db.Connection, token: str, today: Date, request_id: str) -> Shown | None:
    link = db.find(
        conn,
        _Opened,
        """
        SELECT link.id, link.quote_id, link.revision
          FROM quote_link AS link
          JOIN quote_revision AS revision USING (quote_id, revision)
          LEFT JOIN party ON party.id = revision.patient_party
         WHERE link.token_sha256 = %(token)s::bytea AND link.revoked_at IS NULL AND link.expires_on >= %(today)s::date
           AND party.erased_at IS NULL
        """,
        {"token": _digest(token), "today": today},
    )
    quote = link and quotes.at_revision(conn, link.quote_id, link.revision)
    if not link or not quote or quote.status not in _SHOWN:
        return None
    lines = quotes.lines_of(conn, [quote])[quote.id]
    if not lines:
        return None  # purged between two statements
    access_log.note(conn, f"stranger:{link.id}", "read", "quote", [quote.id], request_id)
    requisites = branches.of_id(conn, quote.branch_id).requisites
    return Shown(quote, lines, quote_verification.fingerprint(conn, quote), requisites)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
