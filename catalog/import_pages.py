"""Pages on which files come in: a price list that becomes a draft order, and the register of Order 804n.

A file is looked through first and loaded then, and chosen once: between the two it is kept (`kept_files`). A long one
becomes a job, whose page says how far it is and then shows the report.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from catalog import (
    nomenclature,
    nomenclature_imports,
    price_imports,
    price_lists,
    price_orders,
    price_shelf,
    price_template,
    services,
)
from catalog.price_columns import HEADINGS
from catalog.price_imports import OrderIn, RowsRefused
from clinic import budgets, clock, db, forms, html, http, ids, jobs, kept_files
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, NotFound, Problem
from clinic.kept_files import Brought

bp = Blueprint("import_pages", __name__, template_folder="templates")
MOST_SHOWN = 500
"""Findings of a report that its page lists."""
_FIELDS = ("price_list", "effective_from", "number", "date", "corrects", "note")
_HOMES = {price_imports.KIND: "/catalog/import", nomenclature_imports.KIND: "/catalog/nomenclature"}
_SAID = {"required": ("Заполните это поле.", "Fill in this field.")}


@dataclass
class _Sent:
    """What a form sent and what came of it, for the page that is shown then."""

    typed: dict[str, str] = field(default_factory=dict)
    key: str = field(default_factory=forms.new_key)
    named: str = ""
    file: Brought | None = None
    faults: Sequence[Fault] = ()
    refusal: Problem | None = None
    report: dict[str, Any] | None = None

    @property
    def status(self) -> int:
        if self.refusal:
            return self.refusal.status
        return 422 if self.faults or self.unreadable else 200

    @property
    def unreadable(self) -> list[str]:
        """Why a file is no table with such columns at all: the field's fault, and no row's."""
        found = self.report["problems"] if self.report else []
        return (
            [each["message"] for each in found]
            if any(each["row"] <= 1 and not each["column"] for each in found)
            else []
        )

    def given(self) -> dict[str, Any]:
        """What every template of this module is given."""
        report = None if self.unreadable else self.report and _shown(self.report)
        faults = forms.by_field(self.faults, _SAID) | ({"file": self.unreadable} if self.unreadable else {})
        # A wrong file is brought anew: the one that was kept would be found as wrong as before.
        usable = self.file and not (self.report and self.report["problems"])
        return {
            "typed": self.typed,
            "key": self.key,
            "kept": self.file.id if self.file and usable else None,
            "named": self.named[-100:],
            "size": len(self.file.content) if self.file else 0,
            "faults": faults,
            "refusal": None if self.unreadable else forms.told(self.refusal),
            "report": report,
            "loads": self.typed.get("do") == "load",
            "today": clock.today(),
        }


def _sent() -> _Sent:
    """What this request's form sent."""
    typed = request.form.to_dict()
    file = request.files.get("file")
    named = file.filename if file is not None and file.filename else typed.get("named", "")
    # A name may hold marks that turn the text round, so that «lsx.exe» ends in .xlsx to the eye.
    return _Sent(typed, forms.known_key(typed.get("key")), "".join(filter(str.isprintable, named or "")))


def _shown(report: dict[str, Any]) -> dict[str, Any]:
    """A report with its findings in one list, what stops the file first."""
    marked = [
        {**each, "stops": stops} for stops in (True, False) for each in report["problems" if stops else "warnings"]
    ]
    lang = http.lang()
    for each in marked:
        heading = HEADINGS.get(each["column"] or "")
        each["column"] = heading[0] if heading and lang == "ru" else each["column"]
    return {**report, "findings": marked[:MOST_SHOWN], "further": max(0, len(marked) - MOST_SHOWN)}


