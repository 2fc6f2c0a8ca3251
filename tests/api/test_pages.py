"""Test what the pages show, that mail cannot inject code, and that they work in a browser."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, insert, select
from starlette.testclient import TestClient

from ingest.api.server import ApiServer
from ingest.api.web.html import Html, el, join
from ingest.api.web.layout import POLICY
from ingest.api.web.text import MAX_DIFF_LINES, render_diff
from ingest.clock import utcnow
from ingest.config.settings import ApiConfig, Config
from ingest.config.sockets import InetAddress
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.activity.checks import Check, add_check
from ingest.store.activity.overrides import Override, set_override
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import browser as browsers
from tests.support import mails
from tests.support.api_client import CONFIG, client_of

EVIL = "<script>document.title='x'</script><img src=x onerror=alert(1)>\"'&amp;"
HOSTILE = [
    mails.patch(
        'evil"&#x3c;@example.org',
        f"[PATCH] {EVIL}",
        sender=f'"{EVIL}" <evil@example.org>',
        name="<script>alert(1)</script>",
        word=EVIL,
        date=mails.START + timedelta(days=9),
    ),
    mails.reply("evil-r@example.org", 'evil"&#x3c;@example.org', f"{EVIL}\n\u202efdp.exe\u202c"),
    mails.mail("cover@example.org", f"[PATCH 0/2] {EVIL}", EVIL, sender=mails.BOB),
]
MAILS = [
    *mails.series("s", 3),
    *mails.series("t", 2, start=mails.START + timedelta(days=1))[:-1],
    *(
        raw.replace(b"<s-", b"<s2-")
        for raw in mails.series("s", 3, version=2, start=mails.START + timedelta(days=3))
    ),
    mails.reply("r1@example.com", "s-2@example.org", f"First.\n\nReviewed-by: {mails.BOB}"),
    mails.reply("r2@example.com", "r1@example.com", "Second.", minutes=90),
    mails.reply("r3@example.com", "s-2@example.org", "Third.", minutes=70),
    mails.reply("c@example.com", "s-0@example.org", f"Fine.\n\nAcked-by: {mails.BOB}"),
    *HOSTILE,
]


def filled(url: str) -> Engine:
    """Serve a store that has something to show on every page."""
    engine = open_store(url, create=True)
    mails.store(engine, MAILS)
    with write_transaction(engine) as connection:
        add_token(connection, "ci", email="", lists=(), now=mails.NOW)
        message = schema.message.c
        number = connection.execute(
            select(message.id).where(message.msgid == "<s-2@example.org>")
        ).scalar_one()
        set_override(connection, number, Override(state="accepted", delegate_id=1), account_id=1)
        add_check(connection, number, Check(0, number, 1, mails.NOW, "fail", "build", "", ""))
        first = connection.execute(select(schema.mail.c.id).limit(1)).scalar_one()
        for name, result, domain in (("s-1", "pass", "example.org"), ("s-2", "fail", EVIL)):
            mail_id = connection.execute(
                select(message.mail_id).where(message.msgid == f"<{name}@example.org>")
            ).scalar_one()
            connection.execute(insert(schema.verdict).values(_verdict(mail_id, result, domain)))
        mail = schema.mail
        for number in connection.execute(select(mail.c.id)).scalars().all():
            came = utcnow() - timedelta(days=number * number % 17)
            connection.execute(mail.update().where(mail.c.id == number).values(accepted=came))
        connection.execute(
            insert(schema.pending).values(mail_id=first, tries=1, reason=f"parse-failed: {EVIL}")
        )
    return engine


def _verdict(mail_id: int, result: str, domain: str) -> dict[str, Any]:
    return {
        "mail_id": mail_id, "number": 0, "kind": "dkim", "position": 0, "result": result,
        "reason": "holds" if result == "pass" else "body-changed", "domain": domain,
        "selector": "s", "identity": "", "algorithm": "rsa-sha256",
        "canonicalisation": "relaxed/relaxed", "headers": "[\"from\"]", "whole_body": True,
        "aligned": "strict",
    }  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = filled(f"sqlite:///{tmp_path_factory.mktemp('pages') / 'store.db'}")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def client(engine: Engine) -> TestClient:
    client = client_of(engine, Config(api=CONFIG.api))
    client.headers["Accept"] = "text/html"
    return client


def text_of(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.text


def links(text: str) -> set[str]:
    return set(re.findall(r'href="(/[^"#]*)', text.replace("&amp;", "&")))


def every_page(client: TestClient) -> dict[str, str]:
    """Return all pages that links from the first page lead to."""
    found: dict[str, str] = {}
    todo = ["/"]
    while todo:
        path = todo.pop()
        if path in found or "/mbox/" in path or "/raw/" in path or path.endswith(".css"):
            continue
        found[path] = text_of(client, path)
        todo += links(found[path])
    return found


def test_every_page_is_reached_and_has_its_policy(client: TestClient) -> None:
    pages = every_page(client)
    assert len(pages) > 15
    for path, text in pages.items():
        answer = client.head(path)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert text.startswith("<!doctype html>\n<html lang=")
        assert text.count("<h1>") == 1


def test_mail_cannot_act_in_a_page(client: TestClient) -> None:
    seen = 0
    for path, text in every_page(client).items():
        assert "<script" not in text, path
        assert "<img" not in text, path
        assert "<b>" not in text, path
        assert "style=" not in text, path
        assert not re.search(r"<[^>]*\son\w+=", text), path
        assert "\u202e" not in text, path
        seen += "&lt;script&gt;" in text
    assert seen >= 5


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/", 200), ("/api/patches/?per_page=2", 200), ("/api/1.1/covers/", 200),
        ("/api/events/", 200), ("/api/patches/99999/", 404), ("/api/projects/", 200),
        ("/api/patches/?q=" + "a" * 2_000, 400),
    ],
)  # fmt: skip
def test_a_response_of_the_api_is_a_page_in_a_browser(
    client: TestClient, path: str, status: int
) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-security-policy"]) == (status, POLICY)
    assert f"HTTP {status} " in answer.text
    assert "Allow: GET" in answer.text
    assert "Vary: Accept, Cookie" in answer.text
    assert "<script" not in answer.text
    assert "<img" not in answer.text
    if status == 200:
        assert 'href="https://patches.example.org/api/' in answer.text
    assert '">next</a>' in answer.text or "per_page=2" not in path
    assert client.get(f"{path}{'&' if '?' in path else '?'}format=json").json()


def test_a_list_shows_what_has_come(client: TestClient) -> None:
    assert 'href="/project/dev/list/">dev</a>' in text_of(client, "/")
    text = text_of(client, "/project/dev/series/")
    assert ">1/2</span>" in text
    assert ">3/3</span>" in text
    assert text.index("v2 s: improve") < text.index("t: improve")
    found = text_of(client, "/project/dev/series/?q=t: improve")
    assert "t: improve all" in found
    assert "s: improve all" not in found


def test_a_page_of_the_api_has_a_form_for_who_has_a_token(engine: Engine) -> None:
    client = client_of(engine, Config(api=CONFIG.api))
    client.headers["Accept"] = "text/html"
    with write_transaction(engine) as connection:
        token = add_token(connection, "form", email="", lists=(), now=mails.NOW)
    (one,) = client.get("/api/patches/?msgid=t-1@example.org&format=json").json()
    path = f"/api/1.3/patches/{one['id']}/"
    assert "<form" not in text_of(client, path)
    client.headers["Authorization"] = f"Token {token}"
    text = text_of(client, path)
    action = f'action="{path}?format=api&amp;_method=PATCH"'
    assert action in text
    assert '<input name="state" value="new">' in text
    url, fields = f"{path}?format=api&_method=PATCH", {"state": "rfc", "archived": "false"}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert client.post(url, data=fields, headers=headers).status_code == 403
    answer = client.post(url, data=fields, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 200
    assert "&quot;state&quot;: &quot;rfc&quot;" in answer.text
    client.post(url, data={"state": "new"})
    assert client.post(path, data=fields).status_code == 405


PATCHES = {
    "": {"t: step 1", "s: step 1", "s: step 2", "s: step 3"},
    "state=accepted": {"s: step 2"},
    "state=3&archive=both": {"s: step 2"},
    "state=all": {"t: step 1", "s: step 1", "s: step 2", "s: step 3"},
    "state=*&q=t:": {"t: step 1"},
    "archive=true": set(),
    "delegate=ci&state=all": {"s: step 2"},
    "delegate=c&state=all": {"s: step 2"},
    "delegate=1&state=all": {"s: step 2"},
    "delegate=Nobody&q=t:&state=all": {"t: step 1"},
    "delegate=none@example.org": set(),
    "submitter=Ada&q=t:": {"t: step 1"},
    "series=99999&state=all": set(),
}


@pytest.mark.parametrize("query", PATCHES)
def test_a_patch_list_has_the_filters_of_patchwork(client: TestClient, query: str) -> None:
    text = text_of(client, f"/project/dev/list/?{query}")
    names = set(re.findall(r">\[[^<]*\] ([st]: step \d)</a>", text))
    if query == "":  # the first revision of the series is superseded
        assert names == {"t: step 1", "s: step 1", "s: step 2", "s: step 3"} - {"s: step 0"}
        return
    assert names == PATCHES[query], query


def test_a_list_is_named_by_its_number_too(client: TestClient) -> None:
    number = client.get("/api/projects/dev/?format=json").json()["id"]
    assert "t: step 1" in text_of(client, f"/project/{number}/list/")
    assert "t: improve all" in text_of(client, f"/project/{number}/series/")


def test_a_patch_list_has_the_columns_of_patchwork(client: TestClient) -> None:
    text = text_of(client, "/project/dev/list/?state=accepted")
    heads = re.findall(r'<th scope="col"[^>]*>(?:<a [^>]*>)?([^<]*)', text)
    assert heads == [
        "Patch", "Series", "A/R/T", "S/W/F", "Date", "Submitter", "Delegate", "State",
    ]  # fmt: skip
    assert ">1 1 -</span>" in text, "Acked-by of the cover, Reviewed-by of the patch"
    assert ">- - 1</span>" in text
    assert ">2/3</a>" in text


@pytest.mark.parametrize("order", ["date", "name", "state", "submitter", "delegate"])
def test_links_of_a_patch_list_keep_its_parameters(client: TestClient, order: str) -> None:
    for sign in ("", "-"):
        text = text_of(client, f"/project/dev/list/?state=all&q=s:&order={sign}{order}")
        sorted_by = re.findall(r'aria-sort="(\w+)"><a href="([^"]*)"', text)
        ((direction, href),) = sorted_by
        assert direction == ("descending" if sign else "ascending")
        assert href.replace("&amp;", "&") == (
            f"/project/dev/list/?q=s%3A&state=all&order={'' if sign else '-'}{order}"
        )
    assert 'href="/project/dev/list/?state=all&amp;order=' in text, "the filter can be removed"


def test_a_patch_list_says_what_it_ignores(client: TestClient) -> None:
    text = text_of(client, "/project/dev/list/?state=eaten&order=size&archive=x&series=y&q=s:")
    assert "Ignored, as it makes no sense: series=y, state=eaten, archive=x, order=size" in text
    assert "s: step" in text


def test_an_old_path_of_the_patch_list_redirects(client: TestClient) -> None:
    answer = client.get("/project/dev/patches/?q=s:")
    assert answer.headers["location"] == ("/project/dev/list/?q=s%3A&state=all&archive=both")


def test_places_that_a_patchwork_site_has(client: TestClient) -> None:
    assert client.get("/user/todo/").headers["location"] == "/user/login/?next=/user/todo/"
    assert client.get("/user/bundles/").headers["location"] == "/user/login/?next=/user/bundles/"
    for path in ("/user/login/", "/about/", "/mail/"):
        text_of(client, path)
    for method in ("GET", "POST"):
        answer = client.request(method, "/xmlrpc/")
        assert (answer.status_code, answer.text.count("\n")) == (410, 1)
        assert "REST API" in answer.text
    page = text_of(client, "/project/dev/patch/s-2@example.org/")
    (reply,) = re.findall(r'id="(\d+)" class="d1"', page)
    answer = client.get(f"/comment/{reply}/")
    assert answer.headers["location"] == f"/project/dev/patch/s-2@example.org/#{reply}"
    answer = client.get("/project/dev/patch/s-0@example.org/")
    assert answer.headers["location"] == "/project/dev/cover/s-0@example.org/"


def test_a_series_shows_what_is_missing_and_its_revisions(client: TestClient) -> None:
    pages = every_page(client)
    (incomplete,) = [
        page for path, page in pages.items() if "series=" in path and ">1/2</span>" in page
    ]
    assert "; missing: 2" in incomplete
    first = next(
        page for path, page in pages.items() if "series=" in path and "Superseded by" in page
    )
    assert "v2 of" in first
    assert "Acked-by" in first
    assert "accepted" in first
    assert "fail" in first
    assert "Not all patches carry the same verified domain." in first
    assert '<td data-label="Verified:">example.org</td>' in first
    second = next(
        page for path, page in pages.items() if "series=" in path and "Supersedes" in page
    )
    assert "an earlier revision" in second


def test_a_patch_shows_its_changes_and_its_replies_in_order(client: TestClient) -> None:
    text = text_of(client, "/project/dev/patch/s-2@example.org/")
    assert '<span class="del">-two</span><span class="add">+v1</span>' in text
    assert "<dt>State</dt><dd>accepted</dd>" in text
    assert "<dt>Check</dt><dd>fail</dd>" in text
    assert "<dt>Delegate</dt><dd>ci</dd>" in text
    assert '<span class="quiet">dkim: fail, body-changed</span> by &lt;script&gt;' in text
    places = [text.index(word) for word in ("First.", "Second.", "Third.")]
    assert places == sorted(places)
    assert re.search(r'<article id="\d+" class="d1">', text)
    assert '<span class="quote">&gt; Say why.</span>' in text
    cover = text_of(client, "/project/dev/cover/s-0@example.org/")
    assert "What this is about." in cover
    assert "Fine." in cover


def test_short_paths_lead_to_the_long_ones(client: TestClient) -> None:
    (one,) = client.get("/api/patches/?msgid=s-2@example.org&format=json").json()
    for path, to in (
        (f"/patch/{one['id']}/", "/project/dev/patch/s-2@example.org/"),
        (f"/series/{one['series'][0]['id']}/", f"?series={one['series'][0]['id']}"),
        ("/project/dev/", "/project/dev/list/"),
        ("/project/dev/comment/r2@example.com/", "/project/dev/patch/s-2@example.org/#"),
    ):
        answer = client.get(path)
        assert answer.status_code == 302
        assert to in answer.headers["location"]
    web_urls = (one["web_url"], one["series"][0]["web_url"])
    for url in web_urls:
        assert client.get(url.removeprefix("https://patches.example.org")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/nothing/",
        "/project/none/list/",
        "/project/dev/list/?page=x",
        "/project/dev/list/?series=99999",
        "/project/dev/patch/none@example.org/",
        "/project/dev/comment/s-0@example.org/",
        "/patch/99999/",
        "/series/99999/",
        "/project/dev/patch/%00/",
    ],
)
def test_what_is_not_there_is_said_on_a_page(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "<h1>Not found</h1>" in answer.text


def test_the_status_page(client: TestClient) -> None:
    text = text_of(client, "/state/")
    assert "<h1>Status</h1>" in text
    assert "<dt>In quarantine</dt><dd>1</dd>" in text
    assert "parse-failed: &lt;script&gt;" in text
    assert text.count('class="bar"') == 30


def test_a_page_costs_the_same_number_of_queries_whatever_is_on_it(engine: Engine) -> None:
    client = client_of(engine, Config(api=CONFIG.api))
    said: list[str] = []

    def executed(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        said.append(statement)

    counts = []
    event.listen(Engine, "before_cursor_execute", executed)
    for name in ("t-1", "s-2"):
        said.clear()
        text_of(client, f"/project/dev/patch/{name}@example.org/")
        counts.append(len(said))
    said.clear()
    text_of(client, "/project/dev/series/")
    assert len(said) <= 5
    said.clear()
    text_of(client, "/project/dev/list/")
    event.remove(Engine, "before_cursor_execute", executed)
    assert len(said) <= 16
    assert max(counts) <= 20


def test_a_long_diff_is_cut() -> None:
    diff = render_diff("+x\n" * (MAX_DIFF_LINES + 1))
    assert diff.is_cut
    assert diff.html.text.count("<span") == MAX_DIFF_LINES
    assert not render_diff("+x\n").is_cut


# --- escaping ---------------------------------------------------------------------------------


@given(st.text())
def test_text_is_never_markup(text: str) -> None:
    made = el("p", text, title=text, href=text).text
    inner = made[len("<p") : -len("</p>")]
    assert inner.count("<") == 0
    assert made.count('"') == 4


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " javascript:x",
        "java\nscript:x",
        "data:text/html,x",
        "//evil/",
        "http://[",
    ],
)
def test_links_lead_to_the_web_or_nowhere(url: str) -> None:
    assert el("a", "x", href=url) == Html('<a href="#">x</a>')


def test_pieces() -> None:
    assert join("a<", 3, None, [Html("<b>"), "&"]).text == "a&lt;3<b>&amp;"
    assert el("input", name="q", value=None).text == '<input name="q">'


# --- in a browser -----------------------------------------------------------------------------

AXE_RUN = """
const done = arguments[arguments.length - 1];
axe.run({resultTypes: ['violations']}).then(
  found => done(found.violations.map(one => one.id + ': ' + one.nodes.map(n => n.html).join(' '))));
