"""The register of Order 804n as a file that is sent: a short one is answered at once, a long one becomes a job."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from catalog import nomenclature, price_imports, price_rows
from catalog.price_imports import FindingOut, RowsRefused
from clinic import fields, jobs
from clinic.command import Change
from clinic.jobs import Job, Task

KIND = "nomenclature_import"


class RegisterIn(fields.Shape):
    """The register as the state's registry publishes it."""

    file = fields.File(
        required=True, metadata={"description": "CSV or XLSX with the columns ID, S_CODE, NAME, REL and DATEOUT"}
    )


class RegisterOut(ma.Schema):
    """What became of the file; with any problem nothing was changed. `codes` is how many codes it has."""

    rows = ma.fields.Integer(required=True)
    problems = ma.fields.List(ma.fields.Nested(FindingOut), required=True)
    warnings = ma.fields.List(ma.fields.Nested(FindingOut), required=True)
    codes = ma.fields.Integer(required=True)
    in_force = ma.fields.Integer(required=True)
    added = ma.fields.Integer(required=True)
    withdrawn = ma.fields.Integer(required=True)


def is_long(file: bytes) -> bool:
    """Whether a file has more rows than are read while the caller waits. Ask before a transaction is open."""
    return len(file) > price_imports.LARGEST_AT_ONCE or nomenclature.rows_of(file) > price_imports.MOST_ROWS


def load(change: Change, file: bytes, lang: str, *, dry_run: bool, watch: price_rows.Watch = iter) -> dict[str, Any]:
    """Take over the register, or only try; answers the report.

    Raises:
        RowsRefused: it was to be taken over, and rows are wrong.
    """
    report = nomenclature.load(change, file, dry_run=dry_run, watch=watch).as_json(lang)
    if report["problems"] and not dry_run:
        raise RowsRefused(**report)
    return report


def enqueue(change: Change, file: bytes, *, dry_run: bool, lang: str, request: str) -> Job:
    """Leave it to a worker."""
    return jobs.enqueue(change, KIND, {"dry_run": dry_run}, file=file, lang=lang, request=request)


def _work(change: Change, task: Task) -> dict[str, Any]:
    dry_run: bool = task.input["dry_run"]
    return load(change, task.file or b"", task.lang, dry_run=dry_run, watch=task.progress.of)


jobs.kind(KIND, _work)
