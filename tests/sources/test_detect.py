"""Test what a path names, and the error for a path that cannot be replayed."""

from __future__ import annotations

import io
import os
import socket
import threading
from pathlib import Path

import pytest

from ingest.sources.detect import open_source
from ingest.sources.eml import EmlFile, EmlFolder
from ingest.sources.maildir import Maildir
from ingest.sources.mbox import Mbox
from ingest.sources.source import NoMail, RawMail, SourceError, printable
from tests.sources.test_compressed import PACKERS
from tests.sources.test_mbox import ENVELOPE, ONE, THREE, TWO, mboxrd


def refusal(where: str | Path) -> str:
    with pytest.raises(SourceError) as error:
        open_source(str(where))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").endswith("/none: no such file or folder")
    (tmp_path / "file").touch()
    assert "Not a directory" in refusal(tmp_path / "file" / "x")
    assert "null" in refusal("a\0b")
    assert "\\n" in refusal(tmp_path / "two\nlines")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(mboxrd(ONE))
    (tmp_path / "a.mbox").chmod(0)
    assert "a.mbox: may not be read" in refusal(tmp_path / "a.mbox")


def test_what_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root, to whom nothing is refused, the error is the same."""
    file = tmp_path / "a.mbox"
    file.write_bytes(mboxrd(ONE))

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        assert "a.mbox: may not be read: give this user the permission" in refusal(file)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", refuse)
        assert "may not be read" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x7fELF\2\1\1\0\0", "neither an mbox nor a mail"),
        (b"\0" * 5000, "neither an mbox nor a mail"),
        (b"some words\n\nand more\n", "neither an mbox nor a mail"),
        (b"From ada\nSubject: x\n\n", "not with an mbox's line of a sender and a date"),
        (b"# v2 git bundle\n0123 refs/heads/master\n", "git clone --mirror"),
        (b"# v3 git bundle\n@object-format=sha1\n", "git clone --mirror"),
    ],
)
def test_files_of_other_things(content: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(content)
    assert says in refusal(file)
    file.write_bytes(PACKERS["gzip"](content))
    assert says in refusal(file)


def test_a_socket_is_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert "neither a file nor a folder" in refusal("s")


def test_folders_of_other_things(tmp_path: Path) -> None:
    assert "(found: nothing)" in refusal(tmp_path)
    (tmp_path / "a.eml").write_bytes(ONE)
    (tmp_path / "b.mbox").write_bytes(mboxrd(ONE))
    assert "(found: b.mbox)" in refusal(tmp_path)
    (tmp_path / "b.mbox").unlink()
    (tmp_path / "more").mkdir()
    assert "(found: more/)" in refusal(tmp_path)
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(ONE)
    assert "(found: 0, 1, 2 and 3 more)" in refusal(tmp_path)
    (tmp_path / "folder.eml").mkdir()
    assert "and 4 more" in refusal(tmp_path)


def test_an_empty_file_is_an_empty_mbox(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    source = open_source(str(tmp_path / "empty"))
    assert isinstance(source, Mbox)
    assert list(source.read()) == []


def test_one_mail_in_a_file(tmp_path: Path) -> None:
    """It is neither unquoted nor split: a mail that is saved alone is not quoted."""
    mail = ONE + b"\n" + ENVELOPE + b">From here\n"
    file = tmp_path / "a.eml"
    file.write_bytes(mail)
    source = open_source(str(file))
    assert isinstance(source, EmlFile)
    assert (source.total, source.resumable) == (1, True)
    assert list(source.read()) == [RawMail(mail, f"0-{len(mail)}")]
    assert list(source.read(after=f"0-{len(mail)}")) == []
    assert list(source.read(after="0-7")) == [RawMail(mail, f"0-{len(mail)}")]


def test_a_folder_of_mails(tmp_path: Path) -> None:
    mails = {"10.eml": TWO, "2.EML": THREE, "b.eml": ONE}
    for name, mail in mails.items():
        (tmp_path / name).write_bytes(mail)
    (tmp_path / ".DS_Store").write_bytes(b"\0\0")
    (tmp_path / ".hidden").mkdir()
    source = open_source(str(tmp_path))
    assert isinstance(source, EmlFolder)
    assert source.total == 3
    items = list(source.read())
    assert items == [RawMail(mails[name], name) for name in sorted(mails)]
    for index, item in enumerate(items):
        assert list(source.read(after=item.position)) == items[index + 1 :]
    assert list(source.read(after="gone.eml")) == items
    assert open_source(str(tmp_path)).key == source.key
    (tmp_path / "0.eml").write_bytes(ONE)
    assert open_source(str(tmp_path)).key != source.key


def test_a_folder_of_odd_mails(tmp_path: Path) -> None:
    """There are an empty file, a compressed one, one of git format-patch, an mbox, and a name that
    is not text."""
    (tmp_path / "1.eml").touch()
    (tmp_path / "2.eml").write_bytes(PACKERS["gzip"](ONE))
    (tmp_path / "3.eml").write_bytes(ENVELOPE + TWO)
    (tmp_path / "4.eml").write_bytes(mboxrd(ONE, TWO, THREE))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/5\xff.eml")).write_bytes(THREE)
    source = open_source(str(tmp_path))
    items = list(source.read())
    assert items[0] == NoMail("1.eml", f"{tmp_path}/1.eml: is empty, and so no mail")
    assert [(item.raw, item.position) for item in items[1:]] == [
        (ONE, "2.eml"),
        (TWO, "3.eml"),
        (ONE, "3.eml"),
        (TWO, "3.eml"),
        (THREE, "4.eml"),
        (THREE, "5\\xff.eml"),
    ]
    assert [item.raw for item in source.read(after="3.eml")] == [ONE, TWO, THREE, THREE]
    assert list(source.read(after="5\\xff.eml")) == []


def test_a_folder_whose_file_is_taken_away(tmp_path: Path) -> None:
    for name in ("1.eml", "2.eml"):
        (tmp_path / name).write_bytes(ONE)
    source = open_source(str(tmp_path))
    reading = source.read()
    next(reading)
    (tmp_path / "2.eml").unlink()
    with pytest.raises(SourceError, match=r"2\.eml: No such file"):
        next(reading)


@pytest.mark.parametrize("packing", [None, *PACKERS])
@pytest.mark.parametrize(("content", "mails"), [(mboxrd(ONE, TWO), [ONE, TWO]), (ONE, [ONE])])
def test_standard_input(content: bytes, mails: list[bytes], packing: str | None) -> None:
    if packing:
        content = PACKERS[packing](content)
    source = open_source("-", stdin=io.BytesIO(content))
    assert (source.key, source.label, source.resumable) == ("-", "standard input", False)
    assert [item.raw for item in source.read()] == mails


def test_standard_input_of_other_things() -> None:
    assert list(open_source("-", stdin=io.BytesIO(b"")).read()) == []
    with pytest.raises(SourceError, match="standard input: is neither"):
        open_source("-", stdin=io.BytesIO(b"\x7fELF"))


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(mboxrd(ONE, TWO),))
    writer.start()
    source = open_source(str(pipe))
    assert [item.raw for item in source.read()] == [ONE, TWO]
    assert not source.resumable
    writer.join()


def maildir(folder: Path, **mails: bytes) -> Path:
    for room in ("cur", "new", "tmp"):
        (folder / room).mkdir(parents=True)
    for name, mail in mails.items():
        (folder / "new" / name).write_bytes(mail)
    return folder


def test_a_maildir(tmp_path: Path) -> None:
    folder = maildir(tmp_path / "Mail", c=ONE)
    (folder / "cur" / "a:2,FS").write_bytes(TWO)
    (folder / "cur" / "b").write_bytes(b"")
    (folder / "cur" / ".lock").write_bytes(b"x")
    (folder / "tmp" / "d").write_bytes(b"half")
    (folder / "cur" / "folder").mkdir()
    source = open_source(str(folder))
    assert isinstance(source, Maildir)
    assert source.total == 3
    empty = NoMail("b", f"{folder}/cur/b: is empty, and so no mail")
    items = [RawMail(TWO, "a"), empty, RawMail(ONE, "c")]
    assert list(source.read()) == items
    # The name of new mail may sort anywhere, so a position skips nothing.
    assert list(source.read(after="b")) == items
    for count in (1, 2, 3):
        portions = [*source.list_portions(None, count)]
        assert [item for portion in portions for item in portion.read()] == items
        assert portions[-1].position == "c"


def test_a_maildir_whose_mail_moves_while_it_is_read(tmp_path: Path) -> None:
    folder = maildir(tmp_path / "Mail", a=ONE, b=TWO, c=THREE, d=ONE, e=TWO)
    source = Maildir(folder)
    reading = source.read()
    assert next(reading).position == "a"
    (folder / "new" / "b").rename(folder / "cur" / "b:2,S")
    (folder / "new" / "c").rename(folder / "cur" / "c:2,S")
    assert next(reading) == RawMail(TWO, "b")
    (folder / "cur" / "c:2,S").rename(folder / "cur" / "c:2,RS")
    (folder / "new" / "d").unlink()
    vanished = NoMail("d", f"{folder}/d: vanished while it was read")
    assert list(reading) == [RawMail(THREE, "c"), vanished, RawMail(TWO, "e")]


def test_a_maildir_that_is_taken_away(tmp_path: Path) -> None:
    folder = maildir(tmp_path / "Mail")
    source = Maildir(folder)
    (folder / "cur").rmdir()
    with pytest.raises(SourceError, match="Mail/cur: No such file"):
        list(source.read())


def test_names_are_written_in_one_line() -> None:
    assert printable("plain/ünï") == "plain/ünï"
    assert printable("a\nb\x1b[0m") == "a\\nb\\x1b[0m"
    assert printable(os.fsdecode(b"\xff")) == "\\xff"
