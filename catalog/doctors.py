"""Doctors: whose rank decides a price, and follows the day.

A rank is recorded from a day on and never rewritten: a promotion changes tomorrow's prices and no document already
made. Of two records for the same day the later one counts. Names are staff data: they stand here and on documents,
never in the journal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from psycopg import errors as pg

from catalog import ranks, search
from catalog.price_lists import NameOut
from clinic import clock, db, errors, fields, ids, lists
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound

EXTERNAL_ID = r"[A-Za-z0-9._:-]{1,64}"
_EVER = date(2000, 1, 1)
"""The day of a doctor's first rank: before any day that can be asked for, so that each has one."""

errors.describe({"since_passed": ("Этот день уже прошёл.", "This day is over.")})


class ExternalIdTaken(Conflict):
    """Another doctor has this external_id.

    It is the doctor's identifier in your system: find who has it, or send another one."""

    ru = (
        "Этот external_id уже у другого врача\n\n"
        "Это идентификатор врача в вашей системе: найдите, у кого он, или пошлите другой."
    )


class DoctorPatch(fields.Shape):
    """What may change of a doctor; the rank does by a promotion. Documents already made keep what they copied."""

    name = fields.Nested(fields.Words)
    specialty = fields.Nested(fields.Words)
    external_id = fields.Form(
        EXTERNAL_ID, allow_none=True, metadata={"description": "the doctor in your own system", "example": "D-17"}
    )
    active = fields.Flag(metadata={"description": "false: works here no longer; past days can still be billed"})


class DoctorIn(DoctorPatch):
    """A new doctor."""

    id = fields.Uuid(load_default=None, allow_none=True, metadata={"description": "the doctor's id, if you give it"})
    name = fields.Nested(fields.Words, required=True)
    specialty = fields.Nested(fields.Words, required=True)
    doctor_rank = fields.Form(ranks.FORM, required=True, metadata={"example": "candidate"})
    external_id = fields.Form(EXTERNAL_ID, load_default=None, allow_none=True, metadata={"example": "D-17"})
    active = fields.Flag(load_default=True)

    def beyond(self, raw: Any) -> list[Fault]:
        return ranks.faults_in(raw)


class PromotionIn(fields.Shape):
    """A rank from a day on."""

    doctor_rank = fields.Form(ranks.FORM, required=True, metadata={"example": "doctor"})
    since = fields.Day(
        load_default=None, allow_none=True, metadata={"description": "its first day: tomorrow by default, or today"}
    )

    def beyond(self, raw: Any) -> list[Fault]:
        since = raw.get("since") if isinstance(raw, dict) else None
        try:
            day = fields.Day().deserialize(since)
        except ma.ValidationError:
            day = None
        return (_since_faults(day, clock.today()) if day else []) + ranks.faults_in(raw)


class DoctorsQuery(lists.Page):
    q = fields.Text(100, least=0, load_default=None, metadata={"description": "words of names and specialties"})
    active = fields.Flag(query=True, load_default=None)
    doctor_rank = fields.Form(ranks.FORM, load_default=None, metadata={"description": "only who has this rank today"})


class PromotionOut(ma.Schema):
    """A rank from `since` on; of several with the same day the last one counts."""

    doctor_rank = ma.fields.String(required=True)
    since = ma.fields.Date(required=True)
    recorded_by = ma.fields.String(required=True)
    recorded_at = ma.fields.DateTime(required=True)


class DoctorOut(ma.Schema):
    """A doctor. `doctor_rank` is today's; `promotions` are those past and to come, by their days."""

    id = ma.fields.UUID(required=True)
    external_id = ma.fields.String(required=True, allow_none=True)
    name = ma.fields.Nested(NameOut, required=True)
    specialty = ma.fields.Nested(NameOut, required=True)
    active = ma.fields.Boolean(required=True)
    doctor_rank = ma.fields.String(required=True)
    promotions = ma.fields.List(ma.fields.Nested(PromotionOut), required=True)
    created_at = ma.fields.DateTime(required=True)
    updated_at = ma.fields.DateTime(required=True)


