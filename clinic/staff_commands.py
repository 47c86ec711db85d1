"""Commands of people's accounts: for the first of them, and for when nobody else can help."""

from __future__ import annotations

import secrets

import click

from clinic import branches, cli, db, passwords, second_factor, settings, staff
from clinic.auth import COMMAND_LINE, ROLES
from clinic.command import change

_MOST = 10_000


@click.group("staff")
def people() -> None:
    """Accounts of people."""


@people.command("create")
@click.argument("login")
@click.option("--role", type=click.Choice(list(ROLES)), required=True)
@click.option("--branch", help="The only branch this person sees; without it, all.")
@click.option("--once", is_flag=True, help="Have the password changed at the first sign-in.")
def create_account(login: str, role: str, branch: str | None, once: bool) -> None:
    """Open an account and print its password, this once, alone on standard output."""
    password = passwords.temporary() if once else secrets.token_urlsafe(12)
    with cli.open_database(settings.from_environment()), change(COMMAND_LINE) as made:
        try:
            of = branches.id_of(made.conn, branch)
            staff.create(made, login, role, password, branch_id=of, temporary=once)
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from exc
    click.echo(f"Account «{login}» with the role {role}; the password is not shown again.", err=True)
    click.echo(password)


@people.command("list")
def list_accounts() -> None:
    """List the accounts: login, role, branch, state, second factor, last sign-in."""
    with cli.open_database(settings.from_environment()), db.reading() as conn:
        for each in staff.page(conn, COMMAND_LINE, None, _MOST):
            seen = f"signed in {each.signed_in_at:%Y-%m-%dT%H:%MZ}" if each.signed_in_at else "never signed in"
            factor = "second factor" if each.second_factor else "password only"
            state = "active" if each.active else "disabled"
            click.echo(f"{each.login}  {each.role}  {each.branch or 'all branches'}  {state}  {factor}  {seen}")


@people.command("reset-password")
@click.argument("login")
@click.option("--second-factor", "factor", is_flag=True, help="Take the second factor away too.")
def reset_password(login: str, factor: bool) -> None:
    """Give an account a password for once and print it; it is changed at the next sign-in."""
    password = passwords.temporary()
    with cli.open_database(settings.from_environment()), change(COMMAND_LINE) as made:
        account = staff.locked(made, staff.called(made.conn, login))
        staff.reset_password(made, account, password)
        if factor and account.second_factor:
            second_factor.remove(made, account.id, account.branch_id)
    click.echo("All sessions of the account have ended; the password is good for setting another one.", err=True)
    click.echo(password)
