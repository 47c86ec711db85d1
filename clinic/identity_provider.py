"""The clinic's identity provider: which one it is, which role its word gives, and how it may fail us.

Signing in by it is in `provider_sign_in`, which needs libraries that take long to load: only who has one loads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clinic.errors import Problem, Unauthorized
from clinic.settings import Settings

BACK = "/sign-in/provider/back"


class ProviderRefused(Unauthorized):
    """The identity provider has not let you in.

    It refused, the attempt is too old, or it gives you no role here. Try once more, or ask an administrator."""

    ru = (
        "Поставщик удостоверений вас не впустил\n\n"
        "Он отказал, попытка устарела, или он не даёт вам роли здесь. Попробуйте ещё раз или спросите администратора."
    )


class ProviderAway(Problem):
    """The identity provider does not answer.

    Try again in a while, or sign in by password where you have one."""

    status = 503
    ru = "Поставщик удостоверений не отвечает\n\nПопробуйте позже или войдите по паролю, если он у вас есть."


@dataclass(frozen=True)
class Provider:
    """The identity provider of the settings."""

    issuer: str
    client_id: str
    client_secret: str | None
    claim: str
    roles: dict[str, str]
    back: str

    def role(self, claims: dict[str, Any]) -> str | None:
        """The role these claims give; the first one of the setting where several fit."""
        said = claims.get(self.claim)
        given = said if isinstance(said, list) else [said]
        return next((role for value, role in self.roles.items() if value in given), None)


def of(settings: Settings) -> Provider | None:
    """The provider people sign in by, if the settings name one."""
    if settings.oidc_issuer is None:
        return None
    claim, roles = settings.oidc_roles
    return Provider(
        settings.oidc_issuer, settings.oidc_client_id or "", settings.oidc_client_secret, claim, dict(roles),
        f"{settings.public_url}{BACK}",
    )  # fmt: skip
