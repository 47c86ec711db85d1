"""The price feed as CSV for programs: a row for each price, as RFC 4180 has it.

Who asks for a feed by `Accept: text/csv` is a program, so this is UTF-8 without a mark, with commas, decimal points and
days as 2026-11-23. It is not the file that a double click opens in a spreadsheet of this country.
"""

from __future__ import annotations

import csv
import io
from datetime import date

from catalog import vat
from catalog.listing import Item, Listing, Offer
from catalog.tables import guarded
from clinic import money

TYPE = "text/csv; charset=utf-8; header=present"
COLUMNS = (
    "article", "name", "category", "category_name", "nomenclature_codes", "unit", "doctor_rank", "rank_name", "kind",
    "amount", "currency", "valid_from", "valid_until", "order", "order_date", "price_list", "vat", "note", "min", "max",
)  # fmt: skip


def of(listing: Listing, lang: str) -> bytes:
    """The list in the order of its JSON, in this language; `min` and `max` are those of the JSON's item."""
    text = io.StringIO()
    # CRLF ends a row, and quotes stand where they are needed: the module's own dialect is the RFC's.
    sheet = csv.writer(text)
    sheet.writerow(COLUMNS)
    for item in listing.items:
        sheet.writerows(_row(listing, item, offer, lang) for offer in item.offers)
    return text.getvalue().encode()


def _row(listing: Listing, item: Item, offer: Offer, lang: str) -> list[str]:
    russian = lang == "ru"
    cells = (
        offer.article,
        offer.name_ru if russian else offer.name_en,
        offer.category,
        offer.category_ru if russian else offer.category_en,
        " ".join(offer.nomenclature_codes),
        offer.unit,
        offer.doctor_rank,
        offer.rank_ru if russian else offer.rank_en,
        offer.kind,
        money.text_or_none(offer.amount),
        "RUB",
        offer.valid_from,
        offer.valid_until,
        offer.order,
        offer.order_date,
        listing.price_list.code,
        vat.mark(offer.vat_rate, lang),
        offer.note,
        money.text_or_none(item.least),
        money.text_or_none(item.most),
    )
    return [_cell(each) for each in cells]


def _cell(told: str | date | None) -> str:
    return "" if told is None else guarded(str(told))
