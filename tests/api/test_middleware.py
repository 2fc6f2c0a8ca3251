"""Test limits of requests, entity tags and compression."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from ingest.config.settings import ApiConfig, Config
from ingest.store.activity.accounts import add_token, revoke_token
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import mails
from tests.support.api_client import MAILS, client_of


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(engine, MAILS)
    yield engine
    engine.dispose()


@pytest.fixture
def client(engine: Engine) -> TestClient:
    return client_of(engine)


def test_a_token_has_a_limit_of_its_own_once_it_was_valid(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        token = add_token(connection, "ci", email="", lists=(), now=mails.NOW)
    limits = ApiConfig(rate=1, burst=3, token_rate=1, token_burst=10)
    client = client_of(engine, Config(api=limits))
    allowed = {"Authorization": f"Token {token}"}
    assert client.get("/api/", headers=allowed).status_code == 200
    for number in range(2):
        invented = {"Authorization": f"Token {number}"}
        assert client.get("/api/", headers=invented).status_code == 403
    answer = client.get("/api/")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    answers = [client.get("/api/", headers=allowed).status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]


def test_a_revoked_token_loses_its_limit(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        token = add_token(connection, "ci", email="", lists=(), now=mails.NOW)
    client = client_of(engine, Config(api=ApiConfig(rate=1, burst=2)))
    allowed = {"Authorization": f"Token {token}"}
    assert client.get("/api/", headers=allowed).status_code == 200
    with write_transaction(engine) as connection:
        revoke_token(connection, "ci")
    statuses = [client.get("/api/", headers=allowed).status_code for _ in range(3)]
    assert statuses == [403, 403, 429]


@pytest.mark.parametrize(
    "path", ["/api/patches/", "/api/1.1/series/1/", "/project/dev/list/", "/series/1/mbox/"]
)
def test_a_response_that_the_client_has_is_not_sent_again(client: TestClient, path: str) -> None:
    first = client.get(path)
    tag = first.headers["etag"]
    for wanted in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        again = client.get(path, headers={"If-None-Match": wanted})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert "content-length" not in again.headers
    other = client.get(path, headers={"If-None-Match": '"x"'})
    assert (other.status_code, other.content) == (200, first.content)
    assert client.head(path).headers["etag"] == tag


def test_no_response_says_when_it_was_changed(client: TestClient) -> None:
    """No record has a time of its last change; see docs/api.md."""
    (patch, *_) = client.get("/api/patches/").json()
    since = {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    answer = client.get(f"/api/patches/{patch['id']}/", headers=since)
    assert answer.status_code == 200
    assert "last-modified" not in answer.headers


def test_errors_have_no_entity_tag(client: TestClient) -> None:
    assert "etag" not in client.get("/api/patches/99999/").headers
    assert "etag" not in client.patch("/api/patches/1/", json={}).headers


def test_long_responses_are_compressed(client: TestClient) -> None:
    answer = client.get("/api/patches/", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in answer.headers["vary"]
    plain = client.get("/api/patches/", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == answer.json()
    assert plain.headers["etag"] == answer.headers["etag"]
