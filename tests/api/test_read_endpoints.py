"""Test the responses of the API for reading: records, filters, pages, errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from starlette.testclient import TestClient

from ingest.api import site
from ingest.api.app import make_app
from ingest.config.settings import ApiConfig, Config, ConfiguredList
from ingest.store import schema
from ingest.store.activity.accounts import add_token, revoke_token
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.read.pages import list_totals, listing_pages
from ingest.store.read.pages.list_totals import ListTotals
from tests.support import mails
from tests.support.api_client import BASE, CONFIG, GIVEN, MAILS, client_of
from tests.support.postgres import fresh


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """Return a client for a store that tests only read, one for each kind of database."""
    with contextlib.ExitStack() as ending:
        url = f"sqlite:///{tmp_path_factory.mktemp('api') / 'store.db'}"
        if request.param == "postgresql":
            url = ending.enter_context(fresh(request.getfixturevalue("postgres_server")))
        engine = open_store(url, create=True)
        ending.callback(engine.dispose)
        mails.store(engine, MAILS)
        yield client_of(engine, Config(api=CONFIG.api))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return a store that a test may change."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(engine, MAILS)
    yield engine
    engine.dispose()


def names(client: TestClient, query: str, kind: str = "patches") -> list[str]:
    answer = client.get(f"/api/1.2/{kind}/?{query}")
    assert answer.status_code == 200, (query, answer.text)
    return [record["name"] for record in answer.json()]


@pytest.mark.parametrize(
    "prefix", ["/api", "/api/1.0", "/api/1.1", "/api/1.2", "/api/1.3", "/api/1.4"]
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_version_with_and_without_a_slash(
    client: TestClient, prefix: str, slash: str
) -> None:
    assert client.get(f"{prefix}{slash}").json()["patches"] == f"{BASE}{prefix}/patches/"
    found = client.get(f"{prefix}/patches{slash}").json()
    assert len(found) == 7
    one = client.get(f"{prefix}/patches/{found[0]['id']}{slash}").json()
    assert one["url"] == f"{BASE}{prefix}/patches/{one['id']}/"
    assert ("related" in one) == (prefix not in ("/api/1.0", "/api/1.1"))
    assert ("web_url" in one) == (prefix != "/api/1.0")
    listed = {name: value for name, value in one.items() if name in found[0]}
    assert listed == found[0], "a list and the detail record agree"


FILTERS: dict[str, Callable[[str], bool]] = {
    "": lambda _: True,
    "project=dev": lambda name: name != "fs: change",
    "project=other": lambda name: name == "fs: change",
    "project=dev&project=other": lambda _: True,
    "submitter=bob@example.com": lambda name: "t:" in name,
    "submitter=BOB@example.com": lambda name: "t:" in name,
    "submitter=tester": lambda name: "t:" in name,
    "submitter=nobody@example.com": lambda _: False,
    "msgid=s-2@example.org": lambda name: name == "[2/3] s: step 2",
    "msgid=%3Cs-2@example.org%3E": lambda name: name == "[2/3] s: step 2",
    "state=new": lambda _: True,
    "state=New": lambda _: True,
    "state=accepted": lambda _: False,
    "state=accepted&state=new": lambda _: True,
    "archived=false": lambda _: True,
    "archived=yes": lambda _: False,
    "delegate=ci": lambda _: False,
    "q=STEP": lambda name: "step" in name,
    "q=100%25": lambda name: "100%" in name,
    "q=_": lambda _: False,
    "since=2026-03-05": lambda name: "t:" in name,
    "since=2026-03-05T10:15:01%2B00:00": lambda name: "t:" in name,
    "since=2026-03-05T10:15:01+00:00": lambda name: "t:" in name,
    "since=2026-03-05T10:15:02Z": lambda name: "t: step 2" in name,
    "before=2026-03-05": lambda name: "t:" not in name,
    "since=2026-03-02T12:15:02%2B02:00&before=2026-03-03": lambda n: n[1:4] in ("2/3", "3/3"),
    "project=&q=&since=&order=": lambda _: True,
}


@pytest.mark.parametrize("query", FILTERS)
def test_filters_of_patches(client: TestClient, query: str) -> None:
    every = names(client, "")
    assert len(every) == 7
    assert names(client, query) == [name for name in every if FILTERS[query](name)]


def test_filters_that_name_rows(client: TestClient) -> None:
    first = client.get("/api/patches/?msgid=t-1@example.org").json()[0]
    number = first["submitter"]["id"]
    for query in (
        f"hash={first['hash']}",
        f"hash={first['hash'].upper()}&q=step 1",
        f"series={first['series'][0]['id']}&q=step 1",
        f"submitter={number}&q=step 1",
        f"project={first['project']['id']}&submitter={number}&order=date&per_page=1",
    ):
        assert first["name"] in names(client, query), query
    assert names(client, f"submitter={number}", "covers") == ["[0/2] t: improve all"]
    assert names(client, "project=dev&q=s:", "covers") == ["[0/3] s: improve all"]
    assert names(client, f"submitter={number}", "series") == ["t: improve all"]
    assert names(client, "project=other", "series") == ["fs: change"]
    assert len(names(client, "project=dev", "series")) == 3
    assert names(client, "q=T: imp&since=2026-03-01", "series") == ["t: improve all"]


def test_orders(client: TestClient) -> None:
    every = client.get("/api/patches/").json()
    for field, key in (
        ("id", lambda one: one["id"]),
        ("date", lambda one: (one["date"], one["id"])),
        ("submitter", lambda one: (one["submitter"]["id"], one["date"], one["id"])),
    ):
        for sign in ("", "-"):
            found = client.get(f"/api/patches/?order={sign}{field}").json()
            assert found == sorted(every, key=key, reverse=bool(sign)), (sign, field)
    assert names(client, "order=name")[0].startswith("[1/")


def test_pages_follow_each_other_by_the_link(client: TestClient) -> None:
    every = client.get("/api/1.2/patches/?order=-date&state=new&state=a,b").json()
    found, url, pages = [], "/api/1.2/patches?order=-date&state=new&state=a,b&per_page=3", 0
    while url:
        answer = client.get(url)
        found += answer.json()
        pages += 1
        raw = [value.decode() for name, value in answer.headers.raw if name == b"Link"]
        if pages == 2:
            (link,) = raw
            assert link.split(", ")[0].endswith('; rel="next"')
            assert link.split(", ")[1] == (
                f'<{BASE}/api/1.2/patches?order=-date&per_page=3&state=new&state=a%2Cb>; rel="prev"'
            )
            assert link.split(", ")[2].endswith('; rel="first"')
            assert (
                link.split(", ")[3]
                .split(">")[0]
                .endswith("page=3&per_page=3&state=new&state=a%2Cb")
            )
            assert link.count(",") == 3, "clients split links at commas"
        url = raw[0].split(">")[0][1:] if raw and 'rel="next"' in raw[0] else ""
        assert not url or url.startswith(f"{BASE}/api/1.2/patches?")
    assert (found, pages) == (every, 3)
    assert client.get("/api/patches/?per_page=3&page=4").status_code == 404
    assert client.get("/api/patches/").headers["Link"] == (
        f'<{BASE}/api/patches/?page=1>; rel="first", <{BASE}/api/patches/?page=1>; rel="last"'
    )


PAGED = [
    ("patches", ""),
    ("covers", ""),
    ("series", ""),
    ("patches", "state=new&archived=false"),
    ("patches", "state=new&state=accepted"),
    ("patches", "project=dev&archived=false"),
    ("patches", "project=1&project=2"),
    ("patches", "submitter=ada"),
    ("patches", "since=2026-01-01&before=2099-01-01"),
    ("patches", "q=change"),
    ("patches", "q=zzz"),
    ("patches", "delegate=nobody"),
    ("series", "project=dev"),
    ("series", "q=s"),
]


@pytest.mark.parametrize("few", [1, 10_000])
@pytest.mark.parametrize("counts", [False, True])
def test_the_last_page_is_the_last(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, few: int, counts: bool
) -> None:
    """Where there is a link to it: a short list is counted, and a long one was counted before."""
    totals = ListTotals()
    assert totals.is_due
    if counts:
        with engine.connect() as connection:
            totals.refresh(connection)
        assert not totals.is_due
    monkeypatch.setattr(listing_pages, "MAX_COUNTED", few)
    monkeypatch.setattr(list_totals, "MAX_COUNTED", few)
    client = TestClient(make_app(engine, lambda: CONFIG, totals=totals), follow_redirects=False)
    linked = []
    for kind, filters in PAGED:
        path = f"/api/{kind}/?{filters}&per_page=1"
        number = len(client.get(f"/api/{kind}/?{filters}&per_page=250").json())
        links = _links(client.get(path))
        if number < 2:
            assert set(links) == {"first", "last"}
            continue
        assert "page=1&" in links["first"]
        linked += [(kind, filters)] if "last" in links else []
        if "last" in links:
            assert f"page={number}&" in links["last"]
        end = _links(client.get(f"{path}&page={number}"))
        assert f"page={number}&" in end["last"]
        assert "next" not in end
    if few == 10_000:
        assert len(linked) > 8
    else:
        assert bool(linked) == counts


def _links(answer: Any) -> dict[str, str]:
    raw = [value.decode() for name, value in answer.headers.raw if name == b"Link"]
    parts = [link.split(">; rel=") for value in raw for link in value.split(", ")]
    return {rel.strip('"'): url for url, rel in parts}


def test_patches_are_found_by_the_files_that_they_touch(client: TestClient) -> None:
    """In lists and on pages; words apart from those are part of the name."""
    every = names(client, "q=")
    assert names(client, "q=file:s2.c") == ["[2/3] s: step 2"]
    assert names(client, "q=dfn:S2.C") == ["[2/3] s: step 2"]
    assert names(client, "q=step++file:s2.c++2") == ["[2/3] s: step 2"]
    assert names(client, "q=file:s2.c+nothing") == []
    assert names(client, "q=file:") == [], "the word alone is part of a name"
    assert len(names(client, "q=file:.c")) == len(every)
    assert [name.startswith("s") for name in names(client, "q=file:s2.c", "series")] == [True]
    patch = client.get("/api/1.2/patches/?q=file:t1.c").json()[0]
    page = client.get("/project/dev/list/?q=file:t1.c").text
    assert patch["name"] in page
    assert "s: step" not in page


def test_a_page_is_not_larger_than_is_configured(engine: Engine) -> None:
    client = client_of(engine, Config(api=ApiConfig(max_page=2)))
    assert len(client.get("/api/patches/?per_page=1000").json()) == 2


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/patches/?page=0", 404, "detail"),
        ("/api/patches/?page=x", 404, "detail"),
        ("/api/patches/?page=999999999999999999999", 404, "detail"),
        ("/api/patches/?page=99999999", 404, "detail"),
        ("/api/patches/?q=patchid:abc", 400, "q"),
        ("/api/series/?q=patchid:0123456z", 400, "q"),
        ("/api/covers/?q=" + "+".join(f"file:{number}" for number in range(11)), 400, "q"),
        ("/api/patches/999999", 404, "detail"),
        ("/api/patches/99999999999999999999999", 404, "detail"),
        ("/api/patches/x", 404, "detail"),
        ("/api/series/999999/", 404, "detail"),
        ("/api/covers/999999/comments/", 404, "detail"),
        ("/api/bundles/1/", 404, "detail"),
        ("/api/1.9/patches/", 404, "detail"),
        ("/api/9999999999.1/patches/", 404, "detail"),
        ("/nothing", 404, "detail"),
        ("/api/patches/?" + "&".join("state=a" for _ in range(300)), 400, "detail"),
        ("/api/patches/?" + "&".join("state=a" for _ in range(51)), 400, "state"),
        ("/api/patches/?q=%00", 400, "q"),
        ("/api/patches/?q=%ED%A0%80", 400, "detail"),
        ("/api/patches/?state=%FF", 400, "detail"),
        ("/api/patches/?msgid=a%C0%80", 400, "detail"),
        ("/api/patches/?q=100%", 400, "detail"),
        ("/api/patches/?q=%zz", 400, "detail"),
        ("/api/patches/?q=" + "a" * 50_000, 400, "q"),
        ("/api/series/?q=" + "a" * 1_001, 400, "q"),
        ("/api/people/?q=" + "%25" * 20_000, 400, "q"),
        ("/api/projects/?q=" + "a" * 1_001, 400, "q"),
        ("/api/events/?actor=" + "9" * 5_000, 400, "actor"),
        ("/api/patches/?" + "n" * 101 + "=1", 400, "detail"),
        ("/api/patches/?page=" + "9" * 900, 404, "detail"),
        ("/api/patches/?per_page=" + "9" * 5_000, 400, "per_page"),
        ("/api/patches/1/comments/?order=" + "d" * 1_001, 400, "order"),
    ],
)
def test_what_makes_no_sense_is_refused_as_json(
    client: TestClient, path: str, status: int, says: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert says in answer.json()


@pytest.mark.parametrize(
    "query",
    [
        "since=soon", "before=soon", "since=0001-01-01T00:00:00%2B14:00", "series=x",
        "before=9999-12-31T23:59:59-14:00", "series=" + "9" * 900, "project=nowhere", "project=99",
        "state=eaten", "state=99", "delegate=nobody", "submitter=nobody@example.org",
    ],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_finds_nothing(client: TestClient, query: str) -> None:
    """Patchwork's clients rely on the status."""
    assert names(client, query) == []


