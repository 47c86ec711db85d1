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
            "vat": {"category": "exempt_medical", "rate": None, "text": "Без НДС"},
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
                    "order_date": "2026-11-23",
                }
                for rank, name, amount in (
                    ("none", "врач", "3700.00"),
                    ("candidate", "к.м.н.", "5300.00"),
                    ("doctor", "д.м.н.", "8500.00"),
                )
            ],
        }
    ],
    "packages": [
        {
            "code": "CT-MRI-DAY",
            "name": "МСКТ и МРТ в один день",
            "note": None,
            "total": "24930.00",
            "list_amount": "27700.00",
            "valid_from": "2026-11-23",
            "valid_until": None,
            "parts": [
                {
                    "article": article,
                    "name": name,
                    "doctor_rank": "none",
                    "quantity": "1",
                    "list_amount": alone,
                    "share": share,
                }
                for article, name, alone, share in (
                    ("CT-ABD-RP-BOLUS", "МСКТ брюшной полости с контрастированием", "14000.00", "12600.00"),
                    ("MRI-ABD-RP", "МРТ брюшной полости", "13700.00", "12330.00"),
                )
            ],
        }
    ],
}

FEED_CSV = (
    "article,name,category,category_name,nomenclature_codes,unit,doctor_rank,rank_name,kind,amount,currency,valid_from,"
    "valid_until,order,order_date,price_list,vat,note,min,max\r\n"
    "CT-ABD-RP,МСКТ брюшной полости,msct,МСКТ,A06.30.005.001,услуга,none,врач,fixed,8840.00,RUB,2026-11-23,,1,"
    "2026-11-23,base,Без НДС,,8840.00,8840.00\r\n"
)

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

ORDER_IN: dict[str, Any] = {
    "number": "2",
    "date": "2026-11-23",
    "price_list": "base",
    "effective_from": "2026-12-01",
    "note": "Пересмотр цен на МСКТ",
    "lines": [
        {"article": "CT-ABD-RP", "doctor_rank": "none", "kind": "fixed", "amount": "9000.00"},
        {"article": "US-LIVER", "kind": "withdrawn"},
    ],
}

ORDER: dict[str, Any] = {
    "id": "019abf0e-7c11-7b42-8a55-1d2f6a7e1001",
    "number": "2",
    "status": "draft",
    "date": "2026-11-23",
    "effective_from": "2026-12-01",
    "price_list": "base",
    "note": "Пересмотр цен на МСКТ",
    "corrects": None,
    "corrects_number": None,
    "corrects_date": None,
    "author": "key:019abf0e-0001-7000-8000-000000000001",
    "published_by": None,
    "published_at": None,
    "line_count": 2,
    "created_at": "2026-11-23T09:15:00Z",
    "updated_at": "2026-11-23T09:15:00Z",
    "lines": [
        {"article": "CT-ABD-RP", "doctor_rank": "none", "kind": "fixed", "amount": "9000.00"},
        {"article": "US-LIVER", "doctor_rank": None, "kind": "withdrawn", "amount": None},
    ],
}

BULK_IN: dict[str, Any] = {"percent": "7.00", "category": "mri", "round_to": "10.00"}

BULK: dict[str, Any] = {
    **ORDER,
    "line_count": 3,
    "lines": [
        *ORDER["lines"],
        {"article": "MRI-ABD-RP", "doctor_rank": "none", "kind": "fixed", "amount": "14660.00"},
    ],
    "lines_made": 1,
    "lines_replaced": 0,
}

PREVIEW: dict[str, Any] = {
    "order": ORDER["id"],
    "number": "2",
    "date": "2026-11-23",
    "price_list": "base",
    "effective_from": "2026-12-01",
    "currency": "RUB",
    "changed": 1,
    "unchanged": 0,
    "new": 0,
    "withdrawn": 0,
    "raised": 1,
    "lowered": 0,
    "publishable": True,
    "reasons": [],
    "lines": [
        {
            "position": 1,
            "article": "CT-ABD-RP",
            "name": {
                "ru": "МСКТ органов брюшной полости и забрюшинного пространства",
                "en": "MSCT of the abdomen and retroperitoneal space",
            },
            "category": {"code": "msct", "name": {"ru": "МСКТ", "en": "MSCT"}},
            "doctor_rank": "none",
            "rank_name": None,
            "effect": "changed",
            "old": {
                "kind": "fixed",
                "amount": "8840.00",
                "valid_from": "2026-11-23",
                "price_list": "base",
                "fallback": False,
                "order": "1",
                "order_date": "2026-11-23",
                "order_id": "019abf0e-6c4b-7d0e-9c3a-5b8d2f6a7e00",
            },
            "new": {"kind": "fixed", "amount": "9000.00", "valid_from": "2026-12-01", "valid_until": None},
            "difference": "160.00",
            "difference_percent": "1.81",
            "warnings": [],
        }
    ],
    "warnings": [],
}

REGISTER: dict[str, Any] = {
    "rows": 10452,
    "problems": [],
    "warnings": [],
    "codes": 10390,
    "in_force": 10120,
    "added": 14,
    "withdrawn": 3,
}

REPORT: dict[str, Any] = {
    "rows": 31,
    "accepted": 31,
    "refused": 0,
    "problems": [],
    "warnings": [
        {
            "row": 7,
            "column": "nomenclature_codes",
            "code": "code_missing",
            "message": "У услуги нет кода номенклатуры 804н.",
        }
    ],
    "order": "019abf0e-6c4b-7d0e-9c3a-5b8d2f6a7e10",
}

PRICE_LIST_IN: dict[str, Any] = {
    "code": "dms-romashka",
    "name": {"ru": "ДМС «Ромашка»", "en": "Romashka insurance"},
    "kind": "insurer",
    "public": False,
    "fallback": "base",
    "contract": {"number": "ДМС-17/2026", "valid_from": "2026-11-23", "valid_until": "2027-11-23"},
    "insurer_inn": "1234567894",
}

RANK: dict[str, Any] = {"code": "academician", "name": {"ru": "академик", "en": "academician"}, "position": 5}

DOCTOR_IN: dict[str, Any] = {
    "name": {"ru": "Врачов Илья Петрович", "en": "Ilya Vrachov"},
    "specialty": {"ru": "онколог", "en": "oncologist"},
    "doctor_rank": "candidate",
    "external_id": "D-17",
    "active": True,
}

PROMOTION_IN: dict[str, Any] = {"doctor_rank": "doctor", "since": "2026-12-01"}

DOCTOR: dict[str, Any] = {
    "id": "019abf0e-6c4b-7d0e-9c3a-5b8d2f6a7e17",
    **DOCTOR_IN,
    "promotions": [
        {
            "doctor_rank": rank,
            "since": since,
            "recorded_by": "key:019abf0e-0000-7000-8000-000000000001",
            "recorded_at": "2026-11-23T09:15:00Z",
        }
        for rank, since in (("candidate", "2000-01-01"), ("doctor", "2026-12-01"))
    ],
    "created_at": "2026-11-23T09:15:00Z",
    "updated_at": "2026-11-23T09:15:00Z",
}
