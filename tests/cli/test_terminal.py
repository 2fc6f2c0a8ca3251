"""Test that commands escape mail on a terminal and print its bytes into a pipe, and how they end
when their output cannot be written."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from ingest.cli import cli
from ingest.cli.terminal import escape_text, json_text
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import fork_server, mails, skips
from tests.support.command import arguments, environment, ingest, ingest_ok, one_line

# ESC, BEL, DEL, a C1 control (CSI), and a character that turns the direction of text.
ACTIVE = "\x1b[31m\x07\x7f\x9b31m\u202e\u2066"
DIFF = (
    "diff --git a/f.c b/f.c\n--- a/f.c\n+++ b/f.c\n"
    f"@@ -1,3 +1,3 @@\n one\n-two\n+new {ACTIVE}\n three\n"
)
PATCH = (
    f"From: Eve {ACTIVE} <eve@example.org>\nTo: dev@lists.example.org\n"
    f"List-Id: <dev.lists.example.org>\nDate: Mon, 2 Mar 2026 10:15:00 +0000\n"
    f"Message-ID: <{{msgid}}>\nSubject: [PATCH {{place}}] {ACTIVE} change\n"
    f"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
    f"Content-Transfer-Encoding: 8bit\n\nSay {ACTIVE}.\n\n"
    f"Signed-off-by: Eve {ACTIVE} <eve@example.org>\n---\n{DIFF}"
)
MAIL = PATCH.format(msgid="a@example.org", place="1/2").encode()
OTHER = PATCH.format(msgid="b\x1b]0;x\x07@example.org", place="v2 2/3").encode()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of mail full of escape sequences, one of them quarantined."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "a.mbox").write_bytes(mails.mbox([MAIL, OTHER]))
    ingest_ok("replay", "-q", "a.mbox", cwd=folder)
    (folder / "more.eml").write_bytes(MAIL.replace(b"a@example", b"c@example"))
    ingest_ok("replay", "-q", "more.eml", cwd=folder)
    ingest_ok("token", "add", "Ada", cwd=folder)
    engine = open_store(f"sqlite:///{folder / 'ingest.db'}")
    with write_transaction(engine) as connection:
        connection.execute(
            text("INSERT INTO pending (mail_id, tries, reason) SELECT max(id), 1, :why FROM mail"),
            {"why": f"parse-failed: {ACTIVE}"},
        )
    engine.dispose()
    return folder


def on_terminal(*words: str, cwd: Path) -> bytes:
    """Return what a command prints on a terminal, standard error included."""
    try:
        leader, follower = pty.openpty()
    except OSError as missing:
        pytest.skip(f"{skips.NO_TERMINAL}: {missing}")
    with open(os.devnull) as nothing:  # noqa: PTH123 - a device
        process = fork_server.start(
            words, cwd=cwd, env=environment(),
            stdin=nothing.fileno(), stdout=follower, stderr=follower,
        )  # fmt: skip
    os.close(follower)
    pieces: list[bytes] = []
    try:
        while piece := os.read(leader, 65536):
            pieces.append(piece)
    except OSError:
        pass  # EIO: the last process that had it open has closed it
    finally:
        os.close(leader)
    process.wait(120)
    return b"".join(pieces).replace(b"\r\n", b"\n")


PRINTING: list[Sequence[str]] = [
    ("show", "a@example.org"), ("show", "--json", "a@example.org"),
    ("show", "--raw", "a@example.org"), ("series",), ("series", "--json"),
    ("series", "--why", "a@example.org"), ("series", "--json", "a@example.org"),
    ("mbox", "a@example.org"), ("mbox", "1"), ("mbox", "2"), ("export",), ("export", "--all"),
    ("explain", "a.mbox"), ("audit", "-q", "a.mbox"), ("check",), ("check", "--json"),
    ("check", "--series"), ("check", "--series", "--json"), ("check", "--people"),
    ("quarantine", "list"), ("quarantine", "list", "--json"), ("quarantine", "show", "3"),
    ("quarantine", "show", "--raw", "3"), ("token", "list"), ("events",), ("show", ACTIVE),
    ("series", ACTIVE),
    ("explain", ACTIVE), ("replay", ACTIVE), (ACTIVE,), ("--config", ACTIVE, "series"),
    ("--database", f"sqlite:///{ACTIVE}.db", "series"),
]  # fmt: skip


@pytest.mark.parametrize("words", PRINTING, ids=lambda words: ascii(" ".join(words))[:40])
def test_no_command_hands_a_terminal_what_it_would_obey(
    hostile: Path, words: Sequence[str]
) -> None:
    shown = on_terminal(*words, cwd=hostile).decode()
    assert shown == escape_text(shown)
    assert shown
    assert "Traceback" not in shown
    assert "internal error" not in shown


def test_in_a_pipe_the_bytes_are_as_they_are(hostile: Path) -> None:
    raw = ingest("show", "--raw", "a@example.org", cwd=hostile).stdout
    assert raw == MAIL
    for words in (("mbox", "a@example.org"), ("export",), ("quarantine", "show", "--raw", "3")):
        assert "\u202e".encode() in ingest(*words, cwd=hostile).stdout
    assert ingest("export", "-o", "out", cwd=hostile).returncode == 0
    assert (hostile / "out").read_bytes() == ingest("export", cwd=hostile).stdout


def test_json_that_a_terminal_gets_has_the_same_values(hostile: Path) -> None:
    piped = ingest("export", cwd=hostile).stdout.splitlines()
    shown = on_terminal("export", cwd=hostile).splitlines()
    assert [json.loads(line) for line in shown] == [json.loads(line) for line in piped]
    assert json.loads(json_text([ACTIVE])) == [ACTIVE]


def test_a_name_in_square_brackets_is_no_markup_of_the_progress_bar(tmp_path: Path) -> None:
    (tmp_path / "a[").mkdir()
    (tmp_path / "a[" / "b].mbox").write_bytes(mails.mbox([MAIL]))
    shown = on_terminal("replay", "a[/b].mbox", cwd=tmp_path).decode()
    assert "1 mail read: 1 new" in shown
    assert "ingest: " not in shown


# --- output that goes nowhere -------------------------------------------------------------------

READING: list[Sequence[str]] = [
    ("export",), ("show", "--raw", "a@example.org"), ("series",), ("explain", "a.mbox"),
    ("show", "--help"),
]  # fmt: skip


def _run_into(stdout: int, words: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command with this standard output, and close that."""
    reading, writing = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    process = fork_server.start(
        words, cwd=cwd, env=environment(), stdin=nothing, stdout=stdout, stderr=writing
    )
    for descriptor in (nothing, stdout, writing):
        os.close(descriptor)
    with open(reading, "rb") as errors:  # noqa: PTH123 - a descriptor
        text = errors.read()
    return subprocess.CompletedProcess(words, process.wait(120), b"", text)


