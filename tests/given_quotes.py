"""Quotes that were handed out, and links to them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import psycopg

from clinic.embedded import Urls
from tests.given import Caller, made

NAME = "Иванова-Канарейкина"


def sent(clinic: Caller, *lines: tuple[str, str | None] | dict[str, Any], **more: Any) -> Any:
    """A quote for a person that was sent, of a consultation and a scan unless lines are given, as JSON."""
    wanted = lines or (("ONC-CONS-1", "none"), ("CT-ABD-RP-BOLUS", None))
    quote = clinic.quote(*wanted, **{"patient": {"id": "P-7", "name": NAME}, **more})
    return made(clinic.post(f"/v1/quotes/{quote['id']}/send"))


def link(clinic: Caller, quote: Any, **more: Any) -> Any:
    """A new link to this quote, as JSON."""
    return made(clinic.post(f"/v1/quotes/{quote['id']}/links", more))


def path(link: Any) -> str:
    """What a browser asks for."""
    return str(urlsplit(link["url"]).path)


def aged(urls: Urls, quote: Any, days: int) -> Any:
    """The quote as if its last day had been so many days ago: no other hand than the database's owner's can do that."""
    with psycopg.connect(urls.owner) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute(
            """
            UPDATE quote_revision SET date = current_date - %(days)s::int, valid_until = current_date - %(days)s::int
             WHERE quote_id = %(id)s
            """,
            {"id": quote["id"], "days": days},
        )
    return quote
