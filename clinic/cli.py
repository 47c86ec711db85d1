"""The command line. Commands live in the packages they belong to; `wsgi.py` gathers them here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from clinic import secret_key
from clinic import settings as clinic_settings
from clinic.embedded import ClusterError, Urls, database
from clinic.server import CannotListen, Prepare, serve
from clinic.settings import Settings, WrongSettings

on_start: list[Prepare] = []
"""What `serve` does once the schema is up to date, in this order; filled by `wsgi.py`. Each must be safe to repeat."""


class Refusal(click.ClickException):
    """A command that cannot be done: one line on standard error, status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"clinic: {' '.join(self.message.split())}", err=True, file=file)


class Commands(click.Group):
    """Our commands. Those of other packages are loaded only when `serve` is not what is asked: it must start fast."""

    gather: Callable[[], None] | None = None
    """Adds the commands of the packages above."""

    def main(self, *args: Any, **extra: Any) -> Any:
        return super().main(*args, **{"prog_name": "clinic"} | extra)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands:
            self._gather()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._gather()
        return super().list_commands(ctx)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as exc:
            if reason := _reason(exc):
                raise Refusal(reason) from exc
            raise

    def _gather(self) -> None:
        gather, self.gather = self.gather, None
        if gather:
            gather()


def _reason(exc: Exception) -> str | None:
    """What to tell about a failure that is no defect of ours."""
    import psycopg

    from clinic.errors import Problem
    from clinic.migrate import MigrationError

    match exc:
        case ClusterError() | CannotListen() | MigrationError():
            return str(exc)
        case psycopg.OperationalError():
            return f"the database cannot be used: {exc}"
        case psycopg.ProgrammingError() if exc.sqlstate is None:  # not from a server: the URL makes no sense
            return f"DATABASE_URL: {exc}"
        case WrongSettings():
            return "; ".join(str(exc).splitlines())
        case Problem():
            return exc.detail or exc.words("en")[0]
        case _:
            return None


@click.group(name="clinic", cls=Commands)
def cli() -> None:
    """Clinic Billing: a private clinic's priced catalog, and the quotes and invoices made from it."""


@cli.command("serve")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the embedded database.")
@click.option("--no-sample", is_flag=True, help="Load no sample data into an empty catalog.")
@click.pass_context
def _serve(ctx: click.Context, /, no_sample: bool, **given: Any) -> None:
    """Run the service until it is stopped, with a database of its own unless DATABASE_URL names one."""
    settings = clinic_settings.from_environment()
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    ctx.exit(serve(settings, on_start, sample=not no_sample))


@contextmanager
def open_database(settings: Settings) -> Iterator[Urls]:
    """For a command's work: the pool is open inside, and the schema up to date.

    A running service has seen to its own schema, and is left alone.
    """
    from clinic import db, migrate, sealing

    with database(settings) as urls:
        sealing.use(secret_key.lasting(settings), settings.secret_key_before)
        if not urls.served:
            migrate.run(urls.owner, lambda line: click.echo(line, err=True))
        # As the owner, who may step into the command line's role; the application may not.
        db.open_pool(urls.owner, size=2, command_line=True)
        try:
            yield urls
        finally:
            db.close_pool()


@contextmanager
def beside_the_server(settings: Settings, *, connections: int) -> Iterator[Urls]:
    """For a process that works until it is stopped: the pool is open inside, with the server's rights and more time."""
    from clinic import clock, db, logs, migrate, sealing, tracing

    logs.set_up()
    tracing.set_up(settings.otlp_url)
    clock.use_zone(settings.timezone)
    with database(settings) as urls:
        sealing.use(secret_key.lasting(settings), settings.secret_key_before)
        if not (settings.database_url or urls.served):
            migrate.run(urls.owner)
        db.open_pool(urls.app, size=connections, worker=True)
        try:
            yield urls
        finally:
            db.close_pool()
