"""Test that the URL of any Message-ID leads to its own message and to no other."""

from __future__ import annotations

import http.client
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from ingest.api.server import ApiServer
from ingest.config.settings import ApiConfig, Config, ConfiguredList
from ingest.config.sockets import InetAddress
from ingest.store.database.engine import open_store
from tests.support import mails

TARGET = "target@example.org"

# With each of these ids a sender might try to make another patch, or none, be fetched.
STEERING = [
    f"m@x/../{TARGET}",
    f"m@x/../../../../patch/1/{TARGET}",
    f"../{TARGET}",
    f"./{TARGET}",
    f"/{TARGET}",
    f"//{TARGET}",
    f"{TARGET}/",
    f"{TARGET}//",
    f"{TARGET}/.",
    f"{TARGET}/..",
    f"{TARGET}/mbox",
    f"{TARGET}/mbox/",
    f"{TARGET}/raw",
    f"m@x%2F..%2F{TARGET}",
    f"m@x%2f%2e%2e%2f{TARGET}",
    f"%2e%2e%2f{TARGET}",
    f"m@x\\..\\{TARGET}",
    f"{TARGET}?x",
    f"{TARGET}#x",
    f"{TARGET}%",
    f"{TARGET}%00",
    f"{TARGET}%zz",
    f"{TARGET};x",
    f"{TARGET}&x",
    "1",
    ".",
    "..",
    "...",
    "%2e%2e",
    "\u00fc/../\u00e4@example.org",
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server with a patch for each id, and a cover and a reply for dots."""
    engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('u') / 'store.db'}", create=True)
    config = Config(
        api=ApiConfig(listen=InetAddress("127.0.0.1", 0), rate=100_000, burst=100_000),
        lists=(
            ConfiguredList(
                "dev", mails.LIST, list_archive_url_format="https://lore.example.org/dev/{}/"
            ),
        ),
    )
    given = [
        mails.patch(msgid, f"[PATCH] number {number}", name=f"n{number}")
        for number, msgid in enumerate([TARGET, *STEERING])
    ]
    given.append(mails.reply(f"r@x/../{TARGET}", TARGET, "Fine."))
    given.append(mails.mail(f"c@x/../{TARGET}", "[PATCH 0/2] cover", "Text.\n\n a.c | 2 +-\n"))
    mails.store(engine, given, config)
    server = ApiServer(engine, lambda: config)
    server.start()
    yield server.address
    server.stop()
    engine.dispose()


def by_urllib(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def by_httpx(url: str) -> bytes:
    return httpx.get(url, follow_redirects=True).raise_for_status().content


def by_a_browser(url: str) -> bytes:
    """Resolve dots as the URL standard requires, quoted ones and backslashes too."""
    dot = re.compile(r"%2e", re.IGNORECASE)
    parts = urlsplit(url)
    path = "/".join(
        dot.sub(".", part) if dot.sub(".", part) in (".", "..") else part
        for part in parts.path.replace("\\", "/").split("/")
    )
    return raw(urljoin(url, path))


def raw(url: str) -> bytes:
    """Request the path as it is written, with a client that does not normalise it."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", parts.path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == 200, (url, answer.status)
    return content


def patches(address: str) -> dict[str, dict[str, Any]]:
    found = httpx.get(f"{address}/api/patches/?per_page=250").json()
    return {patch["msgid"][1:-1]: patch for patch in found}


@pytest.mark.parametrize("get", [by_urllib, by_httpx, by_a_browser, raw])
def test_every_id_leads_to_its_own_patch(address: str, get: Callable[[str], bytes]) -> None:
    found = patches(address)
    assert set(found) == {TARGET, *STEERING}
    for msgid, patch in found.items():
        mail = get(patch["mbox"]).decode()
        assert f"\nMessage-ID: <{msgid}>\n" in mail, msgid
        diff = get(re.sub("mbox/$", "raw/", patch["mbox"])).decode()
        assert diff == httpx.get(patch["url"]).json()["diff"], msgid
        page = get(patch["web_url"]).decode()
        assert f"<h1>{patch['name']}</h1>" in page, msgid


def test_pages_lead_to_each_patch(address: str) -> None:
    found = {patch["name"]: msgid for msgid, patch in patches(address).items()}
    page = httpx.get(f"{address}/project/dev/list/?state=all&archive=both").text
    links = re.findall(r'<a href="(/project/dev/patch/[^"]*)">([^<]*)</a>', page)
    assert {name for _, name in links} == set(found)
    for path, name in links:
        assert f"<h1>{name}</h1>" in httpx.get(f"{address}{path.replace('&amp;', '&')}").text
    for patch in patches(address).values():
        moved = httpx.get(f"{address}/patch/{patch['id']}/", follow_redirects=True)
        assert f"<h1>{patch['name']}</h1>" in moved.text


def test_covers_replies_and_archives_are_named_as_patches_are(address: str) -> None:
    (cover,) = httpx.get(f"{address}/api/covers/").json()
    assert cover["mbox"].endswith("/project/dev/cover/c@x%2F..%2Ftarget@example.org/mbox/")
    assert "Message-ID: <c@x/../target@example.org>" in by_httpx(cover["mbox"]).decode()
    patch = patches(address)[TARGET]
    (reply,) = httpx.get(patch["comments"]).json()
    assert reply["web_url"].endswith(f"/comment/{reply['id']}/")
    shown = httpx.get(reply["web_url"])
    assert shown.status_code == 302
    assert shown.headers["location"].startswith("/project/dev/patch/target@example.org/#")
    archive = "https://lore.example.org/dev/"
    for msgid, record in patches(address).items():
        name = record["list_archive_url"].removeprefix(archive).removesuffix("/")
        assert not re.search(r"[/?#&\\]", name), msgid
        assert name not in (".", ".."), msgid


@pytest.mark.parametrize("form", ["", "mbox/", "raw/"])
def test_a_slash_that_is_not_quoted_is_a_part_of_the_id(address: str, form: str) -> None:
    """Old URLs of Patchwork have such slashes; no dots are resolved."""
    number = STEERING.index(f"m@x/../{TARGET}") + 1
    said = raw(f"{address}/project/dev/patch/m@x/../{TARGET}/{form}").decode()
    assert f"n{number}.c" in said
    assert "n0.c" not in said


@pytest.mark.parametrize(
    "path",
    [
        "/project/dev/patch/x/../target@example.org/mbox/",
        "/project/dev/patch/%2e%2e/%2e%2e/target@example.org/",
        "/project/dev/patch/target@example.org%2F%2F%2F/",
        "/project/dev/patch/target@example.org////",
        "/project/dev/patch/target@example.org%2Fx/mbox/",
        "/project/dev/patch/%FFtarget@example.org/",
        "/project/dev/patch/target@example.org%z/",
        "/project/dev/patch/target@example.org%00/raw/",
        "/project/dev%2Fpatch/target@example.org/",
        "/project%2Fdev/patch/target@example.org/",
        "/x/../api/patches/",
        "/api/%2e%2e/api/patches/",
        "/api/patches%2F",
        "/api/patches/%31/../2/",
        "/api/patches/" + "9" * 5_000 + "/",
        "/patch/" + "9" * 5_000 + "/mbox/",
        "/series/" + "9" * 5_000 + "/",
        "/api/patches/1/comments/" + "9" * 5_000 + "/",
        "/%",
        "/%2F",
        "/%C0%AE%C0%AE/",
    ],
)
def test_what_names_nothing_is_not_found(address: str, path: str) -> None:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", path)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert (answer.status, said) == (404, b'{"detail":"Not found."}'), path


def test_a_list_named_with_dots_leads_to_no_other_page(tmp_path: Path) -> None:
    """`/project/../patch/1/` would be the patch with the number 1."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(engine, [mails.patch("1", list_id=".."), mails.patch("2", list_id="a/../b")])
    config = Config(api=ApiConfig(listen=InetAddress("127.0.0.1", 0)))
    server = ApiServer(engine, lambda: config)
    server.start()
    for patch in httpx.get(f"{server.address}/api/patches/").json():
        path = urlsplit(patch["mbox"]).path
        assert re.fullmatch(r"/project/(-|a%2F)/patch/[12]/mbox/", path)
        assert patch["msgid"] in by_a_browser(patch["mbox"]).decode()
    assert httpx.get(f"{server.address}/project/a%2F/list/").status_code == 200
    server.stop()
    engine.dispose()
