"""Test that the JSON of every endpoint matches the description at `/api/schema`, in every
version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from ingest.api.endpoints.openapi import describe_api
from ingest.api.urls import VERSIONS
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.activity.checks import Check, add_check
from ingest.store.activity.overrides import Override, set_override
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.site.bundles import Bundle, add_bundle
from tests.support import mails
from tests.support.api_client import MAILS, client_of


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Return a client for a store with records of every kind, including overrides and mail
    without a date."""
    engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('s') / 'store.db'}", create=True)
    undated = b"\n".join(
        line
        for line in mails.patch("undated@example.org", "[PATCH] undated", name="u").split(b"\n")
        if not line.startswith(b"Date:")
    )
    pull = mails.mail("nolist@example.org", "[PATCH] no list", mails.patch_body(), list_id=None)
    mails.store(engine, [*MAILS, undated, pull])
    client = client_of(engine)
    client.get("/api/events/")
    with write_transaction(engine) as connection:
        add_token(connection, "ci", email="ci@example.org", lists=(), now=mails.NOW)
        one, two = connection.execute(select(schema.patch.c.message_id).limit(2)).scalars()
        wanted = Override(state="accepted", delegate_id=1, related=(two,), commit_ref="abc")
        set_override(connection, one, wanted, account_id=1)
        url = "https://ci.example.org/1"
        add_check(connection, one, Check(0, one, 1, mails.NOW, "fail", "build", url, "no"))
        add_check(connection, two, Check(0, two, 1, mails.NOW, "success", "build", "", ""))
        add_bundle(connection, Bundle(0, 1, 1, "for next", public=True, patches=(one, two)))
    yield client
    engine.dispose()


def test_the_description_is_openapi(client: TestClient) -> None:
    found = client.get("/api/schema").json()
    assert found == client.get("/api/schema/").json() == describe_api(None)
    assert found["openapi"].startswith("3.1")
    assert all(
        path.startswith("/api/1.2/") for path in describe_api((1, 2))["paths"] if "api" in path
    )
    for definition in found["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"components": found["components"], **definition})


@pytest.mark.parametrize("version", [None, *VERSIONS])
def test_every_answer_is_as_described(client: TestClient, version: tuple[int, int] | None) -> None:
    document = client.get("/api/schema" if version is None else _under(version) + "/schema").json()
    tried = 0
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        said = operations["get"]["responses"]["200"]["content"].get("application/json")
        if said is None:
            continue
        for asked in _filled(client, path):
            answer = client.get(asked)
            assert answer.status_code == 200, asked
            _validate(document, said["schema"], answer.json(), asked)
            assert answer.json(), asked
            tried += 1
    assert tried > 30


def _under(version: tuple[int, int]) -> str:
    return f"/api/{version[0]}.{version[1]}"


def _filled(client: TestClient, path: str) -> Iterator[str]:
    """Return the path with the numbers of existing records."""
    if "{" not in path:
        yield path
        return
    kind = path.split("/{id}", maxsplit=1)[0].rpartition("/")[2]
    rest = path.split("{id}/")[1]
    for record in client.get(f"/api/{kind}/?per_page=100").json():
        number = str(record["id"])
        if "{" not in rest:
            if rest and not client.get(path.replace("{id}", number)).json():
                continue  # an empty list would prove nothing
            yield path.replace("{id}", number)
            continue
        below = rest.split("/")[0]
        for other in client.get(f"/api/{kind}/{number}/{below}/").json():
            yield path.replace("{id}", number).split("{")[0] + f"{other['id']}/"


def _validate(document: dict[str, Any], said: dict[str, Any], given: Any, asked: str) -> None:
    whole = {**said, "components": document["components"]}
    errors = [str(error) for error in jsonschema_rs.validator_for(whole).iter_errors(given)]
    assert not errors, (asked, errors[0])


def test_every_field_of_a_response_is_described(client: TestClient) -> None:
    """No response has a field that the description lacks."""
    document = describe_api(None)
    known = document["components"]["schemas"]
    for kind, name in (
        ("patches", "PatchDetail"), ("covers", "CoverDetail"), ("series", "Series"),
        ("people", "Person"), ("projects", "Project"), ("bundles", "Bundle"),
    ):  # fmt: skip
        for record in client.get(f"/api/{kind}/").json():
            assert set(client.get(f"/api/{kind}/{record['id']}/").json()) == set(
                known[name]["properties"]
            )
    for event in client.get("/api/events/").json():
        assert set(event) == set(known["Event"]["properties"])
