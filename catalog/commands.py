"""`prices` on the command line: price lists from files and into files, and the publishing of orders."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from uuid import UUID

import click

from catalog import price_files, price_lists, price_orders, publishing
from catalog.price_files import Report
from clinic import clock, db
from clinic import settings as clinic_settings
from clinic.auth import COMMAND_LINE
from clinic.cli import Refusal, open_database
from clinic.command import Change, change
from clinic.errors import InvalidInput

_Row = tuple[int, list[str]]


class _Day(click.ParamType[date]):
    name = "day"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value} is not a day such as 2026-11-23", param, ctx)


@click.group()
def prices() -> None:
    """Price lists from files and into files, and the publishing of price orders."""


@prices.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be made.")
@click.option("--number", help="Number of the order; by default the next free one.")
@click.option("--date", "day", type=_Day(), help="Date of the order; by default today.")
@click.option("--effective-from", type=_Day(), help="First day of its prices; by default today.")
@click.option("--price-list", default=price_lists.BASE, show_default=True, help="Code of the price list.")
@click.option("--corrects", type=click.UUID, help="Id of the order whose prices of the same first day it replaces.")
@click.option("--publish", is_flag=True, help="Publish the order at once.")
@click.pass_context
def import_file(
    ctx: click.Context,
    /,
    file: Path,
    dry_run: bool,
    number: str | None,
    day: date | None,
    effective_from: date | None,
    price_list: str,
    corrects: UUID | None,
    publish: bool,
) -> None:
    """Make a draft price order of a CSV file, whole or not at all.

    The report goes to standard output. With any row refused nothing is made and the status is 1.
    """
    with _changing() as made:
        report = price_files.load(
            made,
            file.read_bytes(),
            price_orders.Wanted(
                date=day or made.today,
                effective_from=effective_from or made.today,
                price_list=price_list,
                number=number,
                corrects=corrects,
            ),
            publish=publish,
            dry_run=dry_run,
            watch=_shown,
        )
    _print(report, dry_run=dry_run, published=publish)
    ctx.exit(1 if report.problems else 0)


@prices.command("publish")
@click.argument("order_id", type=click.UUID)
def publish_order(order_id: UUID) -> None:
    """Publish a draft price order."""
    with _changing() as made:
        order = publishing.publish(made, order_id)
    click.echo(f"Order No. {order.number} is published; its prices begin on {order.effective_from}.")


@prices.command("export")
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path), required=False)
def export_file(file: Path | None) -> None:
    """Write today's base price list as CSV, in the form that import reads; without FILE to standard output."""
    with open_database(clinic_settings.from_environment()), db.reading() as conn:
        text = price_files.export(conn, clock.today()).encode()
    if file is None:
        click.echo(text, nl=False)
    else:
        file.write_bytes(text)


@contextmanager
def _changing() -> Iterator[Change]:
    settings = clinic_settings.from_environment()
    clock.use_zone(settings.timezone)
    with open_database(settings):
        try:
            with change(COMMAND_LINE) as made:
                yield made
        except InvalidInput as wrong:
            told = "; ".join(f"{each.pointer}: {each.message(_language())}" for each in wrong.faults)
            raise Refusal(told) from wrong


def _shown(rows: list[_Row]) -> Iterator[_Row]:
    with click.progressbar(rows, label="Reading", file=sys.stderr) as passing:
        yield from passing


def _print(report: Report, *, dry_run: bool, published: bool) -> None:
    lang = _language()
    for kind, findings in (("problem", report.problems), ("warning", report.warnings)):
        for each in (finding.as_json(lang) for finding in findings):
            place = f"row {each['row']}" + (f", {each['column']}" if each["column"] else "")
            click.echo(f"{kind}: {place}: {each['message']} ({each['code']})")
    refused = report.refused
    click.echo(f"{report.rows} rows: {report.rows - refused} accepted, {refused} refused")
    if report.problems:
        click.echo("Nothing was made.")
    elif dry_run:
        click.echo("A dry run: nothing was made.")
    else:
        click.echo(f"{'Published' if published else 'Draft'} order: {report.order}")


def _language() -> str:
    spoken = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "ru" if spoken.startswith("ru") else "en"
