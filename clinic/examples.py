"""Examples of keys and accounts, as the description shows them."""

from __future__ import annotations

from typing import Any

KEY_IN: dict[str, Any] = {
    "name": "Scheduling",
    "scopes": ["catalog:read", "quotes:read", "quotes:write"],
    "branch": "main",
    "days": 365,
    "discount_ceiling": "5.00",
}

KEY: dict[str, Any] = {
    "id": "0197d1b0-c3a4-7b1e-9d55-3f0f4f1a2b3c",
    "name": "Scheduling",
    "scopes": KEY_IN["scopes"],
    "branch": "main",
    "discount_ceiling": "5.00",
    "created_at": "2026-11-23T09:15:00Z",
    "expires_at": "2027-11-23T09:15:00Z",
    "revoked_at": None,
    "last_used_at": "2026-11-23T10:02:00Z",
    "secrets": [
        {
            "prefix": "cb_0f3a9c1e",
            "created_at": "2026-11-23T09:15:00Z",
            "ends_at": None,
            "last_used_at": "2026-11-23T10:02:00Z",
        }
    ],
}

NEW_KEY: dict[str, Any] = KEY | {"secret": "cb_0f3a9c1e_Zk3v…"}

ACCOUNT_IN: dict[str, Any] = {"login": "front-desk-2", "role": "reception", "branch": "main"}

ACCOUNT: dict[str, Any] = {
    "id": "0197d1b0-d811-7c52-8a0e-5b1d2c3e4f50",
    "login": "front-desk-2",
    "role": "reception",
    "branch": "main",
    "active": True,
    "created_at": "2026-11-23T09:20:00Z",
    "signed_in_at": None,
    "password": "temporary",
    "second_factor": False,
}

NEW_ACCOUNT: dict[str, Any] = ACCOUNT | {"temporary_password": "h7kq-m2xp-w9ta-c4vd"}
