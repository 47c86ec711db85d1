"""Quotes that were handed out, and links to them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

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
