"""The contract as it is published, tried by machine: whatever comes in, what goes out is as described."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import schemathesis
from hypothesis import settings
from schemathesis.config import SchemathesisConfig

from clinic import db
from clinic.auth import SCOPES
from clinic.embedded import Cluster, Urls
from tests import given
from tests.conftest import SETTINGS, TEMPLATE
from wsgi import create_app

CONFIG = Path(__file__).parents[1] / "schemathesis.toml"
# Made while tests are collected, since each operation becomes a test; it opens no connection.
APP = create_app(SETTINGS)
APP.config["PROPAGATE_EXCEPTIONS"] = False
contract = schemathesis.openapi.from_wsgi("/v1/openapi.json", APP, config=SchemathesisConfig.from_path(CONFIG))


@pytest.fixture(scope="module")
def clinic(cluster: Cluster) -> Iterator[given.Caller]:
    """One clinic with the real price list for all of this module, and a program with every scope by its name."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        db.open_pool(cluster.app_url(name), size=4)
        given.main_branch()
        given.sample()
        yield given.caller(APP, *SCOPES)
        db.close_pool()
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contract.parametrize()
@settings(derandomize=True, database=None, deadline=None)
def test_every_answer_is_as_described(case, clinic):
    case.call_and_validate(headers={"Authorization": f"Bearer {clinic.secret}"})
