"""Test that git applies what `ingest mbox` prints: author, message, trailers and change are
right."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from email import message_from_bytes
from email.header import decode_header, make_header
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select, update

from ingest.api import mbox as mbox_module
from ingest.api.mbox import patch_mbox
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.codec import DamagedRawError
from ingest.store.read import messages
from tests.support import git_mailinfo, mails
from tests.support.api_client import client_of
from tests.support.mails import ADA, BOB, START

needs_git = pytest.mark.usefixtures("git_program")


def mbox_of(folder: Path, given: Sequence[bytes], *names: str) -> bytes:
    """Store these mails. Return the mbox of those named."""
    engine = open_store(f"sqlite:///{folder / 'store.db'}", create=True)
    mails.store(engine, given)
    with engine.connect() as connection:
        ids = [id_ for name in names for id_ in messages.find_by_name(connection, name)]
        rows = list(messages.read_messages(connection, ids))
        assert len(rows) == len(names)
        mbox = b"".join(patch_mbox(connection, rows))
    engine.dispose()
    return mbox


def git(folder: Path, *words: str, given: bytes | None = None) -> str:
    done = git_mailinfo.git(folder, *words, given=given)
    assert done.returncode == 0, (done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with the files that the patches change."""
    folder = tmp_path / "r"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name in ("f", "s1", "s2", "s3"):
        (folder / f"{name}.c").write_text(mails.content())
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=Begin")
    return folder


def log(folder: Path, count: int, form: str = "%an <%ae>|%ad|%B") -> list[str]:
    """Return the last commits, oldest first. The format of dates is explicit: in ISO format,
    git 2.45 and later write `Z` for `+00:00`."""
    date = "--date=format:%Y-%m-%dT%H:%M:%S%z"
    shown = git(folder, "log", "--reverse", date, f"--max-count={count}", f"--format={form}%x00")
    return [part.strip("\n") for part in shown.split("\0")[:-1]]


@needs_git
def test_git_applies_a_series(tmp_path: Path, repository: Path) -> None:
    """Trailers of reviewers are added: to one patch, or to all where they are for the cover."""
    given = [
        *mails.series("s", 3),
        mails.reply("r1@example.com", "s-2@example.org", f"Fine.\n\nReviewed-by: {BOB}"),
        mails.reply("r2@example.com", "s-0@example.org", f"Fine.\n\nAcked-by: {BOB}", minutes=9),
        mails.reply("r3@example.com", "r1@example.com", f"Me too.\n\nTested-by: {BOB}", minutes=90),
        mails.reply("r4@example.com", "s-3@example.org", f"Not yet.\n\nFixes: 0123456789ab {BOB}"),
    ]  # fmt: skip
    text = mbox_of(tmp_path, given, *(f"s-{number}@example.org" for number in (1, 2, 3)))
    git(repository, "am", "--quiet", given=text)
    signed = f"Say why.\n\nSigned-off-by: {ADA}\nAcked-by: {BOB}"
    head = f"{ADA}|2026-03-02T10:15:0"
    assert log(repository, 3) == [
        f"{head}1+0000|s: step 1\n\n{signed}",
        f"{head}2+0000|s: step 2\n\n{signed}\nReviewed-by: {BOB}\nTested-by: {BOB}",
        f"{head}3+0000|s: step 3\n\n{signed}",
    ]
    for number in (1, 2, 3):
        assert (repository / f"s{number}.c").read_text() == "one\nv1\nthree\n"


def attached(content_type: str, payload: bytes) -> bytes:
    """Return a mail whose patch is an attachment in base64."""
    return (
        mails.mail("a@example.org", "[PATCH] fs: change", "")
        .replace(
            b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
            b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="xx"\n',
        )
        .rstrip(b"\n")
        + b"\n\n--xx\nContent-Type: text/plain\n\nSay why.\n\nSigned-off-by: "
        + ADA.encode()
        + b"\n\n--xx\nContent-Type: "
        + content_type.encode()
        + b'\nContent-Disposition: attachment; filename="0001-x.patch"\n'
        + b"Content-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(payload)
        + b"--xx--\n"
    )


DIFF = mails.diff()[mails.diff().index("diff --git") :].replace("-- \n2.39.5\n", "").encode()

