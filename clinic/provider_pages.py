"""The way to the identity provider and back."""

from __future__ import annotations

import logging

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from clinic import html, http, identity_provider, sessions
from clinic.errors import NotFound
from clinic.identity_provider import BACK, Provider, ProviderAway, ProviderRefused

bp = Blueprint("provider_pages", __name__)
_log = logging.getLogger("clinic.pages")


@bp.get("/sign-in/provider")
@html.page(may=http.PUBLIC)
def go() -> AnyResponse:
    provider = _provider()
    from clinic import (
        provider_sign_in,
    )  # loaded by `create_app` where the settings name a provider, and else not at all

    begun = provider_sign_in.begin(provider, html.local(request.args.get("next")))
    response = redirect(begun.address, 303)
    html.keep_for_return(response, begun.kept, BACK, provider_sign_in.WITHIN)
    return response


@bp.get(BACK)
@html.page(may=http.PUBLIC)
def come_back() -> AnyResponse:
    provider = _provider()
    from clinic import provider_sign_in

    try:
        token, next_ = provider_sign_in.finish(
            provider, request.cookies.get("provider"), request.args.to_dict(), html.visitor()
        )
    except (ProviderRefused, ProviderAway) as refusal:
        _log.warning("sign-in refused: %s", refusal.code())
        raise
    if old := html.session():
        sessions.end(old)
    response = redirect(html.local(next_), 303)
    html.remember(response, token)
    html.keep_for_return(response, "", BACK, 0)
    return response


def _provider() -> Provider:
    provider = identity_provider.of(html.settings())
    if provider is None:
        raise NotFound()
    return provider
