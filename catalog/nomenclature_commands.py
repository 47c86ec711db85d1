"""`nomenclature` on the command line: the state's register of medical services."""

from __future__ import annotations

from pathlib import Path

import click

from catalog import nomenclature, reporting
from clinic import clock, db
from clinic import settings as clinic_settings
from clinic.auth import COMMAND_LINE
from clinic.cli import open_database
from clinic.command import change


@click.group("nomenclature")
def nomenclature_commands() -> None:
    """The state's register of medical services (Order 804n)."""


@nomenclature_commands.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.pass_context
def load(ctx: click.Context, /, file: Path, dry_run: bool) -> None:
    """Take over the register's file (CSV or XLSX; columns ID, S_CODE, NAME, REL, DATEOUT), whole or not at all.

    Codes that it lacks are no longer in force. With any row refused nothing changes and the status is 1."""
    settings = clinic_settings.from_environment()
    clock.use_zone(settings.timezone)
    with open_database(settings), change(COMMAND_LINE) as made:
        report = nomenclature.load(made, file.read_bytes(), dry_run=dry_run, watch=reporting.shown)
    reporting.print_findings(report.problems, report.warnings)
    if report.problems:
        click.echo("Nothing was changed.")
        ctx.exit(1)
    click.echo(
        f"{report.codes} codes, {report.in_force} in force: {report.added} new, {report.withdrawn} withdrawn"
        f"{'; a dry run, nothing was changed' if dry_run else ''}"
    )


@nomenclature_commands.command("check")
@click.pass_context
def check(ctx: click.Context, /) -> None:
    """List services whose codes the register does not know, or has withdrawn; status 1 when there are any."""
    settings = clinic_settings.from_environment()
    clock.use_zone(settings.timezone)
    with open_database(settings), db.reading() as conn:
        loaded, found = nomenclature.is_loaded(conn), nomenclature.check(conn, clock.today())
    for article, fault in found:
        click.echo(f"{article}: {fault.message(reporting.language())} ({fault.code})")
    if not loaded:
        click.echo("No register is loaded: only the form of the codes was checked.")
    elif not found:
        click.echo("Every code is in force.")
    ctx.exit(1 if found else 0)
