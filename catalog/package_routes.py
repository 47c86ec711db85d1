"""JSON of packages."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from werkzeug.routing import Map, UnicodeConverter

from catalog import composing, package_examples, package_offers, packages, price_lists
from catalog.composing import PackageIn, PackagePatch, PackagesOverlap
from catalog.package_offers import PackageDocumentOut, PackageOut
from catalog.package_split import Package
from clinic import clock, db, errors, fields, http, lists
from clinic.errors import NotFound

bp = http.Blueprint("packages", __name__, url_prefix="/v1", description="Services sold together at one price")


class _CodeOrId(UnicodeConverter):
    """How an address names a package; `preview` is neither."""

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map)
        self.regex = f"{packages.CODE}|[0-9a-fA-F-]{{36}}"


bp.record_once(lambda state: state.app.url_map.converters.update(code_or_id=_CodeOrId))
_PACKAGE_AT = "/packages/<code_or_id:package>"


class PackagesFilter(lists.Page):
    on = fields.Day(load_default=None, metadata={"description": "those in force on this day; today unless given"})
    price_list = fields.Form(price_lists.FORM, load_default=None)


class PackageQuery(http.Query):
    on = fields.Day(load_default=None, metadata={"description": "at the prices of this day; today unless given"})
    price_list = fields.Form(
        price_lists.FORM, load_default=price_lists.BASE, metadata={"description": "whose package of this code"}
    )


class PackagesOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PackageOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


def _etag(package: Package) -> str:
    return http.etag(package.id, package.row_version)


@bp.get("/packages")
@bp.contract(may="catalog:read", gives={200: PackagesOut}, query=PackagesFilter, refuses=(errors.BadCursor,))
def list_packages(wanted: dict[str, Any]) -> Response:
    """Packages in force on a day, by price list and code

    Each with its split at the prices of that day, and with warnings for that day and for days whose prices are known
    to come."""
    behind = lists.place_of("packages", lists.filters_of(wanted), wanted["cursor"])
    on = wanted["on"] or clock.today()
    with db.transaction() as conn:
        rows = packages.page(conn, on, wanted["price_list"], behind, wanted["limit"] + 1)
        found, cursor = lists.page_of("packages", wanted, rows, lambda package: [package.price_list, package.code])
        offers = package_offers.of(conn, found, on)
    return http.reply({"items": [each.as_json(http.lang()) for each in offers], "next_cursor": cursor})


@bp.post("/packages")
@bp.contract(
    may="prices:publish", takes=PackageIn, gives={201: PackageOut}, refuses=(PackagesOverlap,), key="optional",
    example=package_examples.PACKAGE_IN, answers=package_examples.PACKAGE,
)  # fmt: skip
def create_package(wanted: dict[str, Any]) -> Response:
    """Add a package

    What it is made of and what it costs never changes: end it, and add another one under the same code."""
    with http.change() as change:
        package = composing.create(change, wanted)
        (offer,) = package_offers.of(change.conn, [package], package.valid_from)
        headers = {"ETag": _etag(package), "Location": f"/v1/packages/{package.id}"}
        answer = change.give(201, offer.as_json(http.lang()), headers=headers)
    return http.shown(answer)


@bp.post("/packages/preview")
@bp.contract(
    may="prices:publish", takes=PackageIn, gives={200: PackageDocumentOut}, refuses=(PackagesOverlap,),
    example=package_examples.PACKAGE_IN, answers=package_examples.PACKAGE_DOCUMENT,
)  # fmt: skip
def preview_package(wanted: dict[str, Any]) -> Response:
    """Work a package out without keeping it

    The same body, split, warnings and refusals as a package that is added."""
    with db.transaction() as conn:
        package = composing.work_out(conn, clock.now(), wanted)
        composing.refuse_overlap(conn, package)
        (offer,) = package_offers.of(conn, [package], package.valid_from)
    return http.reply(offer.document_json(http.lang()))


@bp.get(_PACKAGE_AT)
@bp.contract(
    may="catalog:read", gives={200: PackageOut}, query=PackageQuery, refuses=(errors.NotFound,),
    answers=package_examples.PACKAGE,
)  # fmt: skip
def read_package(wanted: dict[str, Any], package: str) -> Response:
    """A package by its code or its id

    By code the one in force on the day; by id this very one, on a day it is in force unless `on` names another."""
    with db.transaction() as conn:
        found, on = _found(conn, package, wanted)
        (offer,) = package_offers.of(conn, [found], on)
    return http.reply(offer.as_json(http.lang()), headers={"ETag": _etag(found)})


def _found(conn: db.Connection, named: str, wanted: dict[str, Any]) -> tuple[Package, date]:
    on = wanted["on"] or clock.today()
    if (package_id := _id(named)) is not None:
        found = packages.get(conn, package_id)
        return found, on if wanted["on"] else found.shown_on(on)
    sold = packages.sold_on(packages.versions(conn, wanted["price_list"], [named]).get(named), named, on)
    if not isinstance(sold, Package):
        raise NotFound()
    return sold, on


def _id(named: str) -> UUID | None:
    try:
        return UUID(named) if len(named) == 36 else None
    except ValueError:
        return None


@bp.patch(_PACKAGE_AT)
@bp.contract(
    may="prices:publish", takes=PackagePatch, gives={200: PackageOut}, refuses=(errors.NotFound, PackagesOverlap),
    match=True, example={"valid_until": "2199-12-31"}, answers=package_examples.PACKAGE,
)  # fmt: skip
def change_package(wanted: dict[str, Any], package: str) -> Response:
    """Change the names, the note or the end of a package, by its id

    Quotes and invoices already made keep what they copied."""
    package_id = _id(package)
    if package_id is None:
        raise NotFound()
    with http.change() as change:
        found = packages.locked(change.conn, package_id)
        http.must_match(_etag(found))
        found = composing.edit(change, found, wanted)
        (offer,) = package_offers.of(change.conn, [found], found.shown_on(change.today))
    return http.reply(offer.as_json(http.lang()), headers={"ETag": _etag(found)})
