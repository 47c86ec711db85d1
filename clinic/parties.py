"""Persons and organisations that documents name: their names and contacts lie here and nowhere else.

A document keeps the party's id and a salted digest; the name can be erased later and the document stays checkable.
A row is written for each document and never edited, so what an issued document says does not change.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from clinic import db, ids

REF = r"[A-Za-z0-9._:-]{1,64}"
"""The form of a caller's identifier of a person or payer: one namespace for the whole clinic."""
CONTACTS = ("name", "phone", "email")


@dataclass(frozen=True)
class Party:
    """One party as one document names it. `ref` is the caller's opaque identifier, or one of ours."""

    id: UUID
    ref: str
    name: str | None
    phone: str | None
    email: str | None
    digest: bytes


def add(conn: db.Connection, ref: str | None, name: str | None, phone: str | None, email: str | None) -> Party:
    """Keep a party for one document; without a `ref` it gets one."""
    salt = secrets.token_bytes(16)
    digest = hashlib.sha256(salt + orjson.dumps([name, phone, email])).digest()
    party = Party(ids.new(), ref or f"cb-{ids.new()}", name, phone, email, digest)
    conn.execute(
        """
        INSERT INTO party (id, ref, name, phone, email, salt, digest)
        VALUES (%(id)s, %(ref)s, %(name)s, %(phone)s, %(email)s, %(salt)s, %(digest)s)
        """,
        {
            "id": party.id,
            "ref": party.ref,
            "name": name,
            "phone": phone,
            "email": email,
            "salt": salt,
            "digest": digest,
        },
    )
    return party


def of_person(conn: db.Connection, person: dict[str, Any]) -> Party:
    """Keep a person of a request's body: `id`, `name`, `phone`, `email`."""
    return add(conn, person["id"], person["name"], person["phone"], person["email"])


def known(conn: db.Connection, party_ids: Collection[UUID]) -> dict[UUID, Party]:
    """The parties of these ids; one that was erased is there without name and contacts."""
    if not party_ids:
        return {}
    found = db.many(
        conn,
        Party,
        "SELECT id, ref, name, phone, email, digest FROM party WHERE id = ANY(%(ids)s::uuid[])",
        {"ids": list(party_ids)},
    )
    return {party.id: party for party in found}
