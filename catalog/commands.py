"""`prices` on the command line: price lists from files and into files, and the publishing of orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from uuid import UUID

import click

from catalog import (
    price_files,
    price_lists,
    price_orders,
    price_sheets,
    price_template,
    price_writing,
    publishing,
    reporting,
)
from catalog.price_files import Report
from clinic import clock, db
from clinic import settings as clinic_settings
from clinic.auth import COMMAND_LINE
from clinic.cli import Refusal, open_database
from clinic.command import Change, change
from clinic.errors import InvalidInput


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
    """Make a draft price order of a file (CSV or XLSX), whole or not at all.

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
            watch=reporting.shown,
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
@click.option("--format", type=click.Choice(price_writing.FORMATS), help="By default what FILE ends in, else csv.")
@click.option("--on", "day", type=_Day(), help="Prices of this day; by default today.")
@click.option("--price-list", default=price_lists.BASE, show_default=True, help="Code of the price list.")
@click.option("--lang", type=click.Choice(["ru", "en"]), default="ru", show_default=True, help="Of XLSX, JSON, PDF.")
@click.option(
    "--encoding", type=click.Choice(price_writing.ENCODINGS), default="utf-8", show_default=True, help="Of CSV."
)
def export_file(
    file: Path | None, format: str | None, day: date | None, price_list: str, lang: str, encoding: str
) -> None:
    """Write a price list as CSV or XLSX, which import reads, JSON, or PDF; without FILE to standard output."""
    settings = clinic_settings.from_environment()
    clock.use_zone(settings.timezone)
    with open_database(settings):
        sheet = price_sheets.read(price_list, day or clock.today())
    _write(file, price_writing.written(sheet, format or _format_of(file, price_writing.FORMATS), lang, encoding))


@prices.command("template")
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path), required=False)
@click.option("--format", type=click.Choice(price_template.FORMATS), help="By default what FILE ends in, else csv.")
def template(file: Path | None, format: str | None) -> None:
    """Write the empty form of a price list as CSV or XLSX; without FILE to standard output."""
    with open_database(clinic_settings.from_environment()), db.reading() as conn:
        made = price_template.made(conn, format or _format_of(file, price_template.FORMATS))
    _write(file, made)


def _format_of(file: Path | None, formats: Sequence[str]) -> str:
    ending = file.suffix.lower().removeprefix(".") if file else ""
    if file and ending not in formats:
        raise click.UsageError(f"{file.name} does not end in .{', .'.join(formats)}: say --format")
    return ending or formats[0]


def _write(file: Path | None, made: price_writing.File) -> None:
    if file is None:
        click.echo(made.content, nl=False)
    else:
        file.write_bytes(made.content)


@contextmanager
def _changing() -> Iterator[Change]:
    settings = clinic_settings.from_environment()
    clock.use_zone(settings.timezone)
    with open_database(settings):
        try:
            with change(COMMAND_LINE) as made:
                yield made
        except InvalidInput as wrong:
            told = "; ".join(f"{each.pointer}: {each.message(reporting.language())}" for each in wrong.faults)
            raise Refusal(told) from wrong


def _print(report: Report, *, dry_run: bool, published: bool) -> None:
    reporting.print_findings(report.problems, report.warnings)
    refused = report.refused
    click.echo(f"{report.rows} rows: {report.rows - refused} accepted, {refused} refused")
    if report.problems:
        click.echo("Nothing was made.")
    elif dry_run:
        click.echo("A dry run: nothing was made.")
    else:
        click.echo(f"{'Published' if published else 'Draft'} order: {report.order}")
