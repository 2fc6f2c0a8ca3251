"""Test with Schemathesis that the response to any request matches the description."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from sqlalchemy import Engine

from ingest.api.app import make_app
from ingest.api.endpoints.openapi import describe_api
from ingest.config.settings import ApiConfig, Config
from ingest.store.activity.accounts import add_token
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.patchwork.conftest import import_site
from tests.support import mails
from tests.support.api_client import BASE, MAILS
from tests.support.patchwork_site import BO, TOKENS, Site, fill

schemathesis = pytest.importorskip("schemathesis")
specs = pytest.importorskip("schemathesis.specs.openapi.checks")

# Requests for each operation of a version. What the versions share is tried with one of them, and
# what sites share with one that was not imported.
EXAMPLES = {
    "own": {(1, 0): 3, (1, 2): 8, (1, 4): 3},
    "imported": {(1, 0): 1, (1, 2): 3, (1, 4): 2},
}
OPERATIONS = [
    (site, version, path, method)
    for site, versions in EXAMPLES.items()
    for version in versions
    for path, methods in describe_api(version)["paths"].items()
    for method in methods
]
# Numbers of this and above lead to nothing, mostly.
UNKNOWN = {"own": 13, "imported": 9}


def fill_own(engine: Engine, _folder: Path) -> str:
    """Store mail, and return a token."""
    mails.store(engine, MAILS)
    with write_transaction(engine) as connection:
        return add_token(connection, "ci", email="ci@example.org", lists=(), now=mails.NOW)


def fill_imported(engine: Engine, folder: Path) -> str:
    """Import a Patchwork site, and return a token."""
    site = Site.create(f"sqlite:///{folder / 'patchwork.db'}")
    fill(site)
    import_site(engine, site)
    return TOKENS[BO]


FILLS = {"own": fill_own, "imported": fill_imported}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Any, str]]]:
    """Return the descriptions for applications, by version, with a token; by site."""
    sites: dict[str, tuple[Any, str]] = {}
    engines: list[Engine] = []
    for site, fill_site in FILLS.items():
        folder = tmp_path_factory.mktemp(site)
        engine = open_store(f"sqlite:///{folder / 'store.db'}", create=True)
        engines.append(engine)
        token = fill_site(engine, folder)
        app = make_app(engine, lambda: Config(api=ApiConfig(url=BASE, rate=100_000, burst=100_000)))
        documents = {
            version: schemathesis.openapi.from_asgi(f"/api/{version[0]}.{version[1]}/schema", app)
            for version in EXAMPLES[site]
        }
        sites[site] = documents, token
    yield sites
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
@pytest.mark.parametrize(("site", "version", "path", "method"), OPERATIONS)
def test_every_response_is_as_described(
    described: dict[str, tuple[Any, str]],
    site: str,
    version: tuple[int, int],
    path: str,
    method: str,
    mode: Any,
) -> None:
    """Most numbers in paths exist."""
    documents, token = described[site]
    document = documents[version]
    allowed = {"Authorization": f"Token {token}"}
    # The description cannot say which projects, users and patches exist.
    names_rows = method != "get" or path.count("/") == 4
    excluded = [specs.positive_data_acceptance] if names_rows else []
    if mode is schemathesis.GenerationMode.NEGATIVE:
        excluded = [specs.negative_data_rejection]  # unknown parameters are ignored

    operation = document[path][method]
    if mode is schemathesis.GenerationMode.NEGATIVE and not list(operation.iter_parameters()):
        return

    @given(case=operation.as_strategy(generation_mode=mode), number=st.integers(1, 14))
    @settings(
        max_examples=EXAMPLES[site][version], deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case: Any, number: int) -> None:
        if "{id}" in path and number < UNKNOWN[site]:
            case.path_parameters["id"] = number
        answer = case.call(headers=allowed)
        case.validate_response(answer, headers=allowed, excluded_checks=excluded)

    with contextlib.suppress(Unsatisfiable):  # some have no invalid value
        ask()
