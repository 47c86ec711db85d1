"""Finding services by the words people type: both languages and articles, any order and case, ё or е, small slips."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from psycopg.types.range import DateRange

from clinic import db


@dataclass(frozen=True)
class Search:
    """What the words of a search box mean.

    `patterns` must all match the service's text; else `meant` are the services the words resemble. With neither,
    everything is found.
    """

    patterns: list[str] | None = None
    meant: list[UUID] | None = None


def folded(text: str) -> str:
    """`text` as search sees it: small letters, ё as е, one space between words."""
    return " ".join(text.lower().replace("ё", "е").split())


def patterns(words: str | None) -> list[str]:
    """LIKE patterns that folded text with all of `words` matches, the longest first."""
    return ["%" + re.sub(r"([%_\\])", r"\\\1", word) + "%" for word in _asked(words)]


def _asked(words: str | None) -> list[str]:
    return sorted(set(folded(words or "").split()), key=lambda word: (-len(word), word))


def understood(conn: db.Connection, words: str | None) -> Search:
    """What `words` ask for. Only when no service has them all are typing errors thought of."""
    wanted = patterns(words)
    if not wanted:
        return Search()
    exists = db.value(
        conn,
        # The longest word alone first: LIKE ALL cannot use the index.
        """
        SELECT true FROM medical_service
         WHERE search LIKE %(longest)s::text AND search LIKE ALL (%(patterns)s::text[])
         LIMIT 1
        """,
        {"longest": wanted[0], "patterns": wanted},
    )
    if exists:
        return Search(patterns=wanted)
    meant = db.value(
        conn, "SELECT array_agg(id) FROM services_resembling(%(words)s::text[]) AS id", {"words": _asked(words)}
    )
    return Search(meant=meant or [])


def understood_in_public(conn: db.Connection, words: str | None, days: DateRange) -> Search:
    """What `words` ask for among the services that have a public price on one of `days`; no other one is thought of.

    A service that only an insurer's list has would otherwise keep typing errors from being forgiven, and so show
    that it exists.
    """
    wanted = patterns(words)
    if not wanted:
        return Search()
    exists = db.value(
        conn,
        """
        SELECT true FROM medical_service AS service
         WHERE search LIKE %(longest)s::text AND search LIKE ALL (%(patterns)s::text[])
           AND EXISTS (SELECT FROM public_price WHERE service_id = service.id AND valid && %(days)s::daterange)
         LIMIT 1
        """,
        {"longest": wanted[0], "patterns": wanted, "days": days},
    )
    if exists:
        return Search(patterns=wanted)
    meant = db.value(
        conn,
        "SELECT array_agg(id) FROM public_services_resembling(%(words)s::text[], %(days)s::daterange) AS id",
        {"words": _asked(words), "days": days},
    )
    return Search(meant=meant or [])
