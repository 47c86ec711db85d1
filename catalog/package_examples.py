"""Examples of packages, as the description shows them."""

from __future__ import annotations

from typing import Any

PACKAGE_IN: dict[str, Any] = {
    "code": "SCANS-DAY",
    "name": {"ru": "МСКТ и МРТ за одно посещение", "en": "MSCT and MRI in one visit"},
    "parts": [{"article": "CT-ABD-RP-BOLUS"}, {"article": "MRI-ABD-RP", "quantity": "1"}],
    "total": "25000.00",
    "valid_until": None,
}

PACKAGE_DOCUMENT: dict[str, Any] = {
    "code": "SCANS-DAY",
    "price_list": "base",
    "name": PACKAGE_IN["name"],
    "note": None,
    "total": "25000.00",
    "percent_off": None,
    "valid_from": "2026-11-23",
    "valid_until": None,
    "withdrawn": False,
    "currency": "RUB",
    "on": "2026-11-23",
    "price": "25000.00",
    "list_amount": "27700.00",
    "saving": "2700.00",
    "parts": [
        {
            "article": article,
            "name": {"ru": name_ru, "en": name_en},
            "doctor_rank": "none",
            "rank_name": None,
            "quantity": "1",
            "price": price,
            "list_amount": price,
            "share": share,
        }
        for article, name_ru, name_en, price, share in (
            ("CT-ABD-RP-BOLUS", "МСКТ брюшной полости с болюсным контрастом", "MSCT of the abdomen with bolus contrast",
             "14000.00", "12635.38"),
            ("MRI-ABD-RP", "МРТ брюшной полости и забрюшинного пространства",
             "MRI of the abdomen and the retroperitoneal space", "13700.00", "12364.62"),
        )
    ],
    "warnings": [],
}  # fmt: skip

PACKAGE: dict[str, Any] = {
    "id": "019abf0e-6c4b-7d0e-9c3a-5b8d2f6a7e20",
    **PACKAGE_DOCUMENT,
    "created_at": "2026-11-23T09:15:00Z",
    "updated_at": "2026-11-23T09:15:00Z",
}
