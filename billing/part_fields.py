"""Fields of forms that say how much of each line of a quote goes on an invoice, named by the line's position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from billing.lines import MOST
from billing.quote_page import InvoiceForm
from clinic import forms
from clinic.errors import Fault


def name(position: int) -> str:
    """The field for the line at this position."""
    return f"part-{position}"


def asked(form: InvoiceForm) -> list[dict[str, Any]] | None:
    """The parts as the body of a request has them; a line without a quantity stays out. None where nobody was asked."""
    typed = {position: form.typed.get(name(position)) for position in range(1, MOST + 1)}
    given = {position: forms.plain_number(each) for position, each in typed.items() if each is not None}
    if not given:
        return None
    return [{"position": position, "quantity": each} for position, each in given.items() if each not in ("", "0")]


def of_fields(faults: Sequence[Fault], parts: Sequence[dict[str, Any]] | None) -> list[Fault]:
    """Faults of the body by the names of the fields: those of `lines`, which has these parts."""
    return [_of_field(each, parts or ()) for each in faults]


def _of_field(fault: Fault, parts: Sequence[dict[str, Any]]) -> Fault:
    member, _, rest = fault.pointer.removeprefix("/").partition("/")
    if member != "lines":
        return fault
    place = rest.partition("/")[0]
    if not place:
        return Fault("/parts", "nothing_of_quote")
    return replace(fault, pointer=f"/{name(parts[int(place)]['position'])}")
