"""The sample price list: what a fresh installation shows until the clinic has loaded its own."""

from __future__ import annotations

import csv
from pathlib import Path

from catalog import categories, composing, price_files
from catalog.price_orders import Wanted
from clinic import db
from clinic.command import Change

FILE = Path(__file__).parent / "data" / "price-list.csv"
_CATEGORIES = (
    "consultation", "intervention", "msct", "mri", "ultrasound", "pet_ct", "biopsy", "drug_treatment", "surgery",
)  # fmt: skip
"""Codes of the file's categories, in the order in which it names them."""

_PACKAGE = {
    "code": "CT-MRI-DAY",
    "name": {"ru": "МСКТ и МРТ в один день", "en": "MSCT and MRI in one day"},
    "parts": [{"article": "CT-ABD-RP-BOLUS"}, {"article": "MRI-ABD-RP"}],
    "percent_off": "10",
}


def load(change: Change) -> bool:
    """Load the sample as order No. 1 of today and a package into an empty catalog; answers whether it did.

    The caller holds the migrations' advisory lock, so that two processes do not both find the catalog empty.
    """
    if not _is_empty(change.conn):
        return False
    raw = FILE.read_bytes()
    for code, (name_ru, name_en) in zip(_CATEGORIES, _category_names(raw), strict=True):
        categories.create(change, code, name_ru, name_en)
    order = Wanted(date=change.today, effective_from=change.today, number="1")
    report = price_files.load(change, raw, order, publish=True)
    if report.problems:
        raise RuntimeError(f"the sample price list is broken: {report.as_json('en')}")
    composing.create(change, composing.PackageIn().load(_PACKAGE))
    return True


def _is_empty(conn: db.Connection) -> bool:
    return not db.value(
        conn,
        """
        SELECT EXISTS (SELECT FROM medical_service) OR EXISTS (SELECT FROM price_order)
            OR EXISTS (SELECT FROM category)
        """,
    )


def _category_names(raw: bytes) -> list[tuple[str, str]]:
    rows = csv.DictReader(raw.decode("utf-8-sig").splitlines(), delimiter=";")
    return list(dict.fromkeys((row["category_ru"], row["category_en"]) for row in rows))
