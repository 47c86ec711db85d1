"""Examples of the JSON contract, as the description shows them."""

from __future__ import annotations

from typing import Any

_CATEGORY = {"code": "consultation", "name": "Консультации специалистов"}

FEED: dict[str, Any] = {
    "on": "2026-11-23",
    "lang": "ru",
    "currency": "RUB",
    "price_list": {"code": "base", "name": "Основной прейскурант"},
    "order": {"number": "1", "date": "2026-11-23", "effective_from": "2026-11-23"},
    "items": [
        {
            "article": "ONC-CONS-1",
            "name": "Первичный приём врача-онколога",
            "category": _CATEGORY,
            "nomenclature_codes": ["B01.027.001"],
            "unit": "услуга",
            "note": None,
            "min": "3700.00",
            "max": "8500.00",
            "prices": [
                {
                    "doctor_rank": rank,
                    "rank_name": name,
                    "kind": "fixed",
                    "amount": amount,
                    "valid_from": "2026-11-23",
                    "valid_until": None,
                    "order": "1",
                }
                for rank, name, amount in (
                    ("none", "врач", "3700.00"),
                    ("candidate", "к.м.н.", "5300.00"),
                    ("doctor", "д.м.н.", "8500.00"),
                )
            ],
        }
    ],
}

SERVICE_IN: dict[str, Any] = {
    "article": "US-ABD",
    "name": {"ru": "УЗИ органов брюшной полости", "en": "Abdominal ultrasound"},
    "category": "ultrasound",
    "nomenclature_codes": [],
    "unit": "услуга",
    "vat_category": "exempt_medical",
    "tax_deduction_code": "1",
    "priced_by_rank": False,
    "discountable": True,
    "note": None,
}

SERVICE: dict[str, Any] = {
    "id": "019abf0e-6c4b-7d0e-9c3a-5b8d2f6a7e10",
    **SERVICE_IN,
    "active": True,
    "warnings": [{"code": "code_missing", "message": "У услуги нет кода номенклатуры 804н."}],
    "created_at": "2026-11-23T09:15:00Z",
    "updated_at": "2026-11-23T09:15:00Z",
}

CATEGORY: dict[str, Any] = {"code": "endoscopy", "name": {"ru": "Эндоскопия", "en": "Endoscopy"}, "parent": None}
