"""Finding services by the words people type: both languages and articles, any order and case, ё or е, small slips."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

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
