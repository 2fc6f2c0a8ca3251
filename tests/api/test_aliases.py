"""Test that the id of the mail in which a list wrapped a message leads to the message."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from ingest.store.database.engine import open_store
from tests.api.test_read_endpoints import client_of
from tests.store.test_aliases import GIVEN
from tests.support import mails


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('a') / 'store.db'}", create=True)
    mails.store(engine, GIVEN)
    yield client_of(engine)
    engine.dispose()


@pytest.mark.parametrize("msgid", ["p@example.org", "w1@lists.example.com", "w2@lists.example.net"])
def test_each_id_finds_the_patch(client: TestClient, msgid: str) -> None:
    (patch,) = client.get(f"/api/1.2/patches/?msgid={msgid}").json()
    assert patch["msgid"] == "<p@example.org>"
    link = patch["project"]["link_name"]
    page = client.get(f"/project/{link}/patch/{msgid}/")
    assert page.status_code == 200
    assert "p@example.org" in page.text
    assert client.get(f"/project/{link}/patch/{msgid}/mbox/").status_code == 200


def test_an_id_of_nobody_finds_nothing(client: TestClient) -> None:
    assert client.get("/api/1.2/patches/?msgid=w3@lists.example.com").json() == []