@pytest.mark.parametrize(
    "query", ["per_page=0", "per_page=-1", "per_page=x", "order=size", "archived=perhaps", "u=1"]
)
def test_what_makes_no_sense_otherwise_is_ignored(client: TestClient, query: str) -> None:
    assert names(client, query) == names(client, "")


def test_events_of_unknown_categories_and_old_versions(client: TestClient) -> None:
    """Comment events are in the API from version 1.3 on."""
    assert client.get("/api/events/?category=patch-eaten").json() == []
    comments = client.get("/api/1.3/events/?category=patch-comment-created").json()
    assert len(comments) == 1
    assert client.get("/api/1.2/events/?category=patch-comment-created").json() == []
    everything = {event["category"] for event in client.get("/api/1.0/events/").json()}
    assert everything == {
        "cover-created", "patch-created", "series-created", "patch-completed", "series-completed",
    }  # fmt: skip


@pytest.mark.parametrize("query", ["q=%25_%5C", "q=" + "%C3%A4" * 1_000, "hash=%01", "msgid=%3E"])
def test_hostile_text_finds_nothing(client: TestClient, query: str) -> None:
    assert names(client, query) == []


_NAMES = (
    "q", "project", "state", "submitter", "delegate", "hash", "msgid", "series", "archived",
    "since", "order", "page", "per_page", "category", "actor", "user", "context",
)  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        "a%00b", "%ED%A0%80", "%F4%90%80%80", "%zz", "%25" * 1_000, "9" * 19, "9" * 1_000, "-1",
        "%D9%A3", "a" * 60_000, "%5C" * 1_000, "9999-12-31T23:59:59.999999Z", "%EF%BF%BF",
    ],
)  # fmt: skip
def test_no_value_of_any_parameter_is_an_internal_error(client: TestClient, value: str) -> None:
    """Nor does the database fail, which would be 503."""
    paths = [f"/api/{kind}/" for kind in ("patches", "series", "events", "people", "projects")]
    paths += ["/api/patches/1/checks/", "/project/dev/patches/", "/patch/2/mbox/"]
    for path in paths:
        for name in _NAMES:
            answer = client.get(f"{path}?{name}={value}")
            assert answer.status_code in (200, 301, 302, 400, 404), (path, name)


