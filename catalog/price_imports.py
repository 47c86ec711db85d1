"""Price lists as files that programs send: a short one is answered at once, a long one becomes a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import marshmallow as ma

from catalog import price_files, price_lists, price_orders, price_rows
from clinic import fields, jobs
from clinic.command import Change
from clinic.errors import Problem
from clinic.jobs import Job, Task

KIND = "price_import"
MOST_ROWS = 2000
"""Rows that are read while the caller waits."""
LARGEST_AT_ONCE = 2 * 2**20
"""Bytes of a file whose rows are not even counted while the caller waits."""


class RowsRefused(Problem):
    """Rows of the file are wrong, and nothing was made.

    The list `problems` names each wrong cell by row, column and code. With `dry_run=true` the same report is no
    refusal but the answer."""

    status = 422
    ru = (
        "В файле есть неверные строки, ничего не создано\n\n"
        "Список `problems` называет каждую неверную ячейку: строку, столбец и код. "
        "С `dry_run=true` тот же отчёт — не отказ, а ответ."
    )


class OrderIn(fields.Shape):
    """The price order that a file becomes. Without `number` it gets the next free one; its date is today's."""

    number = fields.Text(32)
    date = fields.Day()
    effective_from = fields.Day(required=True)
    price_list = fields.Form(price_lists.FORM, load_default=price_lists.BASE, metadata={"example": "base"})
    corrects = fields.Uuid()
    note = fields.Text(1000)


class ImportIn(OrderIn):
    """A price list as a file, and the price order it becomes."""

    file = fields.File(
        required=True, metadata={"description": "a price list with a header, such as `prices export` writes"}
    )


class FindingOut(ma.Schema):
    """What is wrong with a cell, or worth a look; `row` as a spreadsheet counts it."""

    row = ma.fields.Integer(required=True)
    column = ma.fields.String(required=True, allow_none=True)
    code = ma.fields.String(required=True)
    message = ma.fields.String(required=True)


class ReportOut(ma.Schema):
    """What became of the file. `order` is the id of the draft that was made."""

    rows = ma.fields.Integer(required=True)
    accepted = ma.fields.Integer(required=True)
    refused = ma.fields.Integer(required=True)
    problems = ma.fields.List(ma.fields.Nested(FindingOut), required=True)
    warnings = ma.fields.List(ma.fields.Nested(FindingOut), required=True)
    order = ma.fields.UUID(required=True, allow_none=True)


@dataclass(frozen=True)
class Import:
    """A file, the order it is to become, and whether it is only to be tried."""

    file: bytes
    order: price_orders.Wanted
    dry_run: bool


def wanted(change: Change, given: dict[str, Any], *, dry_run: bool) -> Import:
    """The import that a body read by `ImportIn` asks for."""
    order = {member: value for member, value in given.items() if member != "file"}
    return Import(given["file"], price_orders.Wanted(**{"date": change.today} | order), dry_run)


def is_long(file: bytes) -> bool:
    """Whether a file has more rows than are read while the caller waits. Ask before a transaction is open."""
    return len(file) > LARGEST_AT_ONCE or price_rows.read(file, lambda _: ()).count > MOST_ROWS


def load(change: Change, wanted: Import, lang: str, watch: price_rows.Watch = iter) -> dict[str, Any]:
    """Make the draft order, or only try; answers the report.

    Raises:
        RowsRefused: it was to be made, and rows are wrong.
        InvalidInput, OrderNumberTaken: what is wrong is the order.
    """
    report = price_files.load(change, wanted.file, wanted.order, dry_run=wanted.dry_run, watch=watch)
    if report.problems and not wanted.dry_run:
        raise RowsRefused(**report.as_json(lang))
    return report.as_json(lang)


def enqueue(change: Change, wanted: Import, *, lang: str, request: str) -> Job:
    """Leave it to a worker."""
    given = {"order": vars(wanted.order), "dry_run": wanted.dry_run}
    return jobs.enqueue(change, KIND, given, file=wanted.file, lang=lang, request=request)


def _work(change: Change, task: Task) -> dict[str, Any]:
    given = {member: value for member, value in task.input["order"].items() if value is not None}
    order = price_orders.Wanted(**OrderIn().load(given))
    return load(change, Import(task.file or b"", order, task.input["dry_run"]), task.lang, task.progress.of)


jobs.kind(KIND, _work)