SITUATIONS = {
    "plain": mails.patch("a@example.org"),
    "crlf": mails.patch("a@example.org").replace(b"\n", b"\r\n"),
    "several prefixes": mails.patch("a@example.org", "[RFC][PATCH net v4 2/7] fs: change"),
    "no PATCH prefix": mails.patch("a@example.org", "[2/7] fs: change"),
    "bracket in the title": mails.patch("a@example.org", "[PATCH] fs: change"),
    "attached as text/x-patch": attached("text/x-patch", DIFF),
    "attached as bytes": attached("application/octet-stream", DIFF),
    "attached with CRLF": attached("text/x-patch", DIFF.replace(b"\n", b"\r\n")),
    "base64": mails.patch("a@example.org")
    .replace(b"Transfer-Encoding: 8bit", b"Transfer-Encoding: base64")
    .replace(mails.patch_body().encode(), base64.encodebytes(mails.patch_body().encode())),
    "list's footer": mails.patch("a@example.org") + b"\n--\nTo unsubscribe, say so.\n",
    "below scissors": mails.patch("a@example.org").replace(
        b"Say why.", b"Hello all,\n\n-- >8 --\nSay why.", 1
    ),
    "relayed": mails.patch(
        "a@example.org", sender="Ada Byron via Relay <relay@example.com>",
        headers=[f"X-Original-From: {ADA}"],
    ),
    "in-body From": mails.patch("a@example.org", sender=BOB).replace(
        b"Say why.", f"From: {ADA}\n\nSay why.".encode(), 1
    ),
}  # fmt: skip


@needs_git
@pytest.mark.parametrize("name", SITUATIONS)
def test_git_applies_a_patch(tmp_path: Path, repository: Path, name: str) -> None:
    """The commit is the same, however the patch was sent. Text above a scissors line is omitted."""
    text = mbox_of(tmp_path, [SITUATIONS[name]], "a@example.org")
    git(repository, "am", "--quiet", given=text)
    (commit,) = log(repository, 1)
    assert commit == (
        f"{ADA}|2026-03-02T10:15:00+0000|fs: change\n\nSay why.\n\nSigned-off-by: {ADA}"
    )
    assert (repository / "f.c").read_text() == "one\nnew\nthree\n"


@needs_git
def test_git_applies_text_beyond_ascii(tmp_path: Path, repository: Path) -> None:
    """That includes names, subjects, messages and the change itself; a long subject is folded."""
    title = "fs: größer, schöner, weiter, und zwar ganz ohne Rücksicht auf die Länge der Zeile ✓"
    raw = mails.patch("a@example.org", f"[PATCH] {title}", sender="Zoë Ünal <z@example.org>",
                      word="ñew")  # fmt: skip
    git(repository, "am", "--quiet", given=mbox_of(tmp_path, [raw], "a@example.org"))
    assert log(repository, 1, "%an <%ae>|%s") == [f"Zoë Ünal <z@example.org>|{title}"]
    assert (repository / "f.c").read_text() == "one\nñew\nthree\n"


@needs_git
def test_a_line_of_an_envelope_in_a_message_parts_nothing(tmp_path: Path, repository: Path) -> None:
    line = "From ada@example.org Mon Mar  2 10:15:00 2026"
    raw = mails.patch("a@example.org").replace(b"Say why.", f"Say why:\n\n{line}\n\nno".encode(), 1)
    text = mbox_of(tmp_path, [raw], "a@example.org")
    git(repository, "am", "--quiet", given=text)
    (commit,) = log(repository, 1, "%B")
    assert commit.startswith(f"fs: change\n\nSay why:\n\n{line}\n\nno\n")


@needs_git
@pytest.mark.parametrize(
    "line",
    [
        "From aaaaaaaaaa 1x23:45 91",
        "From aaaaaaaaaa 1:23:4591",
        ">From 1:2:3 9 00:00\t+0091",
        "From x 00:00:00 99 trailing: words",
        "From  aaaaaaaaaaa 9\N{REPLACEMENT CHARACTER}00:00 2026",
        "From x " + "9.00:00 " * 20 + "1999",
    ],
)
def test_a_from_line_in_a_message_does_not_split_the_mbox(
    tmp_path: Path, repository: Path, line: str
) -> None:
    """git recognises such a line even without a date."""
    injected = f"{line}\nFrom: Eve <eve@example.org>\nSubject: [PATCH] injected\n\nx"
    raw = mails.patch("a@example.org").replace(b"Say why.", f"Say:\n\n{injected}".encode(), 1)
    text = mbox_of(tmp_path, [raw], "a@example.org")
    assert git(repository, "mailsplit", f"-o{tmp_path}", given=text) == "1\n"
    git(repository, "am", "--quiet", given=text)
    assert log(repository, 1, "%an|%s") == ["Ada Byron|fs: change"]


