"""Test who may write, what may be set, and that no request is applied in part."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from ingest.config.settings import Config
from ingest.replay.replay import reparse
from ingest.store.activity.accounts import add_token, revoke_token
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import mails
from tests.support.api_client import CONFIG, client_of


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    from tests.support.postgres import fresh

    if request.param == "sqlite":
        engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('w') / 'w.db'}", create=True)
        yield engine
        engine.dispose()
        return
    with fresh(request.getfixturevalue("postgres_server")) as url:
        engine = open_store(url, create=True)
        yield engine
        engine.dispose()


@pytest.fixture
def client(engine: Engine) -> TestClient:
    """Return a client for a new store with two series."""
    mails.clear(engine)
    mails.store(
        engine,
        [
            *mails.series("s", 3),
            mails.patch("other@example.org", list_id="other.lists.example.org", name="o"),
        ],
    )
    client = client_of(engine, Config(api=CONFIG.api))
    client.headers["Authorization"] = f"Token {token(engine)}"
    client.get("/api/events/")
    return client


def token(engine: Engine, name: str = "ci", lists: tuple[str, ...] = ()) -> str:
    with write_transaction(engine) as connection:
        return add_token(connection, name, email=f"{name}@example.org", lists=lists, now=mails.NOW)


def patch_of(client: TestClient, name: str = "s-1") -> str:
    (found,) = client.get(f"/api/patches/?msgid={name}@example.org").json()
    return f"/api/1.2/patches/{found['id']}/"


def happened(client: TestClient) -> list[dict[str, Any]]:
    found = client.get("/api/events/?order=-date&per_page=4").json()
    return [record for record in found if record["actor"] is not None]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("form", [True, False])
def test_a_change_of_a_patch_is_an_event(client: TestClient, method: str, form: bool) -> None:
    """git-pw and b4 send forms, pwclient sends JSON."""
    url = patch_of(client)
    number = client.get("/api/users/").json()[0]["id"]
    wanted = {"state": "Under Review", "archived": True, "delegate": number, "commit_ref": "abc"}
    given = {"data": wanted} if form else {"json": wanted}
    answer = client.request(method, url, **given)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert (made["state"], made["archived"], made["commit_ref"]) == ("under-review", True, "abc")
    assert made["delegate"]["username"] == "ci"
    assert client.get(url).json() == made
    found = {event["category"]: event for event in happened(client)}
    assert set(found) == {"patch-state-changed", "patch-delegated"}
    state = found["patch-state-changed"]
    assert state["payload"]["previous_state"] == "new"
    assert state["payload"]["current_state"] == "under-review"
    assert state["actor"]["username"] == "ci"
    assert found["patch-delegated"]["payload"]["current_delegate"]["username"] == "ci"
    for query, length in (
        ("state=under-review", 1), ("state=new", 3), ("archived=true", 1), ("delegate=ci", 1),
        ("archived=false&state=under-review", 0), (f"delegate={number}&order=-delegate", 1),
    ):  # fmt: skip
        assert len(client.get(f"/api/patches/?{query}").json()) == length, query
    client.patch(url, json={"delegate": None, "archived": "no", "commit_ref": ""})
    left = client.get(url).json()
    assert (left["delegate"], left["archived"], left["commit_ref"]) == (None, False, "")
    client.patch(url, json={"commit_ref": None})
    assert client.get(url).json()["commit_ref"] is None
    assert left["state"] == "under-review"


def test_a_form_of_several_parts(client: TestClient) -> None:
    url = patch_of(client)
    answer = client.patch(url, files={"state": (None, "rfc"), "archived": (None, "True")})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["archived"]) == ("rfc", True)
    broken = {"Content-Type": "multipart/form-data"}
    assert client.patch(url, content=b"--b\r\n", headers=broken).status_code == 400


def test_put_needs_every_field(client: TestClient) -> None:
    url = patch_of(client)
    answer = client.put(url, json={"archived": True})
    assert (answer.status_code, set(answer.json())) == (400, {"state", "delegate"})
    assert client.get(url).json()["archived"] is False


def test_states_of_checks_by_number(client: TestClient) -> None:
    url = f"{patch_of(client)}checks/"
    for state in (2, "2"):
        answer = client.post(url, json={"state": state, "context": "n"})
        assert (answer.status_code, answer.json()["state"]) == (201, "warning")
        assert answer.headers["location"] == answer.json()["url"]


def test_what_was_set_survives_a_reparse(client: TestClient, engine: Engine) -> None:
    url = patch_of(client)
    client.patch(url, json={"state": "accepted", "archived": True})
    client.post(f"{url}checks/", json={"state": "success", "context": "build"})
    before, count = client.get(url).json(), len(client.get("/api/events/").json())
    reparse(engine, Config())
    assert client.get(url).json() == before
    assert len(client.get("/api/events/").json()) == count
    assert len(client.get("/api/patches/?state=accepted").json()) == 1


def test_related_patches(client: TestClient) -> None:
    urls = [patch_of(client, f"s-{n}") for n in (1, 2)]
    other = client.get(urls[1]).json()["id"]
    made = client.patch(urls[0], json={"related": [other]}).json()
    assert [patch["id"] for patch in made["related"]] == [other]
    assert client.get(urls[1]).json()["related"][0]["id"] == made["id"]
    (one,) = happened(client)
    assert one["category"] == "patch-relation-changed"
    assert one["payload"]["current_relation"][0]["id"] == other
    assert client.patch(urls[0], json={"related": []}).json()["related"] == []
    assert client.get(urls[1]).json()["related"] == []


def test_relating_patches_needs_the_right_to_write_to_each_of_them(
    client: TestClient, engine: Engine
) -> None:
    """This includes patches that are related already, which join or leave the set."""
    ours = [patch_of(client, f"s-{n}") for n in (1, 2)]
    theirs = patch_of(client, "other")
    number = {url: client.get(url).json()["id"] for url in (*ours, theirs)}
    scoped = {"Authorization": f"Token {token(engine, 'scoped', (mails.LIST,))}"}

    def relate(url: str, *others: str, who: dict[str, str] | None = None) -> int:
        body = {"state": "accepted", "related": [number[patch] for patch in others]}
        return client.patch(url, json=body, headers=who).status_code

    def related(url: str) -> list[int]:
        return [patch["id"] for patch in client.get(url).json()["related"]]

    assert relate(ours[0], theirs, who=scoped) == 403
    assert relate(ours[0], ours[1], theirs, who=scoped) == 403
    assert client.get(ours[0]).json()["state"] == "new", "no part of it is applied"
    assert relate(ours[0], ours[1], who=scoped) == 200
    assert relate(ours[0], who=scoped) == 200
    assert relate(ours[0], theirs) == 200
    before = len(happened(client))
    assert relate(ours[1], ours[0], who=scoped) == 403, (
        "the other account's patch would be related to another"
    )
    assert relate(ours[0], ours[1], who=scoped) == 403
    assert relate(ours[0], who=scoped) == 403, "the other account's patch would be related to none"
    assert related(theirs) == [number[ours[0]]]
    assert len(happened(client)) == before
    assert client.patch(ours[0], json={"state": "rfc"}, headers=scoped).status_code == 200


def test_checks(client: TestClient) -> None:
    url = patch_of(client)
    given = {
        "state": "fail", "context": "build/x86", "target_url": "https://ci.example.org/7",
        "description": "broken",
    }  # fmt: skip
    answer = client.post(f"{url}checks/", json=given)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert {name: made[name] for name in given} == given
    assert made["user"]["username"] == "ci"
    assert client.get(f"{url}checks/{made['id']}/").json() == made
    assert client.get(f"{url}checks/?state=fail&user=ci&context=build/x86").json() == [made]
    assert client.get(f"{url}checks/?state=success").json() == []
    assert client.get(url).json()["check"] == "fail"
    client.post(f"{url}checks", data={"state": "success", "context": "build/x86"})
    assert client.get(url).json()["check"] == "success"
    assert [event["category"] for event in happened(client)] == ["check-created"] * 2
    other = patch_of(client, "s-2")
    assert client.get(f"{other}checks/{made['id']}/").status_code == 404


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"state": "eaten"}, "state"),
        ({"state": 99}, "state"),
        ({"state": None}, "state"),
        ({"archived": 7}, "archived"),
        ({"archived": "perhaps"}, "archived"),
        ({"archived": {}}, "archived"),
        ({"delegate": 99}, "delegate"),
        ({"delegate": "nobody\0"}, "delegate"),
        ({"delegate": True}, "delegate"),
        ({"delegate": [1]}, "delegate"),
        ({"commit_ref": "a b"}, "commit_ref"),
        ({"commit_ref": "a" * 256}, "commit_ref"),
        ({"commit_ref": 5}, "commit_ref"),
        ({"commit_ref": "a\0"}, "commit_ref"),
        ({"state": "\0"}, "state"),
        ({"delegate": "a" * 60_000}, "delegate"),
        ({"related": ["9" * 5_000]}, "related"),
        ({"related": 5}, "related"),
        ({"related": ["x"]}, "related"),
        ({"related": [10**30]}, "related"),
        ({"related": [999999]}, "related"),
        ({"related": [True]}, "related"),
        (["state"], "detail"),
        ("text", "detail"),
    ],
)
def test_what_makes_no_sense_changes_nothing(client: TestClient, body: Any, says: str) -> None:
    url = patch_of(client)
    before = client.get(url).json()
    whole = {"state": "accepted", **body} if isinstance(body, dict) else body
    answer = client.patch(url, json=whole)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()
    assert client.get(url).json() == before
    assert happened(client) == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"state": "eaten", "context": "c"}, "state"),
        ({"state": None, "context": "c"}, "state"),
        ({"state": "fail", "context": "a b"}, "context"),
        ({"state": "fail", "context": ""}, "context"),
        ({"state": "fail", "context": "c", "target_url": "javascript:alert(1)"}, "target_url"),
        ({"state": "fail", "context": "c", "target_url": "http://["}, "target_url"),
        ({"state": "fail", "context": "c", "target_url": 5}, "target_url"),
        ({"context": "c"}, "state"),
        ({"state": 4, "context": "c"}, "state"),
        ({"state": "fail", "context": "a.b"}, "context"),
        ({"state": "fail", "context": "c", "target_url": "http://a/" + "b" * 200}, "target_url"),
        ({"state": "fail", "context": "c", "description": "d" * 20_001}, "description"),
        ({"state": "fail", "context": "c", "description": "a\0"}, "description"),
        ({"state": "fail", "context": "c", "target_url": "http://a/\0"}, "target_url"),
        ({"state": "fail", "context": "c\0"}, "context"),
    ],
)
def test_checks_that_make_no_sense(client: TestClient, body: Any, says: str) -> None:
    url = f"{patch_of(client)}checks/"
    answer = client.post(url, json=body)
    assert (answer.status_code, list(answer.json())) == (400, [says])
    assert client.get(url).json() == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 30_000, "application/json", 400),
        (b'{"commit_ref": "\\ud800"}', "application/json", 400),
        (b'{"state": "\\ud800"}', "application/json", 400),
        (b'{"delegate": "\\udc80"}', "application/json", 400),
        (b'{"related": [' + b"9" * 5_000 + b"]}", "application/json", 400),
        (b"commit_ref=%FF", "application/x-www-form-urlencoded", 400),
        (b"commit_ref=%zz", "application/x-www-form-urlencoded", 400),
        (b"commit_ref=\xff", "application/x-www-form-urlencoded", 400),
        (b"commit_ref=a%00b", "application/x-www-form-urlencoded", 400),
        (b"state=accepted", "text/plain", 415),
        (b"x" * 70_000, "application/json", 413),
        (b"&" * 5_000 + b"a=b", "application/x-www-form-urlencoded", 400),
    ],
)
def test_bodies_that_are_none(client: TestClient, content: bytes, kind: str, status: int) -> None:
    answer = client.patch(patch_of(client), content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text


def test_who_may_not(client: TestClient, engine: Engine) -> None:
    url = patch_of(client)
    scoped = token(engine, "scoped", ("other.lists.example.org",))
    plain = client.headers.pop("Authorization").partition(" ")[2]
    for method in ("put", "patch"):
        answer = getattr(client, method)(url, json={"state": "accepted"})
        assert answer.status_code == 403
        assert answer.json() == {"detail": "Authentication credentials were not provided."}
    assert client.post(f"{url}checks/", json={"state": "fail"}).status_code == 403
    for header, status in (
        ("Token wrong", 403),
        (f"Token {plain}x", 403),
        (f"Digest {plain}", 403),
        ("Basic ?", 403),
        (f"Token {scoped}", 403),
        (f"token {plain}", 200),
        (f"Bearer {plain}", 200),
        ("Basic " + base64.b64encode(f"any:{plain}".encode()).decode(), 200),
    ):
        answer = client.patch(url, json={"archived": True}, headers={"Authorization": header})
        assert answer.status_code == status, header
    theirs = patch_of(client, "other")
    allowed = {"Authorization": f"Token {scoped}"}
    assert client.patch(theirs, json={"archived": True}, headers=allowed).status_code == 200
    with write_transaction(engine) as connection:
        revoke_token(connection, "ci")
    again = {"Authorization": f"Token {plain}"}
    assert client.patch(url, json={"archived": True}, headers=again).status_code == 403


def test_what_is_not_there_or_not_to_be_written(client: TestClient) -> None:
    assert client.patch("/api/patches/99999/", json={}).status_code == 404
    assert client.post("/api/patches/99999/checks/", json={"state": "fail"}).status_code == 404
    cover = client.get("/api/covers/").json()[0]["id"]
    assert client.patch(f"/api/patches/{cover}/", json={}).status_code == 404
    for path in ("/api/1.3/series/1/", "/api/covers/1/", "/api/people/1/", "/api/bundles/"):
        assert client.patch(path, json={}).status_code == 405


def test_tokens_of_the_command_line(tmp_path: Path) -> None:
    from tests.support.command import ingest_ok

    def run(*words: str) -> str:
        return ingest_ok("--database", f"sqlite:///{tmp_path / 'store.db'}", *words, cwd=tmp_path)

    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(engine, [mails.patch()])
    made = run("token", "add", "ci", "--list", "dev").strip()
    assert run("token", "list").split()[:2] == ["ci", mails.LIST]
    client = client_of(engine, Config(api=CONFIG.api))
    change: dict[str, Any] = {
        "json": {"state": "accepted"},
        "headers": {"Authorization": f"Token {made}"},
    }
    assert client.patch(patch_of(client, "p"), **change).status_code == 200
    run("token", "revoke", "ci")
    assert client.patch(patch_of(client, "p"), **change).status_code == 403
    everything = run("export", "--all")
    plain = mails.exported(engine)
    assert everything.startswith(plain)
    assert '"state": "accepted"' in everything.removeprefix(plain)
    engine.dispose()
