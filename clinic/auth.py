"""Who is calling, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from clinic.errors import Forbidden

SCOPES = (
    "catalog:read", "catalog:write", "prices:publish",
    "quotes:read", "quotes:write", "quotes:extend", "discounts:approve",
    "invoices:read", "invoices:write", "invoices:issue", "invoices:cancel",
    "payments:read", "payments:write", "payments:refund",
    "exports:read", "events:read", "audit:read", "webhooks:write", "admin",
)  # fmt: skip
EVERYTHING = "*"
PUBLIC = "public"
"""Stands in a scope's place where strangers may call."""
SIGNED_IN = "signed_in"
"""Stands in a scope's place where who calls must be known and needs no right: what is shown is his own."""

ROLES: dict[str, frozenset[str]] = {
    "reception": frozenset({"catalog:read", "quotes:read", "quotes:write", "invoices:read", "invoices:write",
                            "invoices:issue", "payments:read", "payments:write"}),
    "senior_reception": frozenset({"catalog:read", "quotes:read", "quotes:write", "quotes:extend",
                                   "discounts:approve", "invoices:read", "invoices:write", "invoices:issue",
                                   "invoices:cancel", "payments:read", "payments:write", "payments:refund"}),
    "accountant": frozenset({"catalog:read", "quotes:read", "invoices:read", "invoices:issue", "payments:read",
                             "exports:read", "events:read"}),
    "price_keeper": frozenset({"catalog:read", "catalog:write", "prices:publish"}),
    "administrator": frozenset({EVERYTHING}),
}  # fmt: skip


@dataclass(frozen=True)
class Actor:
    """A program with a key, a member of staff, or the command line."""

    id: UUID
    kind: str
    name: str
    scopes: frozenset[str]
    branch_id: UUID | None = None
    discount_ceiling: Decimal = Decimal(0)
    """Percent a program may take off by its own setting; that of a person follows from the role."""
    role: str | None = None

    @property
    def label(self) -> str:
        """How the journal names this actor: `key:…`, `staff:…` or `command:…`; never a person's name."""
        return f"{self.kind}:{self.id}"

    def may(self, scope: str) -> bool:
        return EVERYTHING in self.scopes or scope in self.scopes

    def must(self, scope: str) -> None:
        """Raises:
        Forbidden: this actor lacks `scope`.
        """
        if not self.may(scope):
            raise Forbidden(scope=scope)


COMMAND_LINE = Actor(UUID(int=0), "command", "command line", frozenset({EVERYTHING}), discount_ceiling=Decimal(100))
"""Whoever may run commands on the server's own machine."""