def _run_without(
    redirection: str, words: Sequence[str], cwd: Path
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with a standard file descriptor closed, as Python finds at its start."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *arguments(*words)],
        cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False,
        timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_full_disk_is_one_line(hostile: Path, words: Sequence[str]) -> None:
    done = _run_into(os.open("/dev/full", os.O_WRONLY), words, hostile)
    one_line(done, "cannot write: No space left on device")
    assert done.returncode == 1


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_closed_standard_output_is_one_line(hostile: Path, words: Sequence[str]) -> None:
    done = _run_without(">&-", words, hostile)
    one_line(done, "cannot write: Bad file descriptor")
    assert done.returncode == 1


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_reader_that_has_gone_is_no_error_of_ours(hostile: Path, words: Sequence[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = _run_into(writing, words, hostile)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_closed_standard_input_is_one_line(tmp_path: Path) -> None:
    for command in ("replay", "explain"):
        done = _run_without("<&-", (command, "-"), tmp_path)
        one_line(done, "standard input: cannot be read: Bad file descriptor")


def test_what_is_printed_fits_any_encoding(hostile: Path) -> None:
    done = ingest(
        "show", "a@example.org", cwd=hostile, env={"PYTHONIOENCODING": "", "LC_ALL": "C",
        "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_while_the_program_is_loaded_gives_no_traceback(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'ingest.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from ingest.__main__ import main\nmain()"
    )
    done = ingest("series", cwd=tmp_path, code=code)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


# --- words of the command line --------------------------------------------------------------------

NOT_UTF8 = os.fsdecode(b"a\xff@x")
TEXTS: list[Sequence[str]] = [
    ("show",), ("series",), ("mbox",), ("token", "add"), ("token", "revoke"),
    ("quarantine", "show"), ("quarantine", "retry"), ("series", "x", "--move"),
    ("series", "x", "--join"), ("series", "x", "--split"), ("series", "x", "--unpin"),
    ("series", "--list"), ("replay", "a.mbox", "--list"), ("audit", "a.mbox", "--list"),
    ("token", "add", "x", "--list"), ("show", "x", "--database"), ("--database",),
    ("api", "--listen"),
]  # fmt: skip
PATHS: list[Sequence[str]] = [
    ("replay",), ("audit",), ("explain",), ("export", "-o"), ("show", "x", "--config"),
]  # fmt: skip


def _refused(*words: str) -> str:
    """Return the error message for a mistake in the command line."""
    if words[-2] == "--database" and len(words) == 2:
        words = (*words, "series")
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2, done.output
    return done.output


@pytest.mark.parametrize("words", TEXTS, ids=" ".join)
def test_bytes_that_are_not_utf8_are_a_mistake_of_use(words: Sequence[str]) -> None:
    assert "is not UTF-8: a\\xff@x" in _refused(*words, NOT_UTF8)


@pytest.mark.parametrize("words", [*TEXTS, *PATHS], ids=" ".join)
def test_an_empty_word_is_a_mistake_of_use(words: Sequence[str]) -> None:
    of_a_list = words[0] in ("replay", "audit") and len(words) > 1
    assert ("must be what List-Id says" if of_a_list else "is empty") in _refused(*words, "")


def test_a_mistake_of_use_is_one_line(tmp_path: Path) -> None:
    for word, wanted in (("", "MESSAGE-ID is empty"), (NOT_UTF8, "is not UTF-8: a\\xff@x")):
        done = ingest("show", word, cwd=tmp_path)
        one_line(done, wanted, "see `ingest show --help`")
        assert done.returncode == 2


def test_a_path_may_have_any_bytes(tmp_path: Path) -> None:
    (tmp_path / NOT_UTF8).write_bytes(mails.mbox([MAIL]))
    assert ingest_ok("replay", NOT_UTF8, cwd=tmp_path).startswith("1 mail read: 1 new")
    assert ingest_ok("explain", NOT_UTF8, cwd=tmp_path)
    ingest_ok("export", "-o", f"{NOT_UTF8}.json", cwd=tmp_path)
    assert (tmp_path / f"{NOT_UTF8}.json").stat().st_size


def test_an_export_that_cannot_be_written_names_the_file_that_was_asked_for(
    hostile: Path,
) -> None:
    for name, why in (("/nonexistent/x", "No such file or directory"),
                      ("/dev/full", "No space left on device")):  # fmt: skip
        done = ingest("export", "-o", name, cwd=hostile)
        assert one_line(done, name) == f"ingest: cannot write {name}: {why}\n"
        assert done.returncode == 1


def test_an_export_to_a_device_leaves_the_device_in_place(hostile: Path) -> None:
    fifo = hostile / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(
        arguments("export", "-o", "fifo"), cwd=hostile, env=environment()
    ) as process:
        written = fifo.read_bytes()
    assert process.returncode == 0
    assert fifo.is_fifo()
    assert written == ingest("export", cwd=hostile).stdout


def test_why_of_the_message_that_opened_a_series(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(mails.mbox(mails.little_archive(1)))
    ingest_ok("replay", "-q", "a.mbox", cwd=tmp_path)
    assert "  first: no parent\n" in (
        ingest_ok("series", "--why", "s0-0@example.org", cwd=tmp_path)
    )
