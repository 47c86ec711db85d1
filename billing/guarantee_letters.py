"""A guarantee letter (гарантийное письмо): an insurer's promise to pay, until a day and up to a sum.

It is known by the insurer's INN and its number, for the clinic as a whole. What is used of it is the sum of the issued
invoices under it, less what is credited of them; the database moves it with them and never lets it exceed the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing.invoices import Invoice, InvoiceLine
from clinic import db, fields, lists, money
from clinic.errors import Conflict


class GuaranteeLetterExpired(Conflict):
    """The guarantee letter does not cover these days.

    `valid_until` is its last day; `lines` has the position and the day of each line after it: the day of the service,
    else the day of issue."""

    ru = (
        "Гарантийное письмо не действует в эти дни\n\n"
        "`valid_until` — его последний день; `lines` — позиция и день каждой более поздней строки: день услуги, "
        "а без него — день выставления."
    )


class GuaranteeLimitExceeded(Conflict):
    """The invoice exceeds what is left of the guarantee letter.

    `left` says how much may still be invoiced under it, in rubles."""

    ru = "Счёт больше остатка по гарантийному письму\n\n`left` — сколько рублей ещё можно выставить по этому письму."


class GuaranteeLetterDiffers(Conflict):
    """This guarantee letter is known with another last day or limit.

    `known` says with which. They can be put right only while no issued invoice uses the letter."""

    ru = (
        "Это гарантийное письмо известно с другим сроком или лимитом\n\n"
        "`known` — с какими. Исправить их можно, только пока нет выставленных по письму счетов."
    )


REFUSALS = (GuaranteeLetterExpired, GuaranteeLimitExceeded, GuaranteeLetterDiffers)
"""How issuing is refused to an invoice under a guarantee letter."""


@dataclass(frozen=True)
class GuaranteeLetter:
    """Sums in rubles; without a last day or a limit there is none."""

    id: UUID
    insurer_inn: str
    number: str
    valid_until: date | None
    limit_amount: Decimal | None
    used: Decimal

    @property
    def left(self) -> Decimal | None:
        return None if self.limit_amount is None else self.limit_amount - self.used

    def terms(self) -> dict[str, Any]:
        """The promise, as an invoice states it."""
        until = self.valid_until.isoformat() if self.valid_until else None
        return {"number": self.number, "valid_until": until, "limit": money.text_or_none(self.limit_amount)}

    def as_json(self) -> dict[str, Any]:
        sums = {"used": money.text(self.used), "left": money.text_or_none(self.left)}
        return {"inn": self.insurer_inn, **self.terms(), "currency": "RUB", **sums}


class LetterFilter(lists.Page):
    """Which letters are asked for."""

    inn = fields.Inn(load_default=None)
    number = fields.Text(64, load_default=None)


class KnownLetterOut(ma.Schema):
    """A letter as it is known; `left` is null when it has no limit."""

    inn = ma.fields.String(required=True)
    number = ma.fields.String(required=True)
    valid_until = ma.fields.Date(required=True, allow_none=True)
    limit = ma.fields.String(required=True, allow_none=True)
    currency = ma.fields.String(required=True)
    used = ma.fields.String(required=True)
    left = ma.fields.String(required=True, allow_none=True)


def promised(conn: db.Connection, invoice: Invoice, lines: Sequence[InvoiceLine], day: date) -> None:
    """Lock the letter of an invoice that is being issued on this day, and see that it promises to pay for it.

    Raises:
        GuaranteeLetterDiffers: it is known with another last day or limit.
        GuaranteeLetterExpired: a line is of a day after its last.
        GuaranteeLimitExceeded: less than the invoice's total is left of it.
    """
    stated = invoice.payer["guarantee_letter"]
    if not stated:
        return
    letter = _locked(conn, invoice.payer["inn"], stated)
    known = letter.terms()
    if any(stated[name] is not None and stated[name] != known[name] for name in known):
        raise GuaranteeLetterDiffers(invoice=invoice.id, known=known)
    days = [(line.position, line.service_date or day) for line in lines]
    if late := [
        {"position": position, "day": on.isoformat()}
        for position, on in days
        if letter.valid_until is not None and on > letter.valid_until
    ]:
        raise GuaranteeLetterExpired(invoice=invoice.id, valid_until=known["valid_until"], lines=late)
    if letter.left is not None and invoice.total > letter.left:
        raise GuaranteeLimitExceeded(invoice=invoice.id, left=money.text(letter.left))


def _locked(conn: db.Connection, inn: str, stated: dict[str, str | None]) -> GuaranteeLetter:
    (row,) = conn.execute(
        """
        SELECT id, insurer_inn, number, valid_until, limit_amount, used
          FROM guarantee_letter_locked(%(inn)s::text, %(number)s::text, %(until)s::date, %(limit)s::numeric)
        """,
        {"inn": inn, "number": stated["number"], "until": stated["valid_until"], "limit": stated["limit"]},
    ).fetchall()
    return GuaranteeLetter(*row)


def of_payer(conn: db.Connection, payer: Mapping[str, Any]) -> GuaranteeLetter | None:
    """The letter that an invoice to this payer names, where an issued one has made it known."""
    stated = payer["guarantee_letter"]
    found = _page(conn, {"inn": payer["inn"], "number": stated["number"], "limit": 1}, None) if stated else []
    return found[0] if found else None


def insurers(conn: db.Connection, letters: Sequence[GuaranteeLetter]) -> dict[str, str]:
    """What the insurers of these letters are called on invoices under them, by INN; of invoices that may be seen."""
    rows = conn.execute(
        """
        SELECT wanted.inn, named.name
          FROM unnest(%(inns)s::text[], %(numbers)s::text[]) AS wanted (inn, number)
         CROSS JOIN LATERAL (
               SELECT party.name
                 FROM invoice JOIN party ON party.id = invoice.payer_party
                WHERE payer ->> 'inn' = wanted.inn AND payer #>> '{guarantee_letter,number}' = wanted.number
                  AND invoice.number IS NOT NULL AND party.name IS NOT NULL
                ORDER BY invoice.id DESC LIMIT 1) AS named
        """,
        {"inns": [each.insurer_inn for each in letters], "numbers": [each.number for each in letters]},
    )
    return dict(rows)


def listed(conn: db.Connection, wanted: dict[str, Any]) -> tuple[list[GuaranteeLetter], str | None]:
    """A page of letters, by INN and number and of all branches, and the cursor of the next.

    Raises:
        BadCursor: `cursor` is none of this list.
    """
    behind = lists.place_of("guarantee-letters", lists.filters_of(wanted), wanted["cursor"])
    rows = _page(conn, wanted, behind)
    return lists.page_of("guarantee-letters", wanted, rows, lambda each: [each.insurer_inn, each.number])


def _page(conn: db.Connection, wanted: dict[str, Any], behind: list[str] | None) -> list[GuaranteeLetter]:
    """One more than `limit`."""
    rows = conn.execute(
        """
        SELECT id, insurer_inn, number, valid_until, limit_amount, used
          FROM guarantee_letter
         WHERE (%(inn)s::text IS NULL OR insurer_inn = %(inn)s::text)
           AND (%(number)s::text IS NULL OR number = %(number)s::text)
           AND (%(after_inn)s::text IS NULL
                OR (insurer_inn, number) > (%(after_inn)s::text, %(after_number)s::text))
         ORDER BY insurer_inn, number
         LIMIT %(limit)s::int
        """,
        {
            "inn": wanted["inn"],
            "number": wanted["number"],
            "after_inn": behind and behind[0],
            "after_number": behind and behind[1],
            "limit": wanted["limit"] + 1,
        },
    )
    return [GuaranteeLetter(*row) for row in rows]
