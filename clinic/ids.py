"""Identifiers shown outside: UUIDs of version 7, ordered by time of making."""

from __future__ import annotations

import secrets
from uuid import UUID

from clinic import clock


def new() -> UUID:
    """A new UUID, version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 random bits."""
    milliseconds = int(clock.now().timestamp() * 1000)
    random = secrets.randbits(74)
    return UUID(
        int=milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | (random & ((1 << 62) - 1)),
    )
