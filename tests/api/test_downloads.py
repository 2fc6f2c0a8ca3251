"""Test the names and the content of downloads, and that git accepts them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ingest.patch.diffs.diff import find_diff
from ingest.patch.diffs.patchwork_hash import patchwork_hash
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.write import pins
from tests.support import mails
from tests.support.api_client import GIVEN, client_of
from tests.support.paths import FIXTURES

needs_git = pytest.mark.usefixtures("git_program")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('f') / 'store.db'}", create=True)
    mails.store(
        engine,
        [
            *mails.series("s", 3),
            mails.reply("r@example.com", "s-2@example.org", GIVEN),
            mails.reply("c@example.com", "s-0@example.org", f"Fine.\n\nAcked-by: {mails.BOB}"),
            mails.mail("only@example.org", "[PATCH 0/2] only: a cover", "Text.\n\n a.c | 2 +-\n"),
            mails.patch("odd@example.org", '[PATCH] fs: "quoted"; ../\u00fcber, <b>', name="q"),
        ],
    )
    yield client_of(engine)
    engine.dispose()


def one_of(client: TestClient, query: str, kind: str = "patches") -> dict[str, Any]:
    (found,) = client.get(f"/api/1.2/{kind}/?{query}").json()
    return dict(found)


def path(url: str) -> str:
    return url.removeprefix("https://patches.example.org")


def parts(content: bytes) -> list[bytes]:
    return content.split(b"From 000000")[1:]


def test_a_patch_is_an_attachment_with_its_trailers(client: TestClient) -> None:
    patch = one_of(client, "msgid=s-2@example.org")
    answer = client.get(path(patch["mbox"]))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    name = "2-3-s-step-2.patch"
    assert answer.headers["content-disposition"] == f"attachment; filename={name}"
    (mail,) = parts(answer.content)
    assert mail.index(b"Reviewed-by: Bob") < mail.index(b"\n---\n")
    assert b"Acked-by: Bob" in mail, "a trailer in reply to the cover applies to every patch"
    for other in (f"/patch/{patch['id']}/mbox/", f"/patch/{patch['id']}/mbox"):
        assert client.get(other).content == answer.content


def test_raw_is_the_change_alone(client: TestClient) -> None:
    patch = one_of(client, "msgid=s-2@example.org")
    answer = client.get(path(patch["mbox"]).replace("mbox", "raw"))
    detail = client.get(path(patch["url"])).json()
    assert answer.text == detail["diff"]
    assert answer.headers["content-disposition"] == "attachment; filename=2-3-s-step-2.diff"
    every = client.get(f"/series/{patch['series'][0]['id']}/raw/").text
    assert every.count("diff --git") == 3
    assert answer.text in every


def test_a_series_is_its_patches_in_order(client: TestClient) -> None:
    series = one_of(client, "q=s: improve", "series")
    answer = client.get(path(series["mbox"]))
    assert answer.headers["content-disposition"] == "attachment; filename=s-improve-all.patch"
    mails_ = parts(answer.content)
    assert [raw.split(b"Subject: ")[1].split(b"\n")[0] for raw in mails_] == [
        b"[PATCH 1/3] s: step 1",
        b"[PATCH 2/3] s: step 2",
        b"[PATCH 3/3] s: step 3",
    ]


def test_a_patch_with_what_comes_before_it(client: TestClient) -> None:
    """`git-pw patch apply` requests it."""
    patch = one_of(client, "msgid=s-2@example.org")
    number = patch["series"][0]["id"]
    for wanted in ("*", str(number)):
        answer = client.get(path(patch["mbox"]), params={"series": wanted})
        assert len(parts(answer.content)) == 2
    assert client.get(path(patch["mbox"]), params={"series": "99"}).status_code == 404
    assert client.get(path(patch["mbox"]), params={"series": "x"}).status_code == 404


def test_a_cover(client: TestClient) -> None:
    cover = one_of(client, "q=s:", "covers")
    answer = client.get(path(cover["mbox"]))
    assert answer.headers["content-disposition"] == "attachment; filename=0-3-s-improve-all.mbox"
    mail = message_from_bytes(answer.content, policy=policy.default)
    assert mail["subject"] == "[PATCH 0/3] s: improve all"
    assert client.get(f"/cover/{cover['id']}/mbox/").content == answer.content
    alone = one_of(client, "q=only", "series")
    assert client.get(path(alone["mbox"])).status_code == 404


def test_file_names_are_harmless(client: TestClient) -> None:
    patch = one_of(client, "msgid=odd@example.org")
    answer = client.get(path(patch["mbox"]))
    assert answer.headers["content-disposition"] == "attachment; filename=fs-quoted-ber-b.patch"


@pytest.mark.parametrize(
    "asked",
    [
        "/patch/9999/mbox/",
        "/patch/1/pdf/",
        "/cover/9999/mbox/",
        "/series/9999/mbox/",
        "/project/dev/patch/none@example.org/mbox/",
        "/project/dev/cover/s-1@example.org/mbox/",
        "/project/dev/patch/s-0@example.org/raw/",
    ],
)
def test_what_is_not_there(client: TestClient, asked: str) -> None:
    assert client.get(asked).status_code == 404


def test_numbers_of_a_joined_series_lead_to_it(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(
        engine,
        [*mails.series("s", 2), mails.patch("a@example.org", "[PATCH 3/3] a", name="a")],
    )
    client = client_of(engine)
    gone, kept = (
        one_of(client, "q=a&order=-id&per_page=1", "series"),
        one_of(client, "q=improve", "series"),
    )
    with write_transaction(engine) as connection:
        pins.pin_message(connection, "<a@example.org>", "<s-0@example.org>", now=mails.NOW)
    for asked in ("/api/1.2/series/{}/", "/api/series/{}/", "/series/{}/mbox/", "/series/{}/raw/"):
        answer = client.get(asked.format(gone["id"]))
        assert (answer.status_code, path(answer.headers["location"])) == (
            301,
            asked.format(kept["id"]),
        )
    engine.dispose()


# --- the real archive -------------------------------------------------------------------------


@needs_git
def test_git_finds_the_same_patches_in_the_mboxes_of_real_series(
    real_store: str, tmp_path: Path
) -> None:
    """Compare the patches of fifty series by hash, and their authors by name."""
    engine = open_store(real_store)
    client = client_of(engine)
    seen, page = 0, 1
    while seen < 50:
        for series in client.get(f"/api/1.2/series/?order=-id&per_page=50&page={page}").json():
            if series["received_all"] and 1 < series["total"] <= 30 and seen < 50:
                _compare(client, series, tmp_path / str(series["id"]))
                seen += 1
        page += 1
    engine.dispose()


def _compare(client: TestClient, series: dict[str, Any], folder: Path) -> None:
    folder.mkdir()
    (folder / "mbox").write_bytes(client.get(path(series["mbox"])).content)
    done = subprocess.run(
        ["git", "mailsplit", f"-o{folder}", str(folder / "mbox")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert int(done.stdout) == len(series["patches"]) == series["total"]
    for place, patch in enumerate(series["patches"], 1):
        info = subprocess.run(
            ["git", "mailinfo", "--encoding=UTF-8", str(folder / "msg"), str(folder / "diff")],
            check=True, capture_output=True, stdin=(folder / f"{place:04}").open("rb"),
        ).stdout.decode()  # fmt: skip
        detail = client.get(path(patch["url"])).json()
        change = (folder / "diff").read_bytes().decode("utf-8", "replace")
        split = find_diff(change)
        assert split is not None
        assert patchwork_hash(split.diff) == detail["hash"], detail["msgid"]
        title = info.split("Subject: ")[1].split("\n")[0]
        assert detail["name"].endswith(title)


def test_an_address_beyond_ascii_is_served(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(engine, [(FIXTURES / "mail" / "address-beyond-ascii.eml").read_bytes()])
    client = client_of(engine)
    patch = one_of(client, "")
    for url in (path(patch["mbox"]), f"/patch/{patch['id']}/mbox/", f"/series/{patch['id']}/mbox/"):
        answer = client.get(url)
        assert answer.status_code == 200, url
        assert " <josé@correo.example.org>\n" in answer.text
        assert f"\nMessage-ID: {patch['msgid']}\n" in answer.text
    assert client.get(path(patch["web_url"])).status_code == 200
    engine.dispose()


def test_nothing_gets_out_of_the_escaping_of_any_output(tmp_path: Path) -> None:
    """This is so for pages, mboxes, file names and URLs."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(engine, [(FIXTURES / "hostile" / "140-escapes-of-every-output.eml").read_bytes()])
    client = client_of(engine)
    patch = one_of(client, "")
    urls = {name: patch[name] for name in ("mbox", "web_url", "url")}
    assert all(re.fullmatch(r"[\w:/.%@=()-]+", url) for url in urls.values()), urls
    pages = [path(patch["web_url"]), "/project/demo-devel/list/", "/project/demo-devel/series/"]
    pages.append(path(patch["series"][0]["web_url"]))
    for page in pages:
        answer = client.get(page, headers={"Accept": "text/html"})
        assert answer.status_code == 200
        assert not re.search(r"<(script|img|svg|b)\b", answer.text), page
        assert not re.search(r"<[^>]* on\w+=", answer.text), page
    answer = client.get(path(patch["mbox"]))
    name = answer.headers["content-disposition"]
    assert re.fullmatch(r"attachment; filename=[\w-]+\.patch", name)
    assert len(parts(answer.content)) == 1
    (mail,) = parts(answer.content)
    assert b"\nFrom " not in mail
    head = message_from_bytes(b"From 000000" + mail)
    body = head.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert b"\nFrom aaaaaaaaaa 1x23:45 91\n" in body
    assert head["Bcc"] is None
    assert head["From"] == '"<script>alert(1)</script>\\"; x" <eve@example.org>'
    engine.dispose()
