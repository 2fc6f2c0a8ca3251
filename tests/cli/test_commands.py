"""Test what each command prints, and its errors."""

from __future__ import annotations

import gzip
import json
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from ingest.cli import COMMANDS, cli
from ingest.store.database.engine import open_store
from tests.support import mails
from tests.support.command import (
    arguments,
    bound_by_permissions,
    environment,
    files,
    ingest,
    ingest_ok,
    one_line,
)
from tests.support.paths import FIXTURES

CRLF = mails.patch("crlf@example.org", "[PATCH] crlf: one").replace(b"\n", b"\r\n")
HOSTILE = mails.patch("bad@example.org", "[PATCH] \x1b[31mred \u202egnp.exe\x07", name="bad")
ARCHIVE = [*mails.little_archive(4), CRLF, HOSTILE]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an archive and its store, for commands that only read."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "archive.mbox").write_bytes(mails.mbox(ARCHIVE))
    engine = open_store(f"sqlite:///{folder / 'ingest.db'}", create=True)
    mails.store(engine, ARCHIVE)
    engine.dispose()
    return folder


def run(folder: Path, *words: str) -> Result:
    """Run a command in this process, which must succeed. Return what it prints."""
    result = CliRunner().invoke(cli, ["--database", f"sqlite:///{folder / 'ingest.db'}", *words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.mark.parametrize("command", ["replay", "audit"])
@pytest.mark.parametrize("wrong", ["a.example.org,b.example.org", "", "*", "A list <a>"])
def test_an_invalid_list_id_is_refused(command: str, wrong: str, tmp_path: Path) -> None:
    """Ids are stored joined with commas: an id with a comma would be read as two."""
    words = ["--database", f"sqlite:///{tmp_path}/i.db", command, "--list", wrong, "a.mbox"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert f"must be what List-Id says between <>, without comma or white space, not {wrong!r}" in (
        " ".join(result.output.split())
    )
    assert not (tmp_path / "i.db").exists()


# --- what commands print ----------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output
    assert name in CliRunner().invoke(cli, ["--help"]).output


def test_no_command_shows_help(tmp_path: Path) -> None:
    done = ingest(cwd=tmp_path)
    assert b"Commands:" in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr


def test_replay_and_reparse(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(mails.mbox(ARCHIVE))
    first = ingest_ok("replay", "a.mbox", "--json", cwd=tmp_path)
    summary = json.loads(first)
    assert summary.pop("seconds") >= 0
    assert summary == {"read": len(ARCHIVE), "new": len(ARCHIVE), "known": 0, "failed": 0}
    again = ingest_ok("replay", "--again", "a.mbox", cwd=tmp_path)
    assert again.startswith(f"{len(ARCHIVE)} mails read: 0 new, {len(ARCHIVE)} known already")
    assert ingest_ok("replay", "-q", "a.mbox", cwd=tmp_path) == ""
    before = ingest_ok("export", cwd=tmp_path)
    reparsed = json.loads(ingest_ok("reparse", "--json", cwd=tmp_path))
    assert (reparsed["read"], reparsed["failed"]) == (len(ARCHIVE), 0)
    assert ingest_ok("export", cwd=tmp_path) == before


def test_show(filled: Path) -> None:
    text = run(filled, "show", "s1-1@example.org").output
    for said in (
        "Patch:       [v2,1/3] s1: step 1\n",
        "Message-ID:  <s1-1@example.org>\n",
        "From:        Ada Byron <ada@example.org>\n",
        "Lists:       dev.lists.example.org\n",
        "Signed-off-by: Ada Byron <ada@example.org>\n",
        "+v2\n",
    ):
        assert said in text
    assert "(<s1-0@example.org>)" in text
    assert run(filled, "show", "<s1-1@example.org>").output == text
    assert "Applies to:  <s1-1@example.org>\n" in run(filled, "show", "s1-r@example.com").output


def test_show_as_json(filled: Path) -> None:
    patch = json.loads(run(filled, "show", "--json", "s0-1@example.org").output)
    assert patch["msgid"] == "<s0-1@example.org>"
    assert patch["name"] == "[1/2] s0: step 1"
    assert patch["headers"]["List-Id"] == "The developers <dev.lists.example.org>"
    assert patch["diff"].startswith("diff --git a/s01.c b/s01.c\n")
    cover = json.loads(run(filled, "show", "--json", "s0-0@example.org").output)
    assert cover["name"] == "[0/2] s0: improve all"
    comment = json.loads(run(filled, "show", "--json", "s0-r@example.com").output)
    assert comment["subject"] == "Re: fs: change"
    assert "Reviewed-by: Bob Tester" in comment["content"]


@pytest.mark.parametrize("raw", [CRLF, HOSTILE, ARCHIVE[0]], ids=["crlf", "hostile", "plain"])
def test_show_raw_gives_the_bytes(filled: Path, raw: bytes) -> None:
    msgid = raw.split(b"Message-ID: ")[1].split()[0].decode()
    done = ingest("show", "--raw", msgid, cwd=filled)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == raw


def test_series(filled: Path) -> None:
    lines = run(filled, "series").output.splitlines()
    assert len(lines) == 6
    rows = json.loads(run(filled, "series", "--json").output)
    assert sorted(row["key"] for row in rows) == [
        "<bad@example.org>",
        "<crlf@example.org>",
        "<s0-0@example.org>",
        "<s1-0@example.org>",
        "<s2-0@example.org>",
        "<s3-1@example.org>",
    ]
    dates = [row["date"] for row in rows]
    assert dates == sorted(dates, reverse=True)
    assert json.loads(run(filled, "series", "--json", "-n", "2").output) == rows[:2]
    assert json.loads(run(filled, "series", "--json", "--list", "dev").output) == rows
    assert json.loads(run(filled, "series", "--json", "--incomplete").output) == []
    assert json.loads(run(filled, "series", "--json", "--list", mails.LIST.upper()).output) == rows
    one_line(ingest("series", "--list", "none", cwd=filled), "no list is called none")


RENAMED = f"""
[lists.kernel-dev]
list_id = "{mails.LIST}"
[lists.quiet]
list_id = "none.lists.example.org"
"""


def test_a_list_has_the_name_of_the_configuration(filled: Path, tmp_path: Path) -> None:
    """Its link name need not be the first label of its id, and works wherever there is --list."""
    (tmp_path / "c.toml").write_text(RENAMED)
    configured = ["--config", str(tmp_path / "c.toml")]
    every = run(filled, "series", "--json").output
    for name in ("kernel-dev", mails.LIST):
        assert run(filled, *configured, "series", "--json", "--list", name).output == every
    assert run(filled, *configured, "series", "--list", "quiet").output == "no series of quiet\n"
    done = ingest(*configured, "series", "--list", "dev", cwd=filled)
    one_line(done, "no list is called dev")
    archive = str(filled / "archive.mbox")
    replay = ["replay", "-q", "--list", "kernel-dev", archive]
    ingest_ok(*configured, *replay, cwd=tmp_path)
    found = run(tmp_path, *configured, "audit", "--list", "kernel-dev", archive).output
    assert found.endswith("0 missing, 0 altered, 0 extra\n"), found
    with sqlite3.connect(tmp_path / "ingest.db") as connection:
        assert connection.execute("SELECT list_id FROM list").fetchall() == [(mails.LIST,)]
    connection.close()


def test_a_name_that_several_lists_have_gets_no_token(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'ingest.db'}", create=True)
    mails.store(engine, [mails.patch(f"{name}@example.org", list_id=f"dev.{name}.org")
                         for name in "ab"])  # fmt: skip
    engine.dispose()
    done = ingest("token", "add", "ci", "--list", "dev", cwd=tmp_path)
    one_line(done, "dev may be any of dev.a.org, dev.b.org; give the list's id")
    assert len(json.loads(run(tmp_path, "series", "--json", "--list", "dev").output)) == 2
    assert len(json.loads(run(tmp_path, "series", "--json", "--list", "dev.a.org").output)) == 1


def test_one_series(filled: Path) -> None:
    text = run(filled, "series", "s1-2@example.org", "--why").output
    assert text.startswith("s1: improve all, v2\n")
    assert "complete: 3 of 3" in text
    assert text.index("[v2,0/3] ") < text.index("[v2,1/3] ") < text.index("[v2,3/3] ")
    assert "below: <s1-0@example.org>" in text
    one = json.loads(run(filled, "series", "s1-0@example.org", "--json").output)
    assert [member["number"] for member in one["members"]] == [None, 1, 2, 3]
    by_number = json.loads(run(filled, "series", str(one["id"]), "--json").output)
    assert by_number == one


def test_one_series_that_lacks_patches(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'ingest.db'}", create=True)
    mails.store(engine, mails.series("gap", 5)[:3])
    engine.dispose()
    assert "2 of 5; missing: 3, 4, 5" in run(tmp_path, "series", "gap-0@example.org").output
    result = run(tmp_path, "mbox", "gap-0@example.org")
    assert result.stderr == "ingest: <gap-0@example.org> is incomplete: 2 of 5\n"
    assert result.stdout.count("\nSubject: ") == 2


def test_mbox(filled: Path) -> None:
    whole = run(filled, "mbox", "s1-0@example.org").stdout
    one = run(filled, "mbox", "s1-2@example.org").stdout
    assert whole.count("From 0000000000000000000000000000000000000000 ") == 3
    assert one.count("From 0000000000000000000000000000000000000000 ") == 1
    assert one in whole


def test_explain_a_file(filled: Path) -> None:
    text = run(filled, "explain", str(filled / "archive.mbox")).output
    assert text.count("message       <") == len(ARCHIVE)
    assert "series      <s1-0@example.org>: 3 of 3" in text
    assert "outcome       comment, reason: below-patch" in text


def test_explain_says_which_part_gave_the_patch(tmp_path: Path) -> None:
    said = ingest_ok("explain", str(FIXTURES / "kind" / "attached-and-pasted.eml"), cwd=tmp_path)
    assert "  diff        from part 2, text/x-patch, 0001-amp.patch: sound/amp.c\n" in said
    assert "  copy        in part 1, text/plain: not used\n" in said
    assert "  commit      [PATCH] amp: use argument three\n" in said
    said = ingest_ok("explain", str(FIXTURES / "kind" / "attached-two.eml"), cwd=tmp_path)
    assert "  other patch in part 3, text/x-patch, 0002-horn.patch: sound/horn.c\n" in said


def test_explain_says_what_was_not_read_and_why(tmp_path: Path) -> None:
    said = ingest_ok("explain", str(FIXTURES / "kind" / "attached-tarball.eml"), cwd=tmp_path)
    assert "application/gzip, fixes.tar.gz: not read: compressed" in said
    cover_reply = FIXTURES / "trailer" / "reply-without-re-to-cover.mbox"
    said = ingest_ok("explain", str(cover_reply), cwd=tmp_path)
    assert "  subject     number 1/2, version 1" in said
    assert "  subject     number 0/2 (not used), version 1" in said


def test_explain_stores_nothing(tmp_path: Path) -> None:
    said = ingest_ok("explain", "-", cwd=tmp_path, stdin=mails.patch())
    assert "kind          patch, reason: " in said
    assert files(tmp_path) == []


def test_export_to_a_file(filled: Path, tmp_path: Path) -> None:
    printed = ingest_ok("export", cwd=filled)
    run(filled, "export", "-o", str(tmp_path / "out.jsonl"))
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == printed
    assert {json.loads(line)["type"] for line in printed.splitlines()} == {
        "comment", "cover", "list", "message", "patch", "series",
    }  # fmt: skip


def test_a_reader_that_closes_the_pipe(filled: Path) -> None:
    """`ingest export | head -1` ends without an error."""
    process = subprocess.Popen(
        arguments("export"), cwd=filled, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert errors == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    "words",
    [
        ("show", "bad@example.org"),
        ("series",),
        ("series", "bad@example.org", "--why"),
        ("explain", "archive.mbox"),
    ],
    ids=lambda words: words[0],
)
def test_other_peoples_text_is_shown_and_not_obeyed(filled: Path, words: Sequence[str]) -> None:
    given = [str(filled / word) if word.endswith(".mbox") else word for word in words]
    text = run(filled, *given).output
    assert r"\x1b[31mred \u202egnp.exe\x07" in text
    assert not set(text) & set("\x1b\u202e\x07")


def test_where_settings_come_from(filled: Path, tmp_path: Path) -> None:
    """In this order: --database of the command, of the program, the environment, the
    configuration."""
    store = f"sqlite:///{filled / 'ingest.db'}"
    (tmp_path / "c.toml").write_text(f'database = "{store}"\n')
    (tmp_path / "wrong.toml").write_text('database = "sqlite:///nothing-here.db"\n')
    wanted = ingest_ok("series", cwd=filled)
    for words, env in (
        (("series", "--database", store), {"INGEST_DATABASE": "sqlite:///none.db"}),
        (("--database", store, "series", "--config", "wrong.toml"), {}),
        (("--config", "wrong.toml", "series"), {"INGEST_DATABASE": store}),
        (("series", "--config", "c.toml"), {}),
        (("series",), {"INGEST_CONFIG": "c.toml"}),
    ):
        done = ingest(*words, cwd=tmp_path, env=env)
        assert done.stdout.decode() == wanted, (words, done.stderr)


# --- what is said when something is wrong -----------------------------------------------------


def _missing(folder: Path) -> None:
    del folder


def _directory_of_other_things(folder: Path) -> None:
    (folder / "x").mkdir()
    (folder / "x/holiday.jpg").write_bytes(b"\xff\xd8\xff")


def _repository_without_mail(folder: Path) -> None:
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q", str(folder / "x")], check=True)
    (folder / "x/main.c").write_text("int main;\n")
    subprocess.run([*git, "add", "main.c"], cwd=folder / "x", check=True)
    subprocess.run([*git, "commit", "-qm", "Begin"], cwd=folder / "x", check=True)


def _empty_repository(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(folder / "x")], check=True)


def _truncated_gzip(folder: Path) -> None:
    packed = gzip.compress(mails.mbox(mails.little_archive(30)))
    (folder / "x").write_bytes(packed[: len(packed) // 2])


def _junk(folder: Path) -> None:
    (folder / "x").write_bytes(bytes(range(256)) * 40)


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "x"))


def _loop(folder: Path) -> None:
    (folder / "x").symlink_to(folder / "x")


def _forbidden(folder: Path) -> None:
    (folder / "x").write_bytes(mails.mbox([mails.patch()]))
    (folder / "x").chmod(0)


SOURCES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (_missing, "x: no such file or folder"),
    "directory of other things": (_directory_of_other_things, "found: holiday.jpg"),
    "git repository without mail": (_repository_without_mail, "is a git repository without mail"),
    "empty git repository": (_empty_repository, "is a git repository without commits"),
    "truncated gzip": (_truncated_gzip, "cut off"),
    "binary junk": (_junk, "is neither an mbox nor a mail"),
    "socket": (_socket, "is neither a file nor a folder"),
    "symbolic link to itself": (_loop, "x: "),
    "no permission": (_forbidden, "may not be read: give this user the permission"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_cannot_be_read(
    tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    """It may follow a readable one: nothing of that is stored."""
    if "git" in name:
        request.getfixturevalue("git_program")
    make, wanted = SOURCES[name]
    make(tmp_path)
    (tmp_path / "good.mbox").write_bytes(mails.mbox([mails.patch()]))
    before = files(tmp_path)
    prefix = bound_by_permissions() if make is _forbidden else []
    done = ingest("replay", "good.mbox", "x", cwd=tmp_path, prefix=prefix)
    one_line(done, wanted)
    assert done.returncode == 1
    assert done.stdout == b""
    assert files(tmp_path) == before, "no database file was made"


def _foreign(folder: Path) -> None:
    with sqlite3.connect(folder / "s.db") as connection:
        connection.execute("CREATE TABLE customer (id INTEGER)")


def _newer(folder: Path) -> None:
    open_store(f"sqlite:///{folder / 's.db'}", create=True).dispose()
    with sqlite3.connect(folder / "s.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9001'")
    connection.close()


def _no_database(folder: Path) -> None:
    (folder / "s.db").write_bytes(b"This is a text, and no database.\n" * 100)


def _is_folder(folder: Path) -> None:
    (folder / "s.db").mkdir()


STORES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "unknown kind": (_missing, "mysql://root@localhost/mail", "use sqlite:///FILE or postgresql:"),
    "no URL": (_missing, "ingest.db", "write sqlite:///FILE or postgresql:"),
    "closed port": (_missing, "postgresql://u@127.0.0.1:9/mail", "cannot reach the database"),
    "no such host": (_missing, "postgresql://u@db.invalid/mail", "cannot reach the database"),
    "no such folder": (_missing, "sqlite:///gone/s.db", "no folder gone for the database"),
    "memory": (_missing, "sqlite://", "needs a file: sqlite:///FILE"),
    "folder": (_is_folder, "sqlite:///s.db", "is a folder; name a file"),
    "other tables": (_foreign, "sqlite:///s.db", "holds something else"),
    "newer schema": (_newer, "sqlite:///s.db", "was made by a newer version (schema 9001"),
    "junk": (_no_database, "sqlite:///s.db", "file is not a database"),
}


@pytest.mark.parametrize("name", STORES)
def test_a_store_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    make, url, wanted = STORES[name]
    make(tmp_path)
    (tmp_path / "good.mbox").write_bytes(mails.mbox([mails.patch()]))
    before = {path: _content(tmp_path / path) for path in files(tmp_path)}
    one_line(ingest("--database", url, "replay", "good.mbox", cwd=tmp_path), wanted)
    assert {path: _content(tmp_path / path) for path in files(tmp_path)} == before


def test_passwords_are_not_printed(tmp_path: Path) -> None:
    url = "postgresql://u:geheim@127.0.0.1:9/mail"
    said = one_line(ingest("--database", url, "series", cwd=tmp_path), "cannot reach")
    assert "geheim" not in said


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def test_a_postgresql_that_holds_something_else(postgres_url: str, tmp_path: Path) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE customer (id integer)"))
    (tmp_path / "good.mbox").write_bytes(mails.mbox([mails.patch()]))
    done = ingest("--database", postgres_url, "replay", "good.mbox", cwd=tmp_path)
    one_line(done, "holds something else; name a database that only ingest uses")
    with engine.connect() as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(text(query)).scalars().all() == ["customer"]
    engine.dispose()


def test_a_postgresql_of_a_newer_version(postgres_url: str, tmp_path: Path) -> None:
    engine = open_store(postgres_url, create=True)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9001'"))
    engine.dispose()
    (tmp_path / "good.mbox").write_bytes(mails.mbox([mails.patch()]))
    for words in (("replay", "good.mbox"), ("series",), ("reparse",)):
        done = ingest("--database", postgres_url, *words, cwd=tmp_path)
        one_line(done, "was made by a newer version (schema 9001", "upgrade ingest")


def test_a_database_that_does_not_exist(postgres_server: str, tmp_path: Path) -> None:
    url = postgres_server.replace("/postgres?", "/nobodys?")
    one_line(ingest("--database", url, "series", cwd=tmp_path), "nobodys", "does not exist")


@pytest.mark.parametrize("name", ["file", "folder", "folder of a new store"])
def test_a_store_that_may_not_be_written(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (tmp_path / "a.mbox").write_bytes(mails.mbox([mails.patch()]))
    (tmp_path / "b.mbox").write_bytes(mails.mbox([mails.patch("q@example.org")]))
    replay = ("--database", "sqlite:///f/s.db", "replay", "-q")
    if name != "folder of a new store":
        ingest_ok(*replay, "a.mbox", cwd=tmp_path)
    before = {path: _content(folder / path) for path in files(folder)}
    if name == "file":
        (folder / "s.db").chmod(0o444)
    folder.chmod(0o555)
    done = ingest(*replay, "b.mbox", cwd=tmp_path, prefix=bound_by_permissions())
    folder.chmod(0o755)
    one_line(done, "give this user the permission to write", "f")
    assert {path: _content(folder / path) for path in files(folder)} == before


READERS = [
    ("show", "p@example.org"), ("show", "--raw", "p@example.org"), ("series",),
    ("mbox", "p@example.org"), ("export",), ("reparse",), ("export", "-o", "out.jsonl"),
    ("audit", "-"), ("check",), ("check", "--series"), ("check", "--people"),
    ("token", "add", "ci"), ("token", "list"), ("token", "revoke", "ci"),
    ("quarantine", "list"), ("quarantine", "show", "1"), ("quarantine", "retry", "--all"),
    ("api", "--listen", "127.0.0.1:0"), ("series", "k", "--split", "p@example.org"),
]  # fmt: skip
# The error of each command, after the place and the name of the setting.
HOW_TO = "name a store with --database, $INGEST_DATABASE or --config; `ingest replay"


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_what_reads_makes_no_store(tmp_path: Path, words: Sequence[str]) -> None:
    done = ingest(*words, cwd=tmp_path, patience=60)
    one_line(done, f"no database at {tmp_path}/ingest.db (the default); {HOW_TO}")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "words", [("series",), ("check",), ("token", "list"), ("reparse",), ("api",)], ids=" ".join
)
def test_an_empty_file_is_no_store(tmp_path: Path, words: Sequence[str]) -> None:
    (tmp_path / "ingest.db").touch()
    done = ingest(*words, cwd=tmp_path, patience=60)
    one_line(done, f"sqlite:///ingest.db is empty (the default); {HOW_TO}")
    assert files(tmp_path) == ["ingest.db"]
    assert (tmp_path / "ingest.db").stat().st_size == 0


def test_who_named_a_store_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("database = 'sqlite:///c.db'\n")
    given = {"INGEST_CONFIG": "c.toml"}
    one_line(ingest("series", cwd=tmp_path, env=given), "/c.db (as c.toml says); name a store")
    given |= {"INGEST_DATABASE": "sqlite:///e.db"}
    one_line(ingest("series", cwd=tmp_path, env=given), "/e.db (as $INGEST_DATABASE says)")
    done = ingest("--database", "sqlite:///o.db", "series", cwd=tmp_path, env=given)
    one_line(done, "/o.db (as --database says)")


@pytest.mark.parametrize("words", [("series",), ("token", "add", "ci"), ("api",)], ids=" ".join)
def test_what_reads_leaves_an_empty_database_alone(
    postgres_url: str, tmp_path: Path, words: Sequence[str]
) -> None:
    done = ingest("--database", postgres_url, *words, cwd=tmp_path, patience=60)
    one_line(done, f"is empty (as --database says); {HOW_TO}")
    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(text(query)).scalar_one() == 0
    engine.dispose()


CONFIGURATIONS = {
    "missing": (None, "cannot read c.toml: No such file or directory"),
    "no TOML": ("[lists\n", "c.toml is not TOML: "),
    "unknown setting": (
        "port = 25\n",
        "unknown setting 'port'; known are api, database, lists, serve and trust",
    ),
    "unknown setting of a list": (
        '[lists.a]\nlist_id = "a"\nmail = "b"\n',
        "known are addresses, bots, commit_",
    ),
    "list without id": ('[lists.a]\nemail = "a@example.org"\n', "[lists.a]: list_id is missing"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    content, wanted = CONFIGURATIONS[name]
    if content is not None:
        (tmp_path / "c.toml").write_text(content)
    (tmp_path / "good.mbox").write_bytes(mails.mbox([mails.patch()]))
    one_line(ingest("--config", "c.toml", "replay", "good.mbox", cwd=tmp_path), wanted)
    assert "ingest.db" not in files(tmp_path)


MISTAKES = [
    (("show", "nobody@example.org"), "no message nobody@example.org in the store"),
    (("series", "nobody@example.org"), "no series nobody@example.org in the store"),
    (("series", "4711"), "no series 4711 in the store; `ingest series` lists them"),
    (("series", "99999999999999999999999"), "no series 9999"),
    (("series", "s0-o@example.org"), "no series s0-o@example.org in the store"),
    (("mbox", "s0-r@example.com"), "<s0-r@example.com> is not a patch but a comment"),
    (("mbox", "nobody@example.org"), "no message nobody@example.org in the store"),
    (("mbox", "4711"), "no series 4711 in the store"),
    (("mbox", "99999999999999999999999"), "no series 9999"),
    (("show", "--json", "--raw", "s0-1@example.org"), "--json and --raw exclude each other"),
    (("show",), "Missing argument 'MESSAGE-ID'; see `ingest show --help`"),
    (("show", "--colour", "x"), "No such option"),
    (("shwo", "x"), "No such command 'shwo'"),
    (("replay",), "Missing argument 'SOURCE...'"),
    (("series", "-n", "0"), "0 is not in the range"),
    (("explain", "gone.eml"), "gone.eml: no such file or folder"),
    (("export", "-o", "gone/out.jsonl"), "gone"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "wanted"), MISTAKES, ids=lambda one: " ".join(one)[:40])
def test_mistakes_are_told_in_one_line(filled: Path, words: Sequence[str], wanted: str) -> None:
    done = ingest(*words, cwd=filled)
    one_line(done, wanted)
    assert done.stdout == b""


def test_an_empty_source_holds_no_mail_to_explain(tmp_path: Path) -> None:
    one_line(ingest("explain", "-", cwd=tmp_path), "- holds no mail")


def test_a_defect_of_ours_is_one_line_too(tmp_path: Path) -> None:
    code = (
        "import ingest.reports.export\nfrom ingest.cli import main\n"
        "def broken(_, **more): raise ZeroDivisionError('a\\nb')\n"
        "ingest.reports.export.export_records = broken\nmain()"
    )
    ingest_ok("replay", "-q", "-", cwd=tmp_path, stdin=mails.patch())
    done = ingest("export", cwd=tmp_path, code=code)
    assert done.returncode == 70
    assert done.stderr == (
        b"ingest: internal error: ZeroDivisionError: a b; "
        b"please report it, with the traceback that INGEST_DEBUG=1 shows\n"
    )
    debug = ingest("export", cwd=tmp_path, code=code, env={"INGEST_DEBUG": "1"})
    assert b"Traceback" in debug.stderr


def test_a_postgresql_that_goes_away(tmp_path: Path) -> None:
    """A failure of the database within a command is one line, and what was stored remains."""
    code = (
        "import ingest.reports.export\nfrom sqlalchemy import text\nfrom ingest.cli import main\n"
        "def broken(one, **more): return one.execute(text('SELECT x FROM y'))\n"
        "ingest.reports.export.export_records = broken\nmain()"
    )
    ingest_ok("replay", "-q", "-", cwd=tmp_path, stdin=mails.patch())
    done = ingest("export", cwd=tmp_path, code=code)
    one_line(done, "the database failed: no such table: y; what was stored before is kept")


def test_names_of_commands_are_modules() -> None:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.name == name
