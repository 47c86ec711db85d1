"""Commands of the audit: check the journal, also against what was published, and show what is published."""

from __future__ import annotations

from pathlib import Path

import click

from clinic import cli, db, embedded, journal, journal_heads, secret_key, settings
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.journal_heads import Signer
from clinic.settings import Settings


@click.group("audit")
def audit_commands() -> None:
    """The journal as audit trail."""


@audit_commands.command("verify")
@click.option(
    "--heads", "heads", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of published heads; by default the one the service writes.",
)  # fmt: skip
@click.option("--key", "public", help="The public key they were signed with; by default the one of our own secret.")
@click.pass_context
def verify(ctx: click.Context, heads: Path | None, public: str | None) -> None:
    """Look through the whole journal; status 1 when something is not as it was, its first bad position named."""
    chosen = settings.from_environment()
    lines = _lines(heads or _own_file(chosen))
    with cli.open_database(chosen), db.moment() as conn:
        found = list(journal_heads.findings(conn, lines, public or (_signer(chosen).public if lines else "")))
        length = journal.length(conn)
    for each in found:
        click.echo(each.says)
    click.echo(f"{length} positions, {len(lines)} published heads: {'BROKEN' if found else 'whole'}")
    if found:
        bad = [each.position for each in found if each.position is not None]
        click.echo(f"first bad position: {min(bad, default='not known')}")
        ctx.exit(1)


@audit_commands.command("head")
def head() -> None:
    """Publish the journal's head now: print the signed line, to be kept where nobody of us can change it."""
    chosen = settings.from_environment()
    with cli.open_database(chosen), change(COMMAND_LINE) as made:
        line = journal_heads.publish(made, _signer(chosen), None)
    click.echo(line)


@audit_commands.command("key")
def key() -> None:
    """Print the public key the heads are signed with."""
    chosen = settings.from_environment()
    with cli.open_database(chosen):
        click.echo(_signer(chosen).public)


def _signer(chosen: Settings) -> Signer:
    secret = secret_key.lasting(chosen)
    if secret is None:
        raise click.ClickException("CLINIC_SECRET_KEY is needed: beside a database of your own nothing else lasts")
    return Signer(secret)


def _own_file(chosen: Settings) -> Path | None:
    file = embedded.heads_file(chosen)
    return file if file and file.exists() else None


def _lines(file: Path | None) -> list[str]:
    if file is None:
        click.echo("No published heads: a cut tail or an old backup cannot be noticed.", err=True)
        return []
    return file.read_text(errors="replace").splitlines()
