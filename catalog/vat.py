"""VAT of services: the category never names a rate, since rates are dated (table `vat_rate`)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from clinic import db

CATEGORIES = ("exempt_medical", "standard", "reduced", "zero", "not_payer")
"""Licensed medical services are `exempt_medical`; exempt is not the same as 0 %."""
TAX_DEDUCTION_CODES = ("1", "2")
"""Code of the service in a tax-deduction certificate: 1 usual, 2 expensive treatment."""


def rate_on(conn: db.Connection, category: str, day: date) -> Decimal | None:
    """The rate of `category` in percent on `day`; None where VAT is not charged."""
    rate: Decimal | None = db.value(
        conn,
        "SELECT rate FROM vat_rate WHERE category = %(category)s::text AND valid @> %(day)s::date",
        {"category": category, "day": day},
    )
    return rate


def mark(rate: Decimal | None, lang: str) -> str:
    """What stands beside a price: exempt is not 0 %, and VAT is never added to what the list says."""
    if rate is None:
        return "Без НДС" if lang == "ru" else "No VAT"
    if not rate:
        return "НДС 0 %" if lang == "ru" else "VAT 0 %"
    return f"{'в том числе НДС' if lang == 'ru' else 'including VAT'} {shown(rate)} %"


def shown(rate: Decimal) -> str:
    """A rate without idle zeros: "22", "16.67"."""
    return f"{rate.normalize():f}"