def test_a_page_for_people_says_what_is_refused(client: TestClient) -> None:
    browser = {"Accept": "text/html"}
    for path, status in (
        ("/project/dev/list/?q=" + "a" * 50_000, 400),
        ("/project/dev/patches/?q=%FF", 400),
        ("/project/dev/list/?page=x", 404),
        ("/project/nowhere/list/", 404),
    ):
        answer = client.get(path, headers=browser)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")


def test_methods_that_are_not_there(client: TestClient) -> None:
    answer = client.delete("/api/patches/1/")
    assert (answer.status_code, answer.json()) == (405, {"detail": 'Method "DELETE" not allowed.'})
    assert answer.headers["Allow"] == "GET, PUT, PATCH, HEAD, OPTIONS"
    assert client.post("/api/patches/").status_code == 405
    answer = client.head("/api/patches/")
    assert (answer.status_code, answer.headers["Allow"]) == (200, "GET, HEAD, OPTIONS")


def test_a_resource_describes_itself(client: TestClient) -> None:
    answer = client.options("/api/1.3/patches/1/checks/")
    assert (answer.status_code, answer.headers["Allow"]) == (200, "GET, POST, HEAD, OPTIONS")
    assert answer.json()["name"] == "Check List Create"
    assert answer.json()["actions"]["POST"]["state"]["choices"][3]["display_name"] == "fail"


