"""Price lists, doctors and ranks to begin a test with, made through the JSON contract."""

from __future__ import annotations

from typing import Any

from tests import given
from tests.given import Caller

INSURER = {
    "kind": "insurer", "ref": "INS-1", "name": "АО «Страховщик»", "inn": "1234567894", "kpp": "770101001",
    "guarantee_letter": {"number": "ГП-1"},
}  # fmt: skip
ANOTHER_INSURER = INSURER | {"ref": "INS-2", "inn": "7707083893"}


def names(word: str) -> dict[str, str]:
    return {"ru": word, "en": word}


def price_list(clinic: Caller, code: str = "dms", kind: str = "insurer", **more: Any) -> Any:
    """A price list, by default an insurer's under a contract without end that falls back to the base list."""
    wanted: dict[str, Any] = {"code": code, "name": names(code), "kind": kind, "fallback": "base"}
    if kind == "insurer":
        wanted |= {"insurer_inn": INSURER["inn"], "contract": {"number": "ДМС-17"}}
    return given.made(clinic.post("/v1/price-lists", wanted | more))


def doctor(clinic: Caller, doctor_rank: str = "candidate", name: str = "Врачов Илья", **more: Any) -> Any:
    wanted = {"name": {"ru": name, "en": "Ilya Vrachov"}, "specialty": names("онколог"), "doctor_rank": doctor_rank}
    return given.made(clinic.post("/v1/doctors", wanted | more))


def promotion(clinic: Caller, doctor: Any, doctor_rank: str, since: str | None = None) -> Any:
    return given.made(
        clinic.post(f"/v1/doctors/{doctor['id']}/promotions", {"doctor_rank": doctor_rank, "since": since})
    )
