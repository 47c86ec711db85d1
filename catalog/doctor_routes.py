"""JSON of doctors and their ranks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from catalog import doctors, examples, ranks
from catalog.doctors import Doctor, DoctorIn, DoctorOut, DoctorPatch, DoctorsQuery, ExternalIdTaken, PromotionIn
from catalog.ranks import Rank, RankIn, RankOut, RankPatch, RankTaken
from clinic import clock, db, errors, http, ids, lists

bp = http.Blueprint("doctors", __name__, url_prefix="/v1", description="Doctors, and the ranks prices may depend on")

_RANK_AT = "/doctor-ranks/<string:doctor_rank>"
_DOCTOR_AT = "/doctors/<uuid:doctor_id>"


class RanksOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(RankOut), required=True)


class DoctorsOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(DoctorOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


# ---- Ranks ----


@bp.get("/doctor-ranks")
@bp.contract(may="catalog:read", gives={200: RanksOut})
def list_ranks() -> Response:
    """Ranks of doctors that a price may depend on, from the lowest"""
    with db.reading() as conn:
        return http.reply({"items": [each.as_json() for each in ranks.every(conn)]})


@bp.post("/doctor-ranks")
@bp.contract(
    may="catalog:write", takes=RankIn, gives={201: RankOut}, refuses=(RankTaken,), key="optional",
    example=examples.RANK, answers=examples.RANK,
)  # fmt: skip
def create_rank(wanted: dict[str, Any]) -> Response:
    """Add a doctor rank

    The last one unless a place is given; the others make room. `none` stays the first."""
    name = wanted["name"]
    with http.change() as change:
        rank = ranks.create(change, wanted["code"], name["ru"], name["en"], wanted["position"])
        headers = {"Location": f"/v1/doctor-ranks/{rank.code}", "ETag": _rank_etag(rank)}
        answer = change.give(201, rank.as_json(), headers=headers)
    return http.shown(answer)


@bp.get(_RANK_AT)
@bp.contract(may="catalog:read", gives={200: RankOut}, refuses=(errors.NotFound,), answers=examples.RANK)
def read_rank(doctor_rank: str) -> Response:
    """A doctor rank"""
    with db.reading() as conn:
        rank = ranks.get(conn, doctor_rank)
    return http.reply(rank.as_json(), headers={"ETag": _rank_etag(rank)})


@bp.patch(_RANK_AT)
@bp.contract(
    may="catalog:write", takes=RankPatch, gives={200: RankOut}, refuses=(errors.NotFound,), match=True,
    example={"position": 3}, answers=examples.RANK,
)  # fmt: skip
def change_rank(wanted: dict[str, Any], doctor_rank: str) -> Response:
    """Change a doctor rank

    Its names or its place; the others make room. Documents already made keep the names they copied."""
    with http.change() as change:
        known, rank = ranks.locked(change.conn, doctor_rank)
        http.must_match(_rank_etag(rank))
        rank = ranks.edit(change, known, rank, wanted)
    return http.reply(rank.as_json(), headers={"ETag": _rank_etag(rank)})


def _rank_etag(rank: Rank) -> str:
    return http.etag(ids.of_code("doctor_rank", rank.code), rank.row_version)


# ---- Doctors ----


@bp.get("/doctors")
@bp.contract(may="catalog:read", query=DoctorsQuery, gives={200: DoctorsOut}, refuses=(errors.BadCursor,))
def list_doctors(wanted: dict[str, Any]) -> Response:
    """Doctors by their Russian names"""
    behind = lists.place_of("doctors", lists.filters_of(wanted), wanted["cursor"])
    with db.reading() as conn:
        rows = doctors.listed(
            conn, clock.today(), q=wanted["q"], active=wanted["active"], doctor_rank=wanted["doctor_rank"],
            after=behind[0] if behind else None, limit=wanted["limit"] + 1,
        )  # fmt: skip
    found, cursor = lists.page_of("doctors", wanted, rows, lambda doctor: [str(doctor.id)])
    return http.reply({"items": [each.as_json() for each in found], "next_cursor": cursor})


@bp.post("/doctors")
@bp.contract(
    may="catalog:write", takes=DoctorIn, gives={201: DoctorOut}, refuses=(ExternalIdTaken, errors.AlreadyExists),
    key="optional", example=examples.DOCTOR_IN, answers=examples.DOCTOR,
)  # fmt: skip
def create_doctor(wanted: dict[str, Any]) -> Response:
    """Add a doctor

    The rank given counts for every day, until a promotion."""
    with http.change() as change:
        doctor = doctors.create(change, wanted)
        headers = {"Location": f"/v1/doctors/{doctor.id}", "ETag": _etag(doctor)}
        answer = change.give(201, doctor.as_json(), headers=headers)
    return http.shown(answer)


@bp.get(_DOCTOR_AT)
@bp.contract(may="catalog:read", gives={200: DoctorOut}, refuses=(errors.NotFound,), answers=examples.DOCTOR)
def read_doctor(doctor_id: UUID) -> Response:
    """A doctor, with the rank of today and the days of all ranks"""
    with db.reading() as conn:
        doctor = doctors.get(conn, clock.today(), doctor_id)
    return http.reply(doctor.as_json(), headers={"ETag": _etag(doctor)})


@bp.patch(_DOCTOR_AT)
@bp.contract(
    may="catalog:write", takes=DoctorPatch, gives={200: DoctorOut}, refuses=(errors.NotFound, ExternalIdTaken),
    match=True, example={"active": False}, answers=examples.DOCTOR,
)  # fmt: skip
def change_doctor(wanted: dict[str, Any], doctor_id: UUID) -> Response:
    """Change a doctor

    Members left out stay as they are; the rank changes by a promotion. Documents keep the name they copied."""
    with http.change() as change:
        doctor = doctors.locked(change.conn, change.today, doctor_id)
        http.must_match(_etag(doctor))
        doctor = doctors.edit(change, doctor, wanted)
    return http.reply(doctor.as_json(), headers={"ETag": _etag(doctor)})


@bp.post(f"{_DOCTOR_AT}/promotions")
@bp.contract(
    may="catalog:write", takes=PromotionIn, gives={201: DoctorOut}, refuses=(errors.NotFound,), key="optional",
    example=examples.PROMOTION_IN, answers=examples.DOCTOR,
)  # fmt: skip
def promote_doctor(wanted: dict[str, Any], doctor_id: UUID) -> Response:
    """Give a doctor a rank from a day on

    From tomorrow unless a day is given; never from a day that is over. What is already quoted or invoiced stays. A
    mistake is put right by another promotion of the same day: the last one counts."""
    with http.change() as change:
        doctor = doctors.locked(change.conn, change.today, doctor_id)
        doctor = doctors.promote(change, doctor, wanted["doctor_rank"], wanted["since"])
        answer = change.give(201, doctor.as_json(), headers={"ETag": _etag(doctor)})
    return http.shown(answer)


def _etag(doctor: Doctor) -> str:
    return http.etag(doctor.id, doctor.row_version)
