"""JSON of files that come in: price lists that become orders, and the register of Order 804n."""

from __future__ import annotations

from typing import Any

from flask import Response

from catalog import examples, nomenclature_imports, price_imports
from catalog.nomenclature_imports import RegisterIn, RegisterOut
from catalog.price_imports import ImportIn, ReportOut, RowsRefused
from catalog.price_orders import OrderNumberTaken
from clinic import budgets, fields, http, uploads
from clinic.jobs import JobOut

bp = http.Blueprint("imports", __name__, url_prefix="/v1", description="Price lists from files")


class ImportQuery(http.Query):
    dry_run = fields.Flag(
        query=True, load_default=False, metadata={"description": "only say what would be made, and make nothing"}
    )


@bp.post("/price-orders/imports")
@bp.contract(
    may="catalog:write", takes=ImportIn, files=uploads.LARGEST, query=ImportQuery,
    gives={201: ReportOut, 200: ReportOut, 202: JobOut}, refuses=(RowsRefused, OrderNumberTaken), key="optional",
    answers=examples.REPORT, a_minute=budgets.COSTLY,
)  # fmt: skip
def import_prices(sent: dict[str, Any], query: dict[str, Any]) -> Response:
    """Make a draft price order of a file

    Whole or not at all. 201 tells the order made, 200 is the answer to a dry run. A file of more than 2,000 rows, or of
    more than 2 MiB, is answered 202 with a job, whose `result` is the report."""
    long = price_imports.is_long(sent["file"])
    with http.change() as change:
        wanted = price_imports.wanted(change, sent, dry_run=query["dry_run"])
        if long:
            job = price_imports.enqueue(change, wanted, lang=http.lang(), request=http.request_id())
            headers = {"Location": f"/v1/jobs/{job.id}", "Retry-After": "1"}
            answer = change.give(202, job.as_json(), headers=headers)
        else:
            report = price_imports.load(change, wanted, http.lang())
            answer = change.give(200 if wanted.dry_run else 201, report)
    return http.shown(answer)


@bp.post("/nomenclature/imports")
@bp.contract(
    may="catalog:write", takes=RegisterIn, files=uploads.LARGEST, query=ImportQuery,
    gives={200: RegisterOut, 202: JobOut}, refuses=(RowsRefused,), key="optional", answers=examples.REGISTER,
    a_minute=budgets.COSTLY,
)  # fmt: skip
def import_nomenclature(sent: dict[str, Any], query: dict[str, Any]) -> Response:
    """Take over the register of Order 804n from a file

    Whole or not at all; codes that the file lacks cease to be in force. A file of more than 2,000 rows, or of more than
    2 MiB, is answered 202 with a job, whose `result` is the report."""
    file, dry_run = sent["file"], query["dry_run"]
    long = nomenclature_imports.is_long(file)
    with http.change() as change:
        if long:
            job = nomenclature_imports.enqueue(
                change, file, dry_run=dry_run, lang=http.lang(), request=http.request_id()
            )
            headers = {"Location": f"/v1/jobs/{job.id}", "Retry-After": "1"}
            answer = change.give(202, job.as_json(), headers=headers)
        else:
            answer = change.give(200, nomenclature_imports.load(change, file, http.lang(), dry_run=dry_run))
    return http.shown(answer)
