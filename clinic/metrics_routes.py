"""The figures, for a collector that knows the token; without the setting there is no such address."""

from __future__ import annotations

import hmac

from flask import Blueprint, Response, current_app, request

from clinic import auth, http, metrics
from clinic.errors import NotFound, Unauthorized
from clinic.settings import Settings

bp = Blueprint("metrics", __name__)


@bp.get("/metrics")
def figures() -> Response:
    """Prometheus' text form. It names no person, and works with the database away."""
    settings: Settings = current_app.config["CLINIC"]
    if settings.metrics_token is None:
        raise NotFound()
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), settings.metrics_token.encode()):
        raise Unauthorized()
    http.refuse_repeated_parameters()
    return Response(metrics.exposed(), content_type=metrics.TYPE)


# The token stands in a scope's place: who reads figures is no caller of the contract.
figures.scope = auth.PUBLIC  # type: ignore[attr-defined]