@pytest.mark.parametrize(
    ("accept", "query", "status", "kind"),
    [
        ("*/*", "", 200, "application/json"),
        ("application/json, text/html", "", 200, "application/json"),
        ("application/*;q=0.1", "", 200, "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", 200, "text/html"),
        ("text/html", "?format=json", 200, "application/json"),
        ("*/*", "?format=api", 200, "text/html"),
        ("application/xml", "", 406, "application/json"),
        ("*/*", "?format=xml", 404, "application/json"),
        ("text/html", "?page=99", 404, "text/html"),
    ],
)
def test_the_form_of_a_response(
    client: TestClient, accept: str, query: str, status: int, kind: str
) -> None:
    answer = client.get(f"/api/1.2/patches/{query}", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (status, kind)
    assert answer.headers["vary"].startswith("Accept")


def test_paths_that_old_versions_lack(client: TestClient) -> None:
    patch = client.get("/api/patches/?msgid=s-1@example.org").json()[0]
    comments = f"patches/{patch['id']}/comments/"
    (comment,) = client.get(f"/api/1.1/{comments}").json()
    assert client.get(f"/api/1.0/{comments}").status_code == 404
    assert client.get(f"/api/1.3/{comments}{comment['id']}/").status_code == 200
    assert client.get(f"/api/1.2/{comments}{comment['id']}/").status_code == 404


def test_a_series(client: TestClient) -> None:
    (one,) = client.get("/api/1.2/series/?q=s: improve").json()
    assert client.get(f"/api/1.2/series/{one['id']}/").json() == one
    assert (one["total"], one["received_total"], one["received_all"]) == (3, 3, True)
    assert one["cover_letter"]["name"] == "[0/3] s: improve all"
    assert [patch["name"] for patch in one["patches"]] == [
        f"[{n}/3] s: step {n}" for n in (1, 2, 3)
    ]
    assert one["mbox"] == f"{BASE}/series/{one['id']}/mbox/"
    assert one["web_url"] == f"{BASE}/project/dev/list/?series={one['id']}"
    patch = client.get(one["patches"][0]["url"].removeprefix(BASE)).json()
    assert patch["series"][0]["id"] == one["id"]


def test_comments(client: TestClient) -> None:
    patch = client.get("/api/patches/?msgid=s-1@example.org").json()[0]
    assert patch["comments"] == f"{BASE}/api/patches/{patch['id']}/comments/"
    (one,) = client.get(f"/api/1.3/patches/{patch['id']}/comments/").json()
    assert (one["msgid"], one["subject"]) == ("<r@example.com>", "Re: fs: change")
    assert one["content"].endswith(GIVEN)
    assert one["headers"]["In-Reply-To"] == "<s-1@example.org>"
    assert client.get(one["url"].removeprefix(BASE)).json() == one
    (old,) = client.get(f"/api/1.2/patches/{patch['id']}/comments").json()
    assert "addressed" not in old
    cover = client.get("/api/covers/?q=s:").json()[0]
    (said,) = client.get(f"/api/covers/{cover['id']}/comments/").json()
    assert said["msgid"] == "<c@example.com>"
    assert client.get(f"/api/covers/{patch['id']}/comments/").status_code == 404
    assert client.get(f"/api/patches/{patch['id']}/comments/{said['id']}/").status_code == 404


def test_projects_and_people(client: TestClient) -> None:
    found = client.get("/api/projects/").json()
    assert [record["link_name"] for record in found] == ["dev", "other"]
    for name in (found[0]["id"], "dev", mails.LIST):
        assert client.get(f"/api/projects/{name}/").json() == found[0]
    assert client.get("/api/projects/none/").status_code == 404
    assert [project["link_name"] for project in client.get("/api/projects/?q=OTH").json()] == [
        "other"
    ]
    (bob,) = client.get("/api/people/?q=bob").json()
    assert (bob["name"], bob["email"], bob["user"]) == ("Bob Tester", "bob@example.com", None)
    assert client.get(f"/api/people/{bob['id']}/").json() == bob
    assert client.get("/api/bundles/").json() == []
    assert client.get("/api/users/").json() == []


def test_people_and_users_are_shown_to_those_with_a_token(engine: Engine) -> None:
    """Status and text are those of Patchwork; a revoked or invented token is refused."""
    mails.store(engine, MAILS)
    with write_transaction(engine) as connection:
        ci, gone = (
            add_token(connection, name, email="", lists=(mails.LIST,), now=mails.NOW)
            for name in ("ci", "gone")
        )
        revoke_token(connection, "gone")
    config = Config(api=ApiConfig(url=BASE, rate=100_000, burst=100_000))
    client = client_of(engine, config)
    for kind in ("people", "users"):
        for path in (f"/api/{kind}/", f"/api/1.0/{kind}?q=a", f"/api/{kind}/1/", f"/api/{kind}/9/"):
            answer = client.get(path)
            said = {"detail": "Authentication credentials were not provided."}
            assert (answer.status_code, answer.json()) == (403, said)
            assert "www-authenticate" not in answer.headers
            assert client.head(path).status_code == 403
            for header in (f"Token {gone}", "Token 1-x", "Token", "Basic e30=", "Digest x", ""):
                answer = client.get(path, headers={"Authorization": header})
                assert (answer.status_code, answer.json()) == (403, {"detail": "Invalid token."})
        known = {"Authorization": f"Token {ci}"}
        (one, *_) = client.get(f"/api/{kind}/", headers=known).json()
        detail = client.get(f"/api/{kind}/{one['id']}/", headers=known).json()
        assert {name: detail[name] for name in one} == one
        assert client.get(f"/api/{kind}/99/", headers=known).status_code == 404
    # As in Patchwork, a patch names its submitter, whose address is in the mail anyway.
    (patch, *_) = client.get("/api/patches/").json()
    assert patch["submitter"]["email"] == "ada@example.org"


def test_pages_list_no_people(engine: Engine) -> None:
    """They show the sender of each mail, and there is no page of people."""
    mails.store(engine, MAILS)
    client = client_of(engine, Config(api=ApiConfig()))
    for path in ("/people/", "/users/", "/project/dev/people/", "/user/1/"):
        assert client.get(path).status_code == 404
    for path in ("/", "/state/"):
        assert "@example" not in client.get(path).text


def test_a_configured_list_without_mail_is_empty_and_not_unknown(engine: Engine) -> None:
    config = Config(lists=(ConfiguredList("new-one", "new.lists.example.org"),), api=CONFIG.api)
    assert client_of(engine, config).get("/api/patches/?project=new-one").json() == []


def test_a_cross_posted_patch_is_in_both_projects_as_each_ones(engine: Engine) -> None:
    twice = [
        mails.patch("both@example.org", "[PATCH] both", name="b", list_id=list_id)
        for list_id in ("aaa.lists.example.org", "zzz.lists.example.org")
    ]
    mails.store(engine, twice)
    client = client_of(engine, Config(api=CONFIG.api))
    for name in ("aaa", "zzz"):
        (one,) = client.get(f"/api/patches/?project={name}").json()
        assert (one["name"], one["project"]["link_name"]) == ("both", name)


def test_undated_mail_has_the_time_of_its_acceptance(engine: Engine) -> None:
    """Clients do not accept null there."""
    raw = mails.patch("undated@example.org", "[PATCH] undated", name="u")
    mails.store(engine, [b"\n".join(line for line in raw.split(b"\n") if line[:5] != b"Date:")])
    client = client_of(engine)
    (one,) = client.get("/api/patches/?msgid=undated@example.org").json()
    assert one["date"] == one["series"][0]["date"] == mails.NOW.isoformat()
    (series,) = client.get("/api/series/?q=undated").json()
    assert series["date"] == series["patches"][0]["date"] == mails.NOW.isoformat()


# --- how many queries -------------------------------------------------------------------------

LISTS = (
    "patches/?project=dev&state=new&order=-date",
    "covers/?project=dev",
    "series/?project=dev",
    "events/?project=dev",
    "events/?category=patch-created",
    "people/",
    "projects/",
    "patches/{patch}/comments/",
    "patches/{patch}/checks/",
    "patches/{patch}/",
    "series/{series}/",
)


def _statements(engine: Engine, client: TestClient, path: str) -> int:
    said: list[str] = []
    client.get("/api/")  # what the site defines is read, and kept for a second

    def executed(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", executed)
    answer = client.get(path)
    event.remove(Engine, "before_cursor_execute", executed)
    assert answer.status_code == 200
    assert answer.json()
    return len(said)


def test_a_page_costs_the_same_number_of_queries_whatever_is_on_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        site, "_FRESH_SECONDS", 3_600
    )  # what is read again after that is not counted
    engine = open_store(database_url, create=True)
    client = client_of(engine)
    counts = []
    for stem, size in (("a", 2), ("b", 10), ("c", 25)):
        given = [*mails.series(stem, size)]
        given += [
            mails.reply(f"{stem}-r{n}@example.com", f"{stem}-1@example.org", GIVEN)
            for n in range(size)
        ]
        mails.store(engine, given)
        with engine.begin() as connection:
            _say(connection, f"<{stem}-1@example.org>", size)
        client.get("/api/events/")  # publishes events
        (patch,) = client.get(f"/api/patches/?msgid={stem}-1@example.org").json()
        numbers = {"patch": patch["id"], "series": patch["series"][0]["id"]}
        paths = [f"/api/1.2/{list_name.format(**numbers)}" for list_name in LISTS]
        paths = [f"{path}{'&' if '?' in path else '?'}per_page=250&order=id" for path in paths]
        counts.append([_statements(engine, client, path) for path in paths])
    assert counts[0] == counts[1] == counts[2]
    assert max(counts[0]) <= 16, counts[0]  # two of them find out whether a filter allows few rows
    engine.dispose()


def _say(connection: Any, msgid: str, size: int) -> None:
    """Set delegates, checks and relations of many patches."""
    from ingest.store.activity.accounts import add_token, read_accounts
    from ingest.store.activity.checks import Check, add_check
    from ingest.store.activity.overrides import Override, set_override

    if not read_accounts(connection):
        add_token(connection, "ci", email="ci@example.org", lists=(), now=mails.NOW)
    account = min(read_accounts(connection))
    message, patch = schema.message.c, schema.patch.c
    query = select(patch.message_id).join(schema.message, message.id == patch.message_id)
    first = connection.execute(query.where(message.msgid == msgid)).scalar_one()
    wanted = list(connection.execute(query.where(patch.message_id >= first)).scalars())[:size]
    for number in wanted:
        related = tuple(other for other in wanted if other != number)
        set_override(
            connection, number, Override(delegate_id=account, related=related), account_id=account
        )
        add_check(
            connection, number, Check(0, number, account, mails.NOW, "success", "build", "", "")
        )


# --- the seed's record ------------------------------------------------------------------------


def test_the_seed_mail_is_answered_with_its_record(seed: Path, database_url: str) -> None:
    import subprocess
    import sys

    raw = subprocess.run(
        [sys.executable, str(seed / "make_eml.py")],
        check=True,
        capture_output=True,
        env={"PYTHONIOENCODING": "utf-8"},
    ).stdout
    wanted = json.loads((seed / "patch-2226024.json").read_text())
    config = Config(
        lists=(
            ConfiguredList(
                "linux-ext4", "linux-ext4.vger.kernel.org", "linux-ext4@vger.kernel.org",
                name="Linux ext4 filesystem development",
            ),
        )
    )  # fmt: skip
    engine = open_store(database_url, create=True)
    mails.store(engine, [raw], config)
    client = client_of(engine, config)
    (listed,) = client.get("/api/1.2/patches/", params={"msgid": wanted["msgid"]}).json()
    given: dict[str, Any] = client.get(f"/api/1.2/patches/{listed['id']}/").json()
    engine.dispose()
    assert list(given) == list(wanted)
    assert list(given["headers"].items()) == list(wanted["headers"].items())
    for record in (given, wanted):
        # Numbers and URLs are this server's. The cover, which is missing, names the series.
        del record["series"][0]["name"], record["series"][0]["date"]
    assert _comparable(given) == _comparable(wanted)


def _comparable(value: Any) -> Any:
    own = {"id", "url", "web_url", "mbox", "comments", "checks"}
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items() if key not in own}
    return [_comparable(item) for item in value] if isinstance(value, list) else value


def test_series_depend_on_series(engine: Engine) -> None:
    """Patchwork has these URLs from version 1.4 on, and without a version."""
    body = mails.patch_body("Why.\n\nDepends-on: <s-2@example.org>", name="on")
    mails.store(engine, [mails.mail("on@example.org", "[PATCH] on: top", body)])
    client = client_of(engine)
    for version in ("/1.4", ""):
        by_name = {series["name"]: series for series in client.get(f"/api{version}/series/").json()}
        base, top = by_name["s: improve all"], by_name["on: top"]
        assert top["dependencies"] == [base["url"]]
        assert base["dependents"] == [top["url"]]
        assert (top["dependents"], base["dependencies"]) == ([], [])
        assert client.get(base["url"]).json() == base
    assert "dependencies" not in client.get("/api/1.3/series/").json()[0]
    assert client.get("/api/1.4/projects/").json()[0]["show_dependencies"] is True
    assert "show_dependencies" not in client.get("/api/1.3/projects/").json()[0]