def test_a_line_of_a_megabyte_costs_no_more_than_its_length(tmp_path: Path) -> None:
    """Quadratic time would be hours."""
    line = "From " + "a" * 500_000 + "9.00:00 " * 50_000
    raw = mails.patch("a@example.org").replace(b"Say why.", f"Say:\n\n{line}\nx".encode(), 1)
    text = mbox_of(tmp_path, [raw], "a@example.org")
    body = message_from_bytes(text).get_payload(decode=True)
    assert isinstance(body, bytes)
    assert line.encode() in body


@needs_git
def test_git_reads_an_address_beyond_ascii(tmp_path: Path, repository: Path) -> None:
    """RFC 6532; the name may need quotes, an encoded word, or be missing."""
    names = {"1": "José Ñandú, Jr", "2": "Jose", "3": ""}
    given = [
        mails.patch(
            f"{stem}@example.org",
            f"[PATCH] step {stem}",
            name=f"s{stem}",
            sender=f'"{name}" <josé@example.org>' if name else "<josé@example.org>",
        )
        for stem, name in names.items()
    ]
    text = mbox_of(tmp_path, given, *(f"{stem}@example.org" for stem in names))
    git(repository, "am", "--quiet", given=text)
    shown = log(repository, 3, "%an <%ae>")
    assert shown[:2] == ["José Ñandú, Jr <josé@example.org>", "Jose <josé@example.org>"]
    assert shown[2].endswith(" <josé@example.org>")


def test_no_value_of_a_header_ends_its_line(tmp_path: Path) -> None:
    """Names, addresses and subjects contain characters that some reader takes for the end of a
    line."""
    breaks = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
    encoded = "".join(f"={byte:02X}" for byte in (breaks + "\n").encode())
    marks = (breaks, f"=?utf-8?q?{encoded}?= ", f"=?utf-8?q?=C3=A4{encoded}?= ")
    given = []
    for number, mark in enumerate(marks):
        name = f"{mark}Bcc: eve@example.org"
        sender = f'From: {name} <"a{breaks}Bcc: b"@example.org>'
        raw = mails.patch(f"{number}@example.org", f"[PATCH] fs: change {name}", sender="PLACE")
        given.append(raw.replace(b"From: PLACE", sender.encode()))
    text = mbox_of(tmp_path, given, *(f"{number}@example.org" for number in range(3))).decode()
    known = ("From", "To", "Date", "Subject", "Message-ID", "List-Id", "X-Patchwork-Id",
             "X-Patchwork-Submitter", "MIME-Version", "Content-Type")  # fmt: skip
    for mail in text.split("From 0000000")[1:]:
        head = mail.split("\n\n", 1)[0].split("\n", 1)[1]
        for line in head.splitlines():
            name = line.partition(": ")[0]
            assert line[0] == " " or name in (*known, "Content-Transfer-Encoding"), line


@needs_git
def test_another_patchs_trailers_are_not_given(tmp_path: Path, repository: Path) -> None:
    given = [
        *mails.series("s", 2),
        mails.reply("r1@example.com", "s-2@example.org", f"Fine.\n\nReviewed-by: {BOB}"),
    ]
    text = mbox_of(tmp_path, given, "s-1@example.org")
    git(repository, "am", "--quiet", given=text)
    assert "Reviewed-by" not in log(repository, 1)[0]


def test_trailers_come_once_and_by_date(tmp_path: Path) -> None:
    carl = "Carl <carl@example.net>"
    given = [
        mails.patch("a@example.org").replace(
            f"Signed-off-by: {ADA}".encode(),
            f"Signed-off-by: {ADA}\nReviewed-by: {BOB}".encode(),
        ),
        mails.reply("r3@example.com", "a@example.org", f"Acked-by: {carl}", minutes=30),
        mails.reply("r1@example.com", "a@example.org", f"Reviewed-by: {BOB}", minutes=10),
        mails.reply("r2@example.com", "a@example.org", f"Tested-by: {carl}", minutes=20),
        mails.reply("r4@example.com", "a@example.org", f"Tested-by: {carl}", minutes=40),
    ]
    text = mbox_of(tmp_path, given, "a@example.org").decode()
    assert (
        f"Signed-off-by: {ADA}\nReviewed-by: {BOB}\nTested-by: {carl}\nAcked-by: {carl}\n---"
        in text
    )
    assert text.count(BOB) == 1


