"""Refusals of documents as pages tell them: with the sums and days that programs read from their members.

Some are about one field of the payer's, and stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from billing import words
from billing.crediting import InvoiceRendered, NothingToCredit
from billing.guarantee_letters import GuaranteeLetterDiffers, GuaranteeLetterExpired, GuaranteeLimitExceeded
from billing.invoices import InvoiceNotDraft, InvoiceNotIssued
from billing.invoicing import QuoteAlreadyInvoiced
from billing.issuing import PriceChanged, RequisitesMissing
from billing.numbering import NumberDateOrder
from billing.quotes import QuoteExpired, QuoteNotOpen
from billing.rendering import NothingToRender
from clinic import dates, forms, money
from clinic.errors import Problem


def by_field(refusal: Problem | None) -> dict[str, list[str]]:
    """The field of the payer that a refusal is about, with its words; empty where it is about none."""
    field = _FIELDS.get(type(refusal)) if refusal else None
    return {field: [". ".join(forms.told(refusal) or ())]} if field else {}


def _left(members: Mapping[str, Any], lang: str) -> str:
    left = money.display(Decimal(members["left"]))
    return f"По письму осталось {left}." if lang == "ru" else f"{left} is left of it."


def _expired(members: Mapping[str, Any], lang: str) -> str:
    last = _day(members["valid_until"], lang)
    line = "строка" if lang == "ru" else "line"
    late = "; ".join(f"{line} {each['position']} — {_day(each['day'], lang)}" for each in members["lines"])
    if lang == "ru":
        return f"Последний день письма — {last}. Позже: {late}."
    return f"Its last day is {last}. Later: {late}."


def _known(members: Mapping[str, Any], lang: str) -> str:
    until, limit = members["known"]["valid_until"], members["known"]["limit"]
    day, most = until and _day(until, lang), limit and money.display(Decimal(limit))
    if lang == "ru":
        terms = f"{f'действует по {day}' if day else 'без срока'}, {f'на сумму до {most}' if most else 'без лимита'}"
        return f"Известно оно так: {terms}. Исправить это можно, только пока нет выставленных по письму счетов."
    terms = f"{f'valid until {day}' if day else 'no last day'}, {f'for at most {most}' if most else 'no limit'}"
    return f"It is known so: {terms}. That can be put right only while no issued invoice uses the letter."


def _last_on(members: Mapping[str, Any], lang: str) -> str:
    last = _day(members["last_on"], lang)
    if lang == "ru":
        return f"Последний документ — от {last}. Возьмите этот день или более поздний."
    return f"The last one is of {last}. Take that day or a later one."


def _changes(members: Mapping[str, Any], lang: str) -> str:
    changed = " ".join(_change(each, lang) for each in members["changes"])
    if lang == "ru":
        return f"{changed} Измените черновик, и он получит сегодняшние цены, или отбросьте его и сделайте новый."
    return f"{changed} Change the draft, and it gets today's prices, or put it away and make another."


def _change(change: Mapping[str, Any], lang: str) -> str:
    old, new = (money.display(Decimal(sum_)) if sum_ else "—" for sum_ in (change["old"], change["new"]))
    if lang == "ru":
        return f"Строка {change['position']}: было {old}, стало {new}."
    return f"Line {change['position']}: {old} before, {new} now."


def _state(members: Mapping[str, Any], lang: str) -> str:
    state = words.said(words.INVOICE_STATUS, members["state"], lang)
    return f"Сейчас он {state}." if lang == "ru" else f"By now it is {state}."


def _acts(members: Mapping[str, Any], lang: str) -> str:
    acts = ", ".join(members["acts"])
    if lang == "ru":
        return f"Так говорят акты {acts}: если на деле ничего не оказано, сначала аннулируйте их."
    return f"These acts say so: {acts}. Cancel them first, if nothing was done after all."


def _of_quote(members: Mapping[str, Any], lang: str) -> str:
    state = words.said(words.QUOTE_STATUS, members["state"], lang)
    return f"Сейчас она: {state}." if lang == "ru" else f"By now it is {state}."


def _overdue(members: Mapping[str, Any], lang: str) -> str:
    last = _day(members["valid_until"], lang)
    if lang == "ru":
        return f"Её последний день — {last}. Её можно пересчитать по сегодняшним ценам."
    return f"Its last day was {last}. It can be made anew at today's prices."


def _day(day: str, lang: str) -> str:
    return dates.short(date.fromisoformat(day), lang)


_NOTHING_MORE = forms.plain("Что по нему есть, показано ниже.", "What there is of it is shown below.")
forms.tell(
    {
        GuaranteeLetterDiffers: _known,
        GuaranteeLetterExpired: _expired,
        GuaranteeLimitExceeded: _left,
        InvoiceNotDraft: _state,
        InvoiceNotIssued: _state,
        InvoiceRendered: _acts,
        NothingToCredit: _NOTHING_MORE,
        NothingToRender: _NOTHING_MORE,
        NumberDateOrder: _last_on,
        PriceChanged: _changes,
        QuoteAlreadyInvoiced: forms.plain("Счета по ней перечислены ниже.", "Its invoices are listed below."),
        QuoteExpired: _overdue,
        QuoteNotOpen: _of_quote,
        RequisitesMissing: forms.plain(
            "В рабочем режиме без них ничего не выставляется: их задаёт администратор.",
            "In production nothing is issued without them: an administrator sets them.",
        ),
    }
)
_FIELDS: Mapping[type[Problem], str] = {
    GuaranteeLetterDiffers: "payer-guarantee_letter-number",
    GuaranteeLetterExpired: "payer-guarantee_letter-valid_until",
    GuaranteeLimitExceeded: "payer-guarantee_letter-limit",
}
