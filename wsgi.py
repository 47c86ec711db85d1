"""Where the packages are put together: the application gunicorn serves, and the command line.

This is the only file that knows all packages. Imports stand in the functions that need them: the supervisor of
`serve` starts within a moment, and loads neither Flask nor the catalog.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from clinic.settings import Settings, from_environment

if TYPE_CHECKING:
    from clinic.http import App

ROUTES = (
    "clinic.routes",
    "clinic.event_routes",
    "clinic.audit_routes",
    "clinic.job_routes",
    "clinic.key_routes",
    "clinic.webhook_routes",
    "clinic.staff_routes",
    "catalog.routes",
    "catalog.order_routes",
    "catalog.import_routes",
    "catalog.doctor_routes",
    "catalog.file_routes",
    "catalog.package_routes",
    "billing.routes",
    "billing.discount_routes",
    "billing.act_routes",
    "billing.credit_note_routes",
    "billing.guarantee_letter_routes",
    "billing.payment_routes",
    "billing.quote_verification_routes",
    "billing.quote_link_routes",
    "billing.comparing_routes",
    "billing.quote_change_routes",
    "billing.book_routes",
    "billing.legal_reference_routes",
)
PAGES = (
    "clinic.pages",
    "clinic.webhook_pages",
    "clinic.account_pages",
    "clinic.provider_pages",
    "clinic.key_pages",
    "clinic.staff_pages",
    "clinic.metrics_routes",
    "catalog.pages",
    "catalog.order_pages",
    "catalog.import_pages",
    "catalog.file_pages",
    "billing.pages",
    "billing.invoice_pages",
    "billing.guarantee_letter_pages",
    "billing.quote_invoicing_pages",
    "billing.discount_pages",
    "billing.act_pages",
    "billing.credit_note_pages",
    "billing.payment_pages",
    "billing.quote_verification_pages",
    "billing.quote_link_pages",
    "billing.comparing_pages",
    "billing.quote_change_pages",
    "billing.invoice_edit_pages",
    "billing.invoice_parts_pages",
)
WORK = (
    "clinic.kept_files",
    "clinic.deliveries",
    "clinic.journal_heads",
    "catalog.price_imports",
    "catalog.nomenclature_imports",
    "billing.quote_purge",
    "billing.privacy",
    "billing.quote_validity",
    "billing.checking",
)
"""Modules that say what a kind of job does, or bring a chore: the worker loads them."""


def create_app(settings: Settings | None = None) -> App:
    """The whole service. Opens no connection: each server process opens its pool after the fork."""
    from catalog import feed
    from clinic import (
        budgets,
        clock,
        http,
        last_resort,
        observing,
        openapi,
        pages,
        proxies,
        sealing,
        security_headers,
        sessions,
    )

    settings = settings or from_environment()
    secret = settings.secret_key or pages.passing_secret()
    clock.use_zone(settings.timezone)
    sealing.use(settings.secret_key, settings.secret_key_before)
    sessions.use(
        timedelta(minutes=settings.session_idle_minutes),
        timedelta(hours=settings.session_hours),
        settings.require_second_factor,
    )
    app = http.App("clinic")
    app.config.update(
        API_TITLE="Clinic Billing",
        API_VERSION="1",
        OPENAPI_VERSION="3.1.0",
        MAX_CONTENT_LENGTH=http.LARGEST_BODY,
        CLINIC=settings,
        CLINIC_SECRET=secret,
    )
    app.url_map.strict_slashes = False
    budgets.set_up(app, settings.requests_per_minute)
    http.set_up(app, pages.problem_page)
    api = openapi.describe(app)
    for module in ROUTES:
        api.register_blueprint(import_module(module).bp)
    for module in PAGES:
        app.register_blueprint(import_module(module).bp)
    if settings.oidc_issuer:
        # Now, and not while the first one who signs in by it waits.
        from clinic import provider_sign_in  # noqa: F401
    observed = observing.Observed(logged=settings.log_requests, measured=settings.metrics_token is not None)
    called = proxies.Front(app.wsgi_app, proxies.trusted(settings.trusted_proxies))
    guarded = security_headers.Front(last_resort.Front(feed.Front(called)), over_https=settings.over_https)
    app.wsgi_app = observing.Front(guarded, observed)  # type: ignore[method-assign]
    return app


def prepare(settings: Settings, owner_url: str, say: Callable[[str], None], *, sample: bool) -> list[str]:
    """What `serve` does once the schema is up to date."""
    from clinic import first_start

    def load_sample(change: Any) -> bool:
        from catalog import sample

        return sample.load(change)

    return first_start.prepare(settings, owner_url, say, sample=sample, load_sample=load_sample)


def gather_commands() -> None:
    """Put the packages' commands on the command line."""
    from billing import commands as of_billing
    from billing import privacy_commands as of_privacy
    from catalog import commands as of_catalog
    from catalog import nomenclature_commands as of_nomenclature
    from clinic import audit_commands as of_audit
    from clinic import commands as of_clinic
    from clinic import key_commands as of_keys
    from clinic import staff_commands as of_staff
    from clinic import webhook_commands as of_webhooks
    from clinic.cli import cli

    for module in WORK:
        import_module(module)
    for command in (
        of_keys.keys,
        of_staff.people,
        of_clinic.branch_commands,
        of_clinic.work,
        of_audit.audit_commands,
        of_webhooks.webhooks,
        of_catalog.prices,
        of_nomenclature.nomenclature_commands,
        of_billing.numbers,
        of_billing.check_books,
        of_privacy.privacy_commands,
    ):
        cli.add_command(command)


def __getattr__(name: str) -> Any:
    # gunicorn asks for `wsgi:app`; tests import create_app and touch no environment.
    if name == "app":
        return create_app()
    raise AttributeError(name)


if __name__ == "__main__":
    from clinic import cli

    cli.on_start.append(prepare)
    cli.cli.gather = gather_commands
    cli.cli()