def _mark(file: Brought, raw: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    return {"file": hashlib.sha256(file.content).hexdigest(), "dry_run": dry_run, **raw}


# ---- Price lists ----


def _too_large() -> AnyResponse:
    kept_files.swallow()
    return _prices_page(_Sent(faults=kept_files.too_large().faults))


@bp.get("/catalog/import")
@html.page(may="catalog:write")
def prices() -> Response:
    return _prices_page(_Sent(typed={name: request.args[name] for name in _FIELDS if name in request.args}))


@bp.post("/catalog/import")
@html.page(may="catalog:write", files=kept_files.LARGEST_FORM, too_large=_too_large, a_minute=budgets.COSTLY)
def import_prices() -> AnyResponse:
    sent = _sent()
    raw = forms.given(forms.members(sent.typed, *_FIELDS))
    try:
        return _import_prices(sent, raw, _asked(sent, raw))
    except InvalidInput as wrong:
        sent.faults = wrong.faults
    except RowsRefused as refused:
        sent.report, sent.refusal = refused.members, refused
    except Problem as refusal:
        sent.refusal = refusal
    return _prices_page(sent)


def _asked(sent: _Sent, raw: dict[str, Any]) -> dict[str, Any]:
    """The order asked for, with the file; all that is wrong with either at once.

    Raises:
        InvalidInput: names every wrong field.
    """
    faults: list[Fault] = []
    wanted: dict[str, Any] = {}
    try:
        sent.file = kept_files.brought()
    except InvalidInput as wrong:
        faults += wrong.faults
    try:
        wanted = forms.loaded(OrderIn(), raw)
    except InvalidInput as wrong:
        faults += wrong.faults
    if sent.file is None or faults:
        raise InvalidInput(faults)
    return wanted | {"file": sent.file.content}


def _import_prices(sent: _Sent, raw: dict[str, Any], asked: dict[str, Any]) -> AnyResponse:
    assert sent.file is not None
    dry_run = sent.typed.get("do") != "load"
    mark = _mark(sent.file, raw, dry_run=dry_run)
    if price_imports.is_long(asked["file"]):
        job = forms.once(sent.key, mark, lambda change: _enqueue_prices(change, asked, dry_run=dry_run))
        return redirect(_job_address(job, sent.file, raw, dry_run=dry_run), 303)
    if dry_run:
        with forms.change() as change:
            sent.report = price_imports.load(change, price_imports.wanted(change, asked, dry_run=True), http.lang())
        return _prices_page(sent)
    order = forms.once(sent.key, mark, lambda change: _load_prices(change, asked, sent))
    if sent.report is None:
        # Pressed twice: the first answer has shown the report.
        return redirect(f"/catalog/orders/{order}", 303)
    return _prices_page(_Sent({"do": "load"}, report=sent.report))


def _enqueue_prices(change: Change, asked: dict[str, Any], *, dry_run: bool) -> UUID:
    wanted = price_imports.wanted(change, asked, dry_run=dry_run)
    return price_imports.enqueue(change, wanted, lang=http.lang(), request=http.request_id()).id


def _load_prices(change: Change, asked: dict[str, Any], sent: _Sent) -> UUID:
    sent.report = price_imports.load(change, price_imports.wanted(change, asked, dry_run=False), http.lang())
    order: UUID = sent.report["order"]
    return order


def _prices_page(sent: _Sent) -> Response:
    with db.moment() as conn:
        lists = price_lists.every(conn)
        asked = {"status": "published", "price_list": None, "since": None, "until": None, "limit": 50}
        corrigible = price_orders.page(conn, asked, None)[:50]
    given = sent.given()
    return Response(render_template("import.html", **given, lists=lists, corrigible=corrigible), sent.status)


@bp.get("/catalog/import/template")
@html.page(may="catalog:read")
def template() -> AnyResponse:
    format = request.args.get("format", "xlsx")
    if format not in price_template.FORMATS:
        raise NotFound()
    with db.reading() as conn:
        file = price_template.made(conn, format)
    return price_shelf.Ready.of(file).response()


# ---- Long files ----


def _job_address(job: UUID, file: Brought, raw: dict[str, Any], *, dry_run: bool) -> str:
    """The job's page. It remembers the form, so that what was looked through can be loaded from there."""
    asked = {"kept": str(file.id), **raw} | ({"tried": "1"} if dry_run else {})
    return f"/catalog/jobs/{job}?{urlencode(asked)}"


@bp.get("/catalog/jobs/<uuid:job_id>")
@html.page(may="catalog:write")
def job(job_id: UUID) -> Response:
    with db.reading() as conn:
        found = jobs.get(conn, job_id, http.actor())
    if found.kind not in _HOMES:
        raise NotFound()
    problem = found.problem or {}
    report = found.result or (problem if "problems" in problem else None)
    asked = {name: request.args[name] for name in ("kept", *_FIELDS) if request.args.get(name)}
    only_tried = found.status == "done" and not (report or {}).get("problems") and "tried" in request.args
    return Response(
        render_template(
            "import_job.html",
            job=found,
            home=_HOMES[found.kind],
            report=report and _shown({"accepted": 0, "refused": 0, "order": None, **report}),
            problem=problem,
            reasons=[each["message"] for each in problem.get("errors", [])],
            asked=asked if only_tried and "kept" in asked else None,
            tried="tried" in request.args,
            back=urlencode({name: value for name, value in asked.items() if name != "kept"}),
            key=forms.new_key(),
        )
    )


# ---- The register ----


def _register_too_large() -> AnyResponse:
    kept_files.swallow()
    return _register_page(_Sent(faults=kept_files.too_large().faults))


@bp.get("/catalog/nomenclature")
@html.page(may="catalog:read")
def register() -> Response:
    return _register_page(_Sent())


@bp.post("/catalog/nomenclature")
@html.page(may="catalog:write", files=kept_files.LARGEST_FORM, too_large=_register_too_large, a_minute=budgets.COSTLY)
def import_register() -> AnyResponse:
    sent = _sent()
    try:
        sent.file = kept_files.brought()
        return _import_register(sent, sent.file, dry_run=sent.typed.get("do") != "load")
    except InvalidInput as wrong:
        sent.faults = wrong.faults
    except RowsRefused as refused:
        sent.report, sent.refusal = refused.members, refused
    except Problem as refusal:
        sent.refusal = refusal
    return _register_page(sent)


def _import_register(sent: _Sent, file: Brought, *, dry_run: bool) -> AnyResponse:
    mark = _mark(file, {}, dry_run=dry_run)
    if nomenclature_imports.is_long(file.content):
        job = forms.once(sent.key, mark, lambda change: _enqueue_register(change, file, dry_run=dry_run))
        return redirect(_job_address(job, file, {}, dry_run=dry_run), 303)
    if dry_run:
        with forms.change() as change:
            sent.report = nomenclature_imports.load(change, file.content, http.lang(), dry_run=True)
        return _register_page(sent)
    forms.once(sent.key, mark, lambda change: _load_register(change, file, sent))
    if sent.report is None:
        return redirect("/catalog/nomenclature", 303)
    return _register_page(_Sent({"do": "load"}, report=sent.report))


def _enqueue_register(change: Change, file: Brought, *, dry_run: bool) -> UUID:
    return nomenclature_imports.enqueue(
        change, file.content, dry_run=dry_run, lang=http.lang(), request=http.request_id()
    ).id


def _load_register(change: Change, file: Brought, sent: _Sent) -> UUID:
    sent.report = nomenclature_imports.load(change, file.content, http.lang(), dry_run=False)
    return ids.new()


def _register_page(sent: _Sent) -> Response:
    with db.moment() as conn:
        stock = nomenclature.stock(conn)
        doubtful = nomenclature.check(conn, clock.today(), missing=True)
        shown = doubtful[:MOST_SHOWN]
        named = services.named(conn, sorted({article for article, _ in shown}))
    given = sent.given()
    return Response(
        render_template(
            "nomenclature.html",
            **given,
            stock=stock,
            counts=Counter(fault.code for _, fault in doubtful),
            doubtful=[(named[article], fault.message(http.lang())) for article, fault in shown],
            further=max(0, len(doubtful) - MOST_SHOWN),
        ),
        sent.status,
    )