"""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsers.Browser]:
    if browsers.programs() is None:
        pytest.skip("chromium and chromedriver are not installed")
    with browsers.browser(tmp_path_factory.mktemp("chromium")) as window:
        yield window


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[str]:
    config = Config(api=ApiConfig(listen=InetAddress("127.0.0.1", 0), rate=10_000, burst=10_000))
    server = ApiServer(engine, lambda: config)
    server.start()
    yield server.address
    server.stop()


PAGES = {
    "lists": "/",
    "list": "/project/dev/list/",
    "patches": "/project/dev/patches/",
    "patch": "/project/dev/patch/s-2@example.org/",
    "evil": "/project/dev/patch/evil%22&%23x3c;@example.org/",
    "cover": "/project/dev/cover/s-0@example.org/",
    "series": "/project/dev/list/?series=1",
    "status": "/state/",
    "missing": "/nothing/",
}


@pytest.mark.parametrize("width", [360, 1280])
def test_pages_in_a_browser(
    window: browsers.Browser, server: str, tmp_path: Path, width: int
) -> None:
    """No script runs, nothing is blocked, and nothing is wider than the window. Screenshots are
    written to $PICTURES."""
    folder = Path(os.environ.get("PICTURES", tmp_path))
    window.size(width)
    for name, path in PAGES.items():
        window.open(f"{server}{path}")
        wide = window.run("return document.documentElement.scrollWidth")
        assert wide <= width, (name, wide)
        complaints = [
            complaint for complaint in window.complaints() if "404 (Not Found)" not in complaint
        ]
        assert complaints == [], name
        assert window.run("return document.title") != "x"
        assert window.run("return document.scripts.length") == 0
        assert window.run("return getComputedStyle(document.body).maxWidth") == "1152px"
        window.picture(folder / f"{name}-{width}.png")


def test_axe_finds_nothing(
    window: browsers.Browser, server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = browsers.axe(tmp_path_factory.mktemp("axe"))
    if source is None:
        pytest.skip("npm cannot bring axe-core")
    for width in (360, 1280):
        window.size(width)
        for name, path in PAGES.items():
            window.open(f"{server}{path}")
            window.run(source)
            assert window.run_async(AXE_RUN) == [], (name, width)