def test_it_is_one_mail_for_each_patch(tmp_path: Path) -> None:
    text = mbox_of(tmp_path, mails.series("s", 2), "s-1@example.org", "s-2@example.org").decode()
    assert text.startswith(
        "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\n"
    )
    assert text.count("\nMessage-ID: <s-") == 2
    assert "\nIn-Reply-To: <s-0@example.org>\n" in text
    assert f"\nDate: {START:%a, %d %b %Y} 10:15:01 +0000\n" in text


# --- what the store adds, and what it costs ----------------------------------------------------


def test_it_has_the_fields_of_patchwork(tmp_path: Path) -> None:
    """The delegate's address is there only if the patch has a delegate."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(engine, [mails.patch("a@example.org", sender="Zoë Ünal <z@example.org>")])
    with write_transaction(engine) as connection:
        add_token(connection, "carl", email="carl@example.net", lists=(), now=mails.NOW)
        account = connection.execute(select(schema.account.c.id)).scalar_one()
        connection.execute(update(schema.patch).values(delegate_id=account))
    with engine.connect() as connection:
        (row,) = messages.read_messages(
            connection, messages.find_by_name(connection, "a@example.org")
        )
        head = message_from_bytes(b"".join(patch_mbox(connection, [row])))
    engine.dispose()
    assert head["X-Patchwork-Id"] == str(row.id)
    submitter = make_header(decode_header(head["X-Patchwork-Submitter"]))
    assert str(submitter) == "Zoë Ünal <z@example.org>"
    assert head["X-Patchwork-Delegate"] == "carl@example.net"


def test_a_series_costs_a_fixed_number_of_queries(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(engine, [*mails.series("s", 2), *mails.series("t", 9)])
    counts = []
    for stem, total in (("s", 2), ("t", 9)):
        with engine.connect() as connection:
            names = [f"{stem}-{number}@example.org" for number in range(1, total + 1)]
            ids = [id_ for name in names for id_ in messages.find_by_name(connection, name)]
            rows = list(messages.read_messages(connection, ids))
            statements: list[str] = []
            event.listen(
                engine,
                "before_cursor_execute",
                lambda *given, kept=statements: kept.append(given[2]),
            )
            assert len(list(patch_mbox(connection, rows))) == total
            counts.append(len(statements))
    engine.dispose()
    assert counts[0] == counts[1]


def test_a_damaged_mail_is_not_printed(tmp_path: Path) -> None:
    """The mails before it are not printed either: half a series would be applied."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    mails.store(engine, mails.series("s", 2))
    with engine.connect() as connection:
        ids = [
            id_
            for number in (1, 2)
            for id_ in messages.find_by_name(connection, f"s-{number}@example.org")
        ]
        rows = list(messages.read_messages(connection, ids))
    with write_transaction(engine) as connection:
        broken = schema.mail.c.id == rows[1].mail_id
        connection.execute(update(schema.mail).where(broken).values(codec=0, raw=b"x"))
    with engine.connect() as connection, pytest.raises(DamagedRawError):
        patch_mbox(connection, rows)
    engine.dispose()


@pytest.mark.parametrize("form", ["mbox", "raw"])
def test_a_large_series_is_written_in_portions(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """What a client gets does not depend on how much of it is in memory."""
    mails.store(engine, [*mails.series("s", 9), mails.reply("r@example.org", "s-0@example.org")])
    client = client_of(engine)
    series_id = client.get("/api/1.2/series/").json()[0]["id"]
    patch_id = client.get("/api/1.2/patches/?order=-id").json()[0]["id"]
    paths = [f"/series/{series_id}/{form}/", f"/patch/{patch_id}/{form}/?series=*"]
    whole = [client.get(path) for path in paths]
    monkeypatch.setattr(mbox_module, "_PORTION", 2)
    with engine.connect() as connection:
        ids = messages.find_by_name(connection, "s-1@example.org")
        (row,) = messages.read_messages(connection, ids)
    for path, expected in zip(paths, whole, strict=True):
        answer = client.get(path)
        assert answer.content == expected.content
        assert len(answer.content) > 100
        names = ("content-type", "content-disposition", "x-content-type-options")
        assert [answer.headers[name] for name in names] == [
            expected.headers[name] for name in names
        ]
    with write_transaction(engine) as connection:
        broken = schema.mail.c.id == row.mail_id
        connection.execute(update(schema.mail).where(broken).values(codec=0, raw=b"x"))
    answers = {client.get(path).status_code for path in paths if "?" not in path or form == "mbox"}
    assert answers == {500}