@dataclass(frozen=True)
class Doctor:
    """A doctor. `promotions` are JSON already, the first rank among them."""

    id: UUID
    external_id: str | None
    name_ru: str
    name_en: str
    specialty_ru: str
    specialty_en: str
    active: bool
    doctor_rank: str
    rank_ru: str
    rank_en: str
    promotions: list[dict[str, str]]
    row_version: int
    created_at: datetime
    updated_at: datetime

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "external_id": self.external_id,
            "name": {"ru": self.name_ru, "en": self.name_en},
            "specialty": {"ru": self.specialty_ru, "en": self.specialty_en},
            "active": self.active,
            "doctor_rank": self.doctor_rank,
            "promotions": self.promotions,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


def create(change: Change, wanted: dict[str, Any]) -> Doctor:
    """Add a doctor, who has had this rank for ever.

    Raises:
        ExternalIdTaken: another doctor has it.
        InvalidInput: there is no such rank.
    """
    doctor_id = wanted["id"] or ids.new()
    try:
        change.conn.execute(
            """
            WITH made AS (
              INSERT INTO doctor (id, external_id, name_ru, name_en, specialty_ru, specialty_en, active, created_at,
                                  updated_at)
              VALUES (%(id)s, %(external_id)s, %(name_ru)s, %(name_en)s, %(specialty_ru)s, %(specialty_en)s,
                      %(active)s, %(at)s, %(at)s))
            INSERT INTO doctor_promotion (id, doctor_id, doctor_rank, since, recorded_by, recorded_at)
            VALUES (%(promotion)s, %(id)s, %(doctor_rank)s, %(since)s, %(by)s, %(at)s)
            """,
            {
                "id": doctor_id,
                "promotion": ids.new(),
                "external_id": wanted["external_id"],
                **_columns(wanted),
                "active": wanted["active"],
                "doctor_rank": wanted["doctor_rank"],
                "since": _EVER,
                "by": change.actor.label,
                "at": change.at,
            },
        )
    except pg.UniqueViolation as exc:
        raise _taken(exc) from exc
    except pg.ForeignKeyViolation as exc:
        raise ranks.unknown(wanted["doctor_rank"]) from exc
    change.record("doctor.created", doctor_id, doctor_rank=wanted["doctor_rank"])
    return get(change.conn, change.today, doctor_id)


def edit(change: Change, doctor: Doctor, wanted: dict[str, Any]) -> Doctor:
    """Change `doctor`, who was read under his lock.

    Raises:
        ExternalIdTaken: another doctor has it.
    """
    wanted = {member: value for member, value in wanted.items() if member not in ("name", "specialty")} | _columns(
        wanted
    )
    changed = {member: value for member, value in wanted.items() if value != getattr(doctor, member)}
    if not changed:
        return doctor
    after = replace(doctor, **changed, row_version=doctor.row_version + 1, updated_at=change.at)
    try:
        change.conn.execute(
            """
            UPDATE doctor
               SET external_id = %(external_id)s, name_ru = %(name_ru)s, name_en = %(name_en)s,
                   specialty_ru = %(specialty_ru)s, specialty_en = %(specialty_en)s, active = %(active)s,
                   row_version = %(row_version)s, updated_at = %(updated_at)s
             WHERE id = %(id)s
            """,
            {name: value for name, value in vars(after).items() if name != "promotions"},
        )
    except pg.UniqueViolation as exc:
        raise _taken(exc) from exc
    members = {re.sub(r"_(ru|en)$", "", column) for column in changed}
    change.record("doctor.changed", doctor.id, changed=sorted(members))
    return after


def _columns(wanted: dict[str, Any]) -> dict[str, str]:
    return {
        f"{member}_{lang}": wanted[member][lang]
        for member in ("name", "specialty")
        if member in wanted
        for lang in ("ru", "en")
    }


def _taken(exc: pg.UniqueViolation) -> Exception:
    return ExternalIdTaken() if exc.diag.constraint_name == "doctor_external_id_key" else exc


