"""Test entries of archives that are no mail: links, pipes, other files."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.sources.detect import open_source
from ingest.sources.entry import IrregularError, is_mail_content, open_regular
from ingest.sources.maildir import Maildir
from ingest.sources.source import NoMail, RawMail, SourceError
from tests.sources.test_detect import maildir
from tests.sources.test_mbox import ONE, THREE, TWO
from tests.support import mails, skips
from tests.support.command import ingest, ingest_ok, one_line

ACCOUNTS = b"root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada:/home/ada:/bin/sh\n"
NOT_MAIL = "is no mail: its header has none of From, Message-ID, Date, Received and Subject"


@pytest.mark.parametrize(
    "raw",
    [
        b"From: a\n\n", b"message-id: <a>", b"DATE : x\r\n\r\n", b"X: y\r\nReceived: z\r\n\r\n",
        b"X: y\rSubject: z\r\r", b"\xef\xbb\xbfSubject: x\n", b"no field\nSubject:\n\n",
        b"From a Mon Jan  1 00:00:00 2024\nFrom: a\n\n", b"X:" + b"y" * 300_000 + b"\nDate: z\n",
        b"X: y\n" * 2_000 + b"Subject: beyond the fields that are parsed\n\n",
    ],
)  # fmt: skip
def test_one_of_five_fields_makes_a_mail(raw: bytes) -> None:
    assert is_mail_content(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\n", ACCOUNTS, b"Name: value\n\nSubject: in the body\n", b"X: y\n Subject: folded\n",
        b"X: y\r\n\r\nSubject: x\r\n", b"X-From: a\n", b"Fro\nm: a\n", b"Subject\n: x\n", b"\0" * 9,
    ],
)  # fmt: skip
def test_without_any_of_them_it_is_none(raw: bytes) -> None:
    assert not is_mail_content(raw)


# --- a Maildir ----------------------------------------------------------------------------------


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o020600, os.makedev(1, 3))
    except OSError:
        pytest.skip("no device can be made here")


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


ENTRIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (lambda path: path.symlink_to("/etc/passwd"), "is a symbolic link"),
    "link to a mail": (lambda path: path.symlink_to("a"), "is a symbolic link"),
    "link to nothing": (lambda path: path.symlink_to("gone"), "is a symbolic link"),
    "link to a folder": (lambda path: path.symlink_to("/etc"), "is a symbolic link"),
    "pipe": (os.mkfifo, "is a named pipe"),
    "socket": (_socket, "is a socket"),
    "device": (_device, "is a device"),
    "accounts": (lambda path: path.write_bytes(ACCOUNTS), NOT_MAIL),
    "empty": (lambda path: path.touch(), "is empty, and so no mail"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_of_a_maildir_that_is_no_mail_is_reported_and_the_rest_read(
    tmp_path: Path, name: str
) -> None:
    make, wanted = ENTRIES[name]
    folder = maildir(tmp_path / "Mail", a=ONE, c=TWO)
    make(folder / "new" / "b")
    first, refused, last = Maildir(folder).read()
    assert (first, last) == (RawMail(ONE, "a"), RawMail(TWO, "c"))
    assert isinstance(refused, NoMail)
    assert refused.position == "b"
    assert refused.reason.startswith(f"{folder}/new/b: {wanted}")


@pytest.mark.parametrize("room", ["cur", "new"])
def test_a_maildir_whose_folder_is_a_link_is_refused(tmp_path: Path, room: str) -> None:
    folder = maildir(tmp_path / "Mail", a=ONE)
    shutil.rmtree(folder / room)
    (folder / room).symlink_to("/etc")
    with pytest.raises(SourceError, match=rf"Mail/{room}: is a symbolic link, which is not fol"):
        open_source(str(folder))


def test_a_folder_that_becomes_a_link_while_it_is_read_is_not_followed(tmp_path: Path) -> None:
    folder = maildir(tmp_path / "Mail", a=ONE, passwd=TWO)
    reading = Maildir(folder).read()
    assert next(reading) == RawMail(ONE, "a")
    shutil.rmtree(folder / "new")
    (folder / "new").symlink_to("/etc")
    with pytest.raises(SourceError, match="Mail/new: is a symbolic link"):
        next(reading)


def test_a_file_that_becomes_a_pipe_while_it_is_opened_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    seen = (tmp_path / "file").stat()
    monkeypatch.setattr(os, "stat", lambda *_, **__: seen)
    with pytest.raises(IrregularError, match="is a named pipe"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(IrregularError, match="is a symbolic link"):
        open_regular(tmp_path / "link")


def test_replay_stores_the_rest_names_each_and_ends_with_1(tmp_path: Path) -> None:
    folder = maildir(tmp_path / "Mail", a=mails.patch("a@example.org"))
    (folder / "cur" / "b\x1b[31m").symlink_to("/etc/passwd")
    os.mkfifo(folder / "cur" / "c")
    (folder / "cur" / "d").write_bytes(mails.patch("d@example.org"))
    for again in (False, True):
        done = ingest("replay", "Mail", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.decode().splitlines() == [
            "ingest: Mail/cur/b\\x1b[31m: is a symbolic link, which is not followed; skipped",
            "ingest: Mail/cur/c: is a named pipe; skipped",
        ]
        assert done.stdout.startswith(b"2 mails read: %d new" % (0 if again else 2))
    explained = ingest("explain", "Mail", cwd=tmp_path)
    assert explained.returncode == 1
    assert explained.stderr.count(b"skipped") == 2
    assert explained.stdout.count(b"message  ") == 2
    audited = ingest("audit", "Mail", cwd=tmp_path)
    assert (audited.returncode, audited.stderr.count(b"skipped")) == (0, 2)
    assert audited.stdout.startswith(b"2 mails in the archive, 0 missing")


def test_a_batch_of_nothing_but_links(tmp_path: Path) -> None:
    folder = maildir(tmp_path / "Mail")
    (folder / "new" / "a").symlink_to("/etc/passwd")
    done = ingest("replay", "Mail", cwd=tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stdout.startswith(b"0 mails read: 0 new")


# --- files, folders of files, standard input ------------------------------------------------------


def test_a_file_that_is_no_mail_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    (tmp_path / "good.mbox").write_bytes(mails.mbox([mails.patch()]))
    (tmp_path / "passwd").write_bytes(ACCOUNTS)
    done = ingest("replay", "good.mbox", "passwd", cwd=tmp_path)
    one_line(done, f"passwd: {NOT_MAIL}")
    assert not (tmp_path / "ingest.db").exists()
    one_line(ingest("explain", "passwd", cwd=tmp_path), f"passwd: {NOT_MAIL}")


def test_standard_input_that_is_no_mail_is_refused(tmp_path: Path) -> None:
    for command in ("replay", "explain"):
        done = ingest(command, "-", cwd=tmp_path, stdin=ACCOUNTS)
        one_line(done, f"standard input: {NOT_MAIL}")


def test_a_long_file_that_is_no_mail(tmp_path: Path) -> None:
    """Its header does not end within the part that is read when the source is opened."""
    (tmp_path / "log").write_bytes(b"12:00: x\n" * 200_000)
    source = open_source(str(tmp_path / "log"))
    with pytest.raises(SourceError, match="log: is no mail"):
        list(source.read())


def test_a_link_that_is_named_itself_is_followed(tmp_path: Path) -> None:
    """The user has named it, unlike entries that are found in an archive."""
    (tmp_path / "a.eml").write_bytes(mails.patch())
    (tmp_path / "link").symlink_to("a.eml")
    assert ingest_ok("replay", "link", cwd=tmp_path).startswith("1 mail read: 1 new")


def test_a_folder_of_mails_with_links_and_other_things(tmp_path: Path) -> None:
    (tmp_path / "1.eml").write_bytes(ONE)
    (tmp_path / "2.eml").symlink_to("/etc/passwd")
    (tmp_path / "3.eml").write_bytes(ACCOUNTS)
    (tmp_path / "4.eml").write_bytes(THREE)
    items = list(open_source(str(tmp_path)).read())
    assert [item.position for item in items] == ["1.eml", "2.eml", "3.eml", "4.eml"]
    assert [getattr(item, "reason", "mail").removeprefix(f"{tmp_path}/") for item in items] == [
        "mail",
        "2.eml: is a symbolic link, which is not followed",
        f"3.eml: {NOT_MAIL}",
        "mail",
    ]


def test_every_entry_of_an_mbox_is_mail(tmp_path: Path) -> None:
    """The envelope line says so, and a truncated mail at the end is stored (`hostile.md` 98)."""
    cut = mails.mbox([mails.patch()]) + b"From ada@example.org Mon Jan  1 00:00:00 2024\nX-A: b\n"
    (tmp_path / "a.mbox").write_bytes(cut)
    assert ingest_ok("replay", "a.mbox", cwd=tmp_path).startswith("2 mails read: 2 new")


@pytest.mark.skipif(shutil.which("git") is None, reason=skips.NO_GIT)
@pytest.mark.parametrize("parsers", ["1", "2"])
def test_a_blob_of_a_public_inbox_that_is_no_mail(tmp_path: Path, parsers: str) -> None:
    from ingest.sources.git import find_tip
    from tests.support.git_repository import repository, run

    trees = [{"m": mails.patch(f"{number}@example.org")} for number in range(1_100)]
    trees[7] = {"m": ACCOUNTS}
    repository(tmp_path / "a.git", trees)
    blob = run(tmp_path / "a.git", "rev-parse", f"{find_tip(tmp_path / 'a.git')}~1092:m")
    done = ingest("replay", "--parsers", parsers, "a.git", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"ingest: {tmp_path.resolve()}/a.git: blob {blob}: {NOT_MAIL}; skipped\n"
    )
    assert done.stdout.startswith(b"1099 mails read: 1099 new")
