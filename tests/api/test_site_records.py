"""Test bundles, marks of comments, projects and users: who may see and change them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from ingest.config.settings import ApiConfig, Config
from ingest.replay.replay import reparse
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.database.transactions import write_transaction
from tests.support import mails
from tests.support.api_client import BASE, MAILS, client_of

MAINTAINER, STRANGER, OTHER = "ada", "eve", "bo"


@dataclass(frozen=True)
class Users:
    """A client for each of three accounts, of which one maintains the list, and for nobody."""

    maintainer: TestClient
    stranger: TestClient
    other: TestClient
    nobody: TestClient


@pytest.fixture
def engine(engine: Engine) -> Iterator[Engine]:
    mails.store(engine, MAILS)
    return engine


@pytest.fixture
def users(engine: Engine) -> Users:
    """Return clients, with addresses and names of their accounts."""
    config = Config(api=ApiConfig(url=BASE, rate=100_000, burst=100_000))

    app = client_of(engine, config).app

    def client(name: str | None, *lists: str) -> TestClient:
        made = TestClient(app, follow_redirects=False)
        if name is not None:
            with write_transaction(engine) as connection:
                token = add_token(
                    connection, name, email=f"{name}@example.org", lists=lists, now=mails.NOW
                )
            made.headers["Authorization"] = f"Token {token}"
        return made

    return Users(
        client(MAINTAINER, mails.LIST),
        client(STRANGER, "none.example.org"),
        client(OTHER, mails.LIST),
        client(None),
    )


def patches(client: TestClient, *msgids: str) -> list[int]:
    found = [client.get(f"/api/patches/?msgid={msgid}@example.org").json() for msgid in msgids]
    return [records[0]["id"] for records in found]


def test_a_bundle_is_made_changed_and_deleted(users: Users, engine: Engine) -> None:
    one, two = patches(users.nobody, "s-1", "s-2")
    made = users.maintainer.post(
        "/api/1.3/bundles/", json={"name": "for next", "public": True, "patches": [two, one]}
    )
    assert made.status_code == 201, made.text
    record = made.json()
    assert made.headers["location"] == record["url"] == f"{BASE}/api/1.3/bundles/{record['id']}/"
    assert [patch["id"] for patch in record["patches"]] == [two, one]
    assert (record["owner"]["username"], record["project"]["link_name"]) == ("ada", "dev")
    assert record["web_url"] == f"{BASE}/bundle/ada/for%20next/"
    assert record["mbox"] == f"{BASE}/bundle/ada/for%20next/mbox/"
    path = f"/api/1.3/bundles/{record['id']}/"
    assert users.nobody.get(path).json() == record
    assert users.nobody.get("/api/1.3/bundles/").json() == [record]
    change = {"name": "release", "public": False, "patches": [one]}
    assert users.other.patch(path, json=change).status_code == 403
    changed = users.maintainer.patch(path, json=change).json()
    assert (changed["name"], [patch["id"] for patch in changed["patches"]]) == ("release", [one])
    for client in (users.nobody, users.other):
        assert client.get(path).status_code == 404, "it is private"
        assert client.get("/api/bundles/").json() == []
    assert users.other.delete(path).status_code == 404
    assert users.nobody.delete(path).status_code == 403
    assert users.maintainer.delete(path).status_code == 204
    assert users.maintainer.get(path).status_code == 404
    fresh = client_of(engine)  # it has read nothing yet
    assert fresh.get(f"/api/patches/{one}/").status_code == 200
    again = users.maintainer.post("/api/bundles/", json={"name": "release", "patches": [one]})
    assert again.json()["id"] > record["id"], "no number is used twice"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "x", "patches": []}, "patches"),
        ({"name": "x"}, "patches"),
        ({"name": "x", "patches": [99999]}, "patches"),
        ({"name": "x", "patches": ["a"]}, "patches"),
        ({"patches": ["s-1"]}, "name"),
        ({"name": "", "patches": ["s-1"]}, "name"),
        ({"name": "a/b", "patches": ["s-1"]}, "name"),
        ({"name": "n" * 51, "patches": ["s-1"]}, "name"),
        ({"name": "a\0", "patches": ["s-1"]}, "name"),
        ({"name": "mixed", "patches": ["s-1", "other"]}, "patches"),
        ({"name": "x", "public": "perhaps", "patches": ["s-1"]}, "public"),
        ({"name": "same", "patches": ["s-1"]}, "name"),
    ],
)
def test_bundles_that_make_no_sense(users: Users, body: dict[str, Any], says: str) -> None:
    def numbers(names: list[Any]) -> list[Any]:
        return [
            patches(users.nobody, name)[0] if name in ("s-1", "other") else name for name in names
        ]

    first = {"name": "same", "patches": numbers(["s-1"])}
    assert users.maintainer.post("/api/bundles/", json=first).status_code == 201
    if "patches" in body:
        body = {**body, "patches": numbers(body["patches"])}
    answer = users.maintainer.post("/api/bundles/", json=body)
    assert (answer.status_code, list(answer.json())) == (400, [says])
    assert users.nobody.post("/api/bundles/", json=first).status_code == 403
    assert len(users.maintainer.get("/api/bundles/").json()) == 1


def test_filters_of_bundles(users: Users) -> None:
    (one,) = patches(users.nobody, "s-1")
    (other,) = patches(users.nobody, "other")
    for client, name, public, number in (
        (users.maintainer, "b", True, one),
        (users.maintainer, "a", False, one),
        (users.other, "c", True, other),
    ):
        body = {"name": name, "public": public, "patches": [number]}
        answer = client.post("/api/bundles/", json=body)
        assert answer.status_code == 201, answer.text
    for query, names in {
        "": ["b", "a", "c"],
        "order=name": ["a", "b", "c"],
        "order=-name": ["c", "b", "a"],
        "public=true": ["b", "c"],
        "public=false": ["a"],
        "owner=ada": ["b", "a"],
        "owner=nobody": [],
        "project=other": ["c"],
        "q=B": ["b"],
    }.items():
        found = users.maintainer.get(f"/api/bundles/?{query}").json()
        assert [record["name"] for record in found] == names, query
    page = users.maintainer.get("/api/bundles/?per_page=2&page=2")
    assert [record["name"] for record in page.json()] == ["c"]


def comment_path(client: TestClient, version: str = "/1.3") -> str:
    (one,) = patches(client, "s-1")
    (comment,) = client.get(f"/api/patches/{one}/comments/").json()
    return f"/api{version}/patches/{one}/comments/{comment['id']}/"


def test_a_comment_is_marked_as_addressed(users: Users, engine: Engine) -> None:
    path = comment_path(users.nobody)
    assert users.nobody.get(path).json()["addressed"] is None
    made = users.maintainer.patch(path, json={"addressed": True, "content": "other"})
    assert (made.status_code, made.json()["addressed"]) == (200, True)
    assert users.nobody.get(path).json() == made.json()
    assert "other" not in made.json()["content"]
    for client in (users.stranger, users.nobody):
        assert client.patch(path, json={"addressed": False}).status_code == 403
    answer = users.maintainer.patch(path, json={"addressed": "what"})
    assert (answer.status_code, list(answer.json())) == (400, ["addressed"])
    old = comment_path(users.nobody, "/1.2")
    assert users.maintainer.patch(old, json={"addressed": False}).status_code == 404
    assert users.maintainer.put(path, data={"addressed": "false"}).json()["addressed"] is False
    reparse(engine, Config())
    assert users.nobody.get(path).json()["addressed"] is False


def test_the_submitter_of_a_comment_and_of_a_patch_may_mark_it(
    users: Users, engine: Engine
) -> None:
    path = comment_path(users.nobody)
    assert users.stranger.patch(path, json={"addressed": True}).status_code == 403
    with write_transaction(engine) as connection:
        account = schema.account.c
        query = select(account.id).where(account.name == STRANGER)
        number = connection.execute(query).scalar_one()
        person = schema.person
        connection.execute(
            update(person).where(person.c.email == "ada@example.org").values(account_id=number)
        )
    assert users.stranger.patch(path, json={"addressed": True}).status_code == 200
    (one,) = patches(users.nobody, "s-1")
    answer = users.stranger.patch(f"/api/patches/{one}/", json={"state": "rfc"})
    assert answer.status_code == 200, "the patch is theirs"


def test_a_delegate_must_maintain_the_list_and_may_change_the_patch(users: Users) -> None:
    (one,) = patches(users.nobody, "s-1")
    path = f"/api/patches/{one}/"
    answer = users.maintainer.patch(path, json={"delegate": STRANGER})
    assert (answer.status_code, list(answer.json())) == (400, ["delegate"])
    answer = users.maintainer.patch(path, json={"delegate": OTHER})
    assert answer.json()["delegate"]["username"] == OTHER


def test_a_project_is_changed_by_its_maintainers(users: Users) -> None:
    before = users.nobody.get("/api/projects/dev/").json()
    assert [user["username"] for user in before["maintainers"]] == [MAINTAINER, OTHER]
    change = {"web_url": "https://dev.example.org", "link_name": "other", "name": "Other"}
    for client in (users.stranger, users.nobody):
        assert client.patch("/api/projects/dev/", json=change).status_code == 403
    made = users.maintainer.patch("/api/projects/dev/", json=change)
    assert made.status_code == 200
    assert made.json() == {**before, "web_url": "https://dev.example.org"}
    assert users.nobody.get("/api/projects/dev/").json() == made.json()
    (patch,) = users.nobody.get("/api/patches/?msgid=s-1@example.org").json()
    assert patch["project"]["web_url"] == "https://dev.example.org"
    answer = users.maintainer.patch("/api/projects/dev/", json={"web_url": 5})
    assert (answer.status_code, list(answer.json())) == (400, ["web_url"])


def test_a_user_changes_itself(users: Users) -> None:
    (own,) = users.maintainer.get(f"/api/users/?q={MAINTAINER}").json()
    path = f"/api/1.3/users/{own['id']}/"
    settings = {"send_email": False, "items_per_page": 100, "show_ids": False}
    assert users.maintainer.get(path).json()["settings"] == settings
    assert "settings" not in users.other.get(path).json()
    change = {"first_name": "Ada", "username": "x", "settings": {"items_per_page": 50}}
    assert users.other.patch(path, json=change).status_code == 403
    made = users.maintainer.patch(path, json=change).json()
    assert (made["first_name"], made["username"]) == ("Ada", MAINTAINER)
    assert made["settings"] == {**settings, "items_per_page": 50}
    assert users.maintainer.get(path).json() == made
    for body in ({"first_name": "a" * 151}, {"settings": 5}, {"settings": {"items_per_page": "x"}}):
        assert users.maintainer.patch(path, json=body).status_code == 400


def test_patches_of_two_relations_are_not_joined(users: Users) -> None:
    one, two, three = patches(users.nobody, "s-1", "s-2", "s-3")
    (four,) = patches(users.nobody, "t-1")

    def relate(number: int, *others: int) -> int:
        path = f"/api/1.3/patches/{number}/"
        return users.maintainer.patch(path, json={"related": others}).status_code

    assert relate(one, two) == 200
    assert relate(three, four) == 200
    assert relate(one, three) == 409
    assert relate(three) == 200
    assert relate(three, three) == 200, "it has a relation of its own"
    assert relate(three, one) == 409
    assert relate(three) == 200
    assert relate(three, one) == 200


@pytest.mark.parametrize("value", ["2", "Under Review", "under_review", "under-review"])
def test_a_state_is_named_by_number_slug_or_name(users: Users, value: str) -> None:
    (one,) = patches(users.nobody, "s-1")
    made = users.maintainer.patch(f"/api/patches/{one}/", json={"state": value})
    assert made.json()["state"] == "under-review"
    found = users.nobody.get("/api/patches/", params={"state": ["1", value]}).json()
    assert len(found) == 7
    (record,) = users.nobody.get("/api/patches/", params={"state": value}).json()
    assert record["id"] == one


# --- series -----------------------------------------------------------------------------------


def series_path(client: TestClient, stem: str, version: str = "") -> str:
    (found,) = client.get(f"/api/series/?q={stem}: improve").json()
    return f"/api{version}/series/{found['id']}/"


def test_metadata_of_a_series(users: Users, engine: Engine) -> None:
    path = series_path(users.nobody, "s")
    assert users.nobody.get(path).json()["metadata"] == {}
    made = users.maintainer.patch(path, json={"metadata": {"run": "7", "merge": "no"}})
    assert (made.status_code, made.json()["metadata"]) == (200, {"merge": "no", "run": "7"})
    change = {"metadata": {"run": "8", "merge": None}, "name": "other"}
    made = users.maintainer.patch(series_path(users.nobody, "s", "/1.4"), json=change)
    assert made.json()["metadata"] == {"run": "8"}
    for query, count in (
        ("metadata_key=run", 1), ("metadata_key=run&metadata_value=8", 1),
        ("metadata_value=8", 1), ("metadata_key=run&metadata_value=7", 0), ("metadata_key=x", 0),
    ):  # fmt: skip
        assert len(users.nobody.get(f"/api/series/?{query}").json()) == count, query
    for client in (users.stranger, users.nobody):
        assert client.patch(path, json=change).status_code == 403
    for metadata in (5, {"k": 5}, {"": "x"}, {"k" * 256: "x"}, {str(n): "x" for n in range(101)}):
        answer = users.maintainer.patch(path, json={"metadata": metadata})
        assert (answer.status_code, list(answer.json())) == (400, ["metadata"])
    assert "metadata" not in users.nobody.get(series_path(users.nobody, "s", "/1.3")).json()
    assert (
        users.maintainer.patch(series_path(users.nobody, "s", "/1.3"), json={}).status_code == 405
    )
    reparse(engine, Config())
    assert users.nobody.get(path).json()["metadata"] == {"run": "8"}


def test_a_series_names_the_revisions_before_and_after_it(users: Users, engine: Engine) -> None:
    again = [
        raw.replace(b"<s-", b"<s2-")
        for raw in mails.series("s", 3, version=2, start=mails.START.replace(day=9))
    ]
    mails.store(engine, again)
    first, second = users.nobody.get("/api/1.4/series/?q=s: improve&order=id").json()
    assert (first["version"], second["version"]) == (1, 2)
    assert (first["previous_series"], first["next_series"]) == (None, second["url"])
    assert (second["previous_series"], second["next_series"]) == (first["url"], None)
    assert "next_series" not in users.nobody.get("/api/1.3/series/").json()[0]