def promote(change: Change, doctor: Doctor, doctor_rank: str, since: date | None) -> Doctor:
    """Record the rank that `doctor`, who was read under his lock, has from `since` on, by default from tomorrow.

    Raises:
        InvalidInput: the day is over, or there is no such rank.
    """
    first = since or change.today + timedelta(days=1)
    if faults := _since_faults(first, change.today):
        raise InvalidInput(faults + ranks.faults_of(change.conn, doctor_rank))
    try:
        change.conn.execute(
            """
            WITH counted AS (
              UPDATE doctor SET row_version = row_version + 1, updated_at = %(at)s WHERE id = %(doctor)s)
            INSERT INTO doctor_promotion (id, doctor_id, doctor_rank, since, recorded_by, recorded_at)
            VALUES (%(id)s, %(doctor)s, %(rank)s, %(since)s, %(by)s, %(at)s)
            """,
            {
                "id": _later_id(change.conn, doctor.id),
                "doctor": doctor.id,
                "rank": doctor_rank,
                "since": first,
                "by": change.actor.label,
                "at": change.at,
            },
        )
    except pg.ForeignKeyViolation as exc:
        raise ranks.unknown(doctor_rank) from exc
    change.record("doctor.promoted", doctor.id, doctor_rank=doctor_rank, since=first.isoformat())
    return get(change.conn, change.today, doctor.id)


def _since_faults(day: date, today: date) -> list[Fault]:
    return [Fault("/since", "since_passed")] if day < today else []


def _later_id(conn: db.Connection, doctor_id: UUID) -> UUID:
    """A new id behind all of this doctor's records.

    Within a millisecond the order of new ids is chance, and a clock may be put back.
    """
    newest: UUID = db.value(
        conn,
        "SELECT id FROM doctor_promotion WHERE doctor_id = %(doctor)s ORDER BY id DESC LIMIT 1",
        {"doctor": doctor_id},
    )
    return max(ids.new(), UUID(int=newest.int + 1))


def get(conn: db.Connection, today: date, doctor_id: UUID) -> Doctor:
    """The doctor as of today.

    Raises:
        NotFound: there is none.
    """
    found = db.find(conn, Doctor, _SELECT + "WHERE doctor.id = %(id)s", {"today": today, "id": doctor_id})
    if found is None:
        raise NotFound()
    return found


def locked(conn: db.Connection, today: date, doctor_id: UUID) -> Doctor:
    """The doctor, whom nobody else changes or promotes until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    conn.execute("SELECT FROM doctor WHERE id = %(id)s FOR NO KEY UPDATE", {"id": doctor_id})
    return get(conn, today, doctor_id)


_SELECT = """
SELECT doctor.id, doctor.external_id, doctor.name_ru, doctor.name_en, doctor.specialty_ru, doctor.specialty_en,
       doctor.active, rank.code AS doctor_rank, rank.name_ru AS rank_ru, rank.name_en AS rank_en,
       (SELECT jsonb_agg(jsonb_build_object(
                 'doctor_rank', doctor_rank, 'since', since, 'recorded_by', recorded_by, 'recorded_at',
                 to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) ORDER BY since, id)
          FROM doctor_promotion WHERE doctor_id = doctor.id) AS promotions,
       doctor.row_version, doctor.created_at, doctor.updated_at
  FROM doctor
  LEFT JOIN doctor_rank AS rank ON rank.code = (
       SELECT doctor_rank FROM doctor_promotion
        WHERE doctor_id = doctor.id AND since <= %(today)s::date
        ORDER BY since DESC, id DESC
        LIMIT 1)
"""


def listed(
    conn: db.Connection,
    today: date,
    *,
    q: str | None = None,
    active: bool | None = None,
    doctor_rank: str | None = None,
    after: str | None = None,
    limit: int,
) -> list[Doctor]:
    """Up to `limit` doctors by their Russian names, behind the one of the id `after`; None lets everything pass."""
    return db.filtered(
        conn,
        Doctor,
        _SELECT
        + """
          -- A cursor goes into addresses, where no name belongs: it holds the id alone.
          LEFT JOIN doctor AS last ON last.id = %(after)s::uuid
         WHERE (%(patterns)s::text[] IS NULL OR
                translate(lower(concat_ws(' ', doctor.name_ru, doctor.name_en, doctor.specialty_ru,
                                          doctor.specialty_en)), 'ё', 'е') LIKE ALL (%(patterns)s::text[]))
           AND (%(active)s::boolean IS NULL OR doctor.active = %(active)s::boolean)
           AND (%(rank)s::text IS NULL OR rank.code = %(rank)s::text)
           AND (last.id IS NULL OR (doctor.name_ru, doctor.id) > (last.name_ru, last.id))
         ORDER BY doctor.name_ru, doctor.id
         LIMIT %(limit)s::int
        """,
        {
            "today": today,
            "patterns": search.patterns(q) or None,
            "active": active,
            "rank": doctor_rank,
            "after": after,
            "limit": limit,
        },
    )
