"""Commands of billing."""

from __future__ import annotations

import sys

import click

from billing import books, numbering
from clinic import cli, db, settings


@click.group("numbering")
def numbers() -> None:
    """Series of document numbers."""


@numbers.command("proof")
@click.pass_context
def proof(ctx: click.Context) -> None:
    """Show every series and whether its numbers are 1…n without a gap; status 1 when one is not."""
    with cli.open_database(settings.from_environment()), db.transaction() as conn:
        series = numbering.proof(conn)
    for each in series:
        span = f"{each.first}…{each.last}" if each.count else "no documents"
        verdict = "whole" if each.whole else "BROKEN"
        click.echo(f"{each.branch} {each.kind} {each.prefix}{each.year}: {span}, {each.count} documents, {verdict}")
    if not series:
        click.echo("No document has a number yet.")
    if not all(each.whole for each in series):
        ctx.exit(1)


@click.command("check-books")
@click.pass_context
def check_books(ctx: click.Context) -> None:
    """Ask every question about the books that must have no answer; status 1 when one has, its first offenders named."""
    with (
        cli.open_database(settings.from_environment()),
        db.moment() as conn,
        click.progressbar(length=1, label="Checking", file=sys.stderr) as bar,
    ):

        def passing(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        verdict = books.check(conn, passing)
    for each in verdict.offenders:
        click.echo(f"{each.check}: {each.type} {each.id}: {each.says}")
    click.echo(f"{verdict.documents} documents, {verdict.events} events: {'whole' if verdict.whole else 'BROKEN'}")
    ctx.exit(0 if verdict.whole else 1)
