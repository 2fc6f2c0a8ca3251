"""Test with Schemathesis that the response to any request matches the description."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from ingest.api.app import make_app
from ingest.api.endpoints.openapi import describe_api
from ingest.config.settings import ApiConfig, Config
from ingest.store.activity.accounts import add_token
from ingest.store.engine import open_store, write_transaction
from tests.support import mails
from tests.support.api_client import BASE, MAILS

schemathesis = pytest.importorskip("schemathesis")
specs = pytest.importorskip("schemathesis.specs.openapi.checks")

# Requests for each operation of a version. What the versions share is tried with one of them.
EXAMPLES = {(1, 0): 3, (1, 2): 8, (1, 4): 3}
OPERATIONS = [
    (version, path, method)
    for version in EXAMPLES
    for path, methods in describe_api(version)["paths"].items()
    for method in methods
]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """Return the descriptions for the application, by version, with a token."""
    engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('t') / 'store.db'}", create=True)
    mails.store(engine, MAILS)
    with write_transaction(engine) as connection:
        token = add_token(connection, "ci", email="ci@example.org", lists=(), now=mails.NOW)
    app = make_app(engine, lambda: Config(api=ApiConfig(url=BASE, rate=100_000, burst=100_000)))
    documents = {
        version: schemathesis.openapi.from_asgi(f"/api/{version[0]}.{version[1]}/schema", app)
        for version in EXAMPLES
    }
    yield documents, token
    engine.dispose()


@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
@pytest.mark.parametrize(("version", "path", "method"), OPERATIONS)
def test_every_response_is_as_described(
    described: tuple[Any, str], version: tuple[int, int], path: str, method: str, mode: Any
) -> None:
    """Most numbers in paths exist."""
    documents, token = described
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
        max_examples=EXAMPLES[version], deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case: Any, number: int) -> None:
        if "{id}" in path and number < 13:
            case.path_parameters["id"] = number
        answer = case.call(headers=allowed)
        case.validate_response(answer, headers=allowed, excluded_checks=excluded)

    with contextlib.suppress(Unsatisfiable):  # some have no invalid value
        ask()
