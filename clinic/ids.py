"""Identifiers shown outside: UUIDs of version 7, ordered by time of making."""

from __future__ import annotations

import secrets
from datetime import datetime
from uuid import UUID, uuid5

from clinic import clock


def new() -> UUID:
    """A new UUID, version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 random bits."""
    milliseconds = int(clock.now().timestamp() * 1000)
    random = secrets.randbits(74)
    return UUID(
        int=milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | (random & ((1 << 62) - 1)),
    )


_CODES = UUID("d3a0c7e2-54b1-4a6f-9a33-6f0b8e1c2d47")


def of_code(kind: str, code: str) -> UUID:
    """The UUID, version 5, of a thing that is known by its code alone; the same one every time."""
    return uuid5(_CODES, f"{kind}:{code}")


def first_at(instant: datetime) -> UUID:
    """Below every UUID of version 7 made at `instant` or later, above every earlier one."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)
