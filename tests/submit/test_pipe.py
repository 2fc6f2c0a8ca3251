"""Test that the exit status of `ingest pipe` is right whatever the daemon, the mail or the system
does."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.submit.lmtp_client import DotStuffedWriter
from tests.support import fork_server, skips
from tests.support.command import environment, ingest
from tests.support.fake_lmtp_server import (
    CLOSE,
    GOOD,
    RESET,
    SILENT,
    STAGES,
    FakeLmtpServer,
    fake_lmtp_server,
)
from tests.support.paths import ROOT

MAIL = b"Subject: hello\n\ntext\n"
ONE = "dev@lists.example.org"
TWO = "more@lists.example.org"
# As the console script does. (`-m` would load more.)
START = [sys.executable, "-c", "from ingest.__main__ import main; main()", "pipe"]
WRAPPER = ROOT / "docs" / "postfix" / "ingest-pipe"


def pipe(
    where: str, *words: str, mail: bytes = MAIL, timeout: str = "30", before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    """Submit a mail. `before`: a command before this one, which is then a new process."""
    words = ("--socket", where, "--timeout", timeout, *words)
    if before:
        done = subprocess.run(
            [*before, *START, *words],
            input=mail, env=environment(), capture_output=True, check=False, timeout=60,
        )  # fmt: skip
    else:
        done = fork_server.run(
            ["pipe", *words], cwd=ROOT, env=environment(), stdin=mail, timeout=60
        )
    assert done.stdout == b""
    return done


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return its output: one line of printable ASCII that begins with the code for Postfix."""
    text = done.stderr.decode("ascii")
    assert text.count("\n") == 1, text
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert len(text) <= 501
    front = {67: "5.1.1 ", 75: "4.3.0 ingest: "}[done.returncode]
    assert text.startswith(front), text
    return text


# --- what is sent ----------------------------------------------------------------------------


@pytest.mark.parametrize("inet", [False, True])
@pytest.mark.parametrize("bytewise", [False, True])
def test_hands_a_mail_over(tmp_path: Path, inet: bool, bytewise: bool) -> None:
    with fake_lmtp_server(tmp_path, inet=inet, bytewise=bytewise) as there:
        done = pipe(there.where, "-f", "ada@example.org", ONE, TWO)
    assert (done.returncode, done.stderr) == (0, b"")
    assert there.mail == b"Subject: hello\r\n\r\ntext\r\n"
    assert [command.rstrip() for command in there.commands] == [
        b"LHLO ingest-pipe",
        b"MAIL FROM:<ada@example.org> BODY=8BITMIME",
        b"RCPT TO:<dev@lists.example.org>",
        b"RCPT TO:<more@lists.example.org>",
        b"DATA",
        b"QUIT",
    ]


@pytest.mark.parametrize(
    ("words", "sender", "recipients"),
    [
        ([ONE], b"<> BODY=8BITMIME", [ONE]),
        (["-f", "", ONE], b"<> BODY=8BITMIME", [ONE]),
        (["-f", "<>", ONE], b"<> BODY=8BITMIME", [ONE]),
        (["-f", "MAILER-DAEMON", ONE], b"<> BODY=8BITMIME", [ONE]),
        (["-fa@b", ONE], b"<a@b> BODY=8BITMIME", [ONE]),
        (["--sender=a@b", f"<{ONE}>"], b"<a@b> BODY=8BITMIME", [ONE]),
        (["--sender", "a@b", "--", "-x@y", "-f"], b"<a@b> BODY=8BITMIME", ["-x@y", "-f"]),
        ([ONE, "-f", "a@b", ONE], b"<a@b> BODY=8BITMIME", [ONE, ONE]),
        (["-f", '"a b>"@c', '"<d>"@e'], b'<"a b>"@c> BODY=8BITMIME', ['"<d>"@e']),
        (["-f", "ä@b", ONE], "<ä@b> BODY=8BITMIME SMTPUTF8".encode(), [ONE]),
    ],
)
def test_names_sender_and_recipients(
    tmp_path: Path, words: list[str], sender: bytes, recipients: list[str]
) -> None:
    with fake_lmtp_server(tmp_path) as there:
        assert pipe(there.where, *words).returncode == 0
    assert there.commands[1] == b"MAIL FROM:" + sender + b"\r\n"
    named = [command for command in there.commands if command.startswith(b"RCPT")]
    assert named == [f"RCPT TO:<{recipient}>\r\n".encode() for recipient in recipients]


def test_uses_only_what_is_offered(tmp_path: Path) -> None:
    """Without PIPELINING each command waits for the reply to the one before."""
    says = {"LHLO": b"250 lists.example.org\r\n", "RCPT 1": b"451 4.3.0 later\r\n"}
    with fake_lmtp_server(tmp_path, says) as there:
        assert pipe(there.where, "-f", "ä@b", ONE, TWO).returncode == 75
    assert there.commands[1:] == ["MAIL FROM:<ä@b>\r\n".encode(), f"RCPT TO:<{ONE}>\r\n".encode()]


def test_many_recipients(tmp_path: Path) -> None:
    recipients = [f"list-{number}@lists.example.org" for number in range(300)]
    with fake_lmtp_server(tmp_path) as there:
        there.at |= {
            f"{stage} {number + 1}": there.at["mail"]
            for stage in ("RCPT", "end")
            for number in range(300)
        }
        assert pipe(there.where, *recipients).returncode == 0
    assert len(there.reached) == 4 + 2 * 300


@pytest.mark.parametrize(
    ("mail", "sent"),
    [
        (b"a", b"a\r\n"),
        (b"a\n", b"a\r\n"),
        (b"a\r\n", b"a\r\n"),
        (b"a\r", b"a\r\r\n"),
        (b"\n", b"\r\n"),
        (b"a\rb\nc\r\nd\r\r\n", b"a\rb\r\nc\r\nd\r\r\n"),
        (b".\n..\na.\n\r.\n", b"..\r\n...\r\na.\r\n\r.\r\n"),
        (b".", b"..\r\n"),
        (b"\r\n.\r\n", b"\r\n..\r\n"),
        (b"\n.\r\nDATA\r\n", b"\r\n..\r\nDATA\r\n"),
        (b"From ada@example.org  Mon\nX: y\n", b"From ada@example.org  Mon\r\nX: y\r\n"),
        (b"\x00\xff\n", b"\x00\xff\r\n"),
    ],
)
def test_bytes_stay_what_they_are(tmp_path: Path, mail: bytes, sent: bytes) -> None:
    with fake_lmtp_server(tmp_path) as there:
        assert pipe(there.where, ONE, mail=mail).returncode == 0
    assert there.mail == sent


@given(st.lists(st.binary(max_size=5) | st.text("\r\n.a", max_size=5).map(str.encode)))
def test_blocks_do_not_matter(blocks: list[bytes]) -> None:
    whole = b"".join(blocks)
    cut, at_once = DotStuffedWriter(), DotStuffedWriter()
    sent = b"".join(cut.convert(block) for block in blocks) + cut.finish()
    assert sent == at_once.convert(whole) + at_once.finish()
    # What a server reads: the end of the mail is right, and its lines are unchanged.
    assert (b"\r\n" + sent).index(b"\r\n.\r\n") == len(sent) - 3
    lines = sent[: -len(b".\r\n")].split(b"\r\n")
    unstuffed = b"\n".join(line.removeprefix(b".") for line in lines)
    wanted = whole.replace(b"\r\n", b"\n")
    assert unstuffed == wanted + (b"" if wanted.endswith(b"\n") or not wanted else b"\n")


def test_a_large_mail_takes_little_memory(tmp_path: Path) -> None:
    mail = b"Subject: x\n\n" + b".a long line of text\n" * (50_000_000 // 21)
    with fake_lmtp_server(tmp_path, {"end 2": SILENT}) as there, running(there, mail) as process:
        assert there.at["end 2"].wait(60)
        status = Path(f"/proc/{process.pid}/status").read_text()
        (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    assert int(peak.split()[1]) < 30_000  # KiB
    assert there.mail is not None
    assert len(there.mail) == len(mail) + mail.count(b"\n") + mail.count(b"\n.")


# --- what the daemon says --------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "said",
    [
        b"451 4.3.0 later\r\n",
        b"421 4.3.2 shutting down\r\n",
        b"552 5.3.4 too big\r\n",
        b"554 5.0.0 no\r\n",
        b"251 elsewhere\r\n",
        b"999 what\r\n",
        b"hello\r\n",
        b"\r\n",
        b"25\r\n",
        b"250-a\r\n251 b\r\n",
        b"250" + b"x" * 9000 + b"\r\n",
        b"250-on and on\r\n" * 500,
        "²50 ok\r\n".encode(),
        b"\x00\x1b[2J\xff\r\n",
        CLOSE,
        SILENT,
    ],
)
def test_anything_else_is_75(tmp_path: Path, stage: str, said: bytes | str) -> None:
    with fake_lmtp_server(tmp_path, {stage: said}) as there:
        done = pipe(there.where, ONE, TWO, timeout="0.4" if said == SILENT else "30")
    assert done.returncode == 75
    one_line(done)
    if said != SILENT:  # a slow machine may use up the time earlier
        assert there.reached[: STAGES.index(stage) + 1] == list(STAGES[: STAGES.index(stage) + 1])


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("said", [CLOSE, RESET, b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n"])
def test_a_cut_or_a_reply_too_many_is_75(tmp_path: Path, stage: str, said: bytes | str) -> None:
    with fake_lmtp_server(tmp_path, {stage: said}, inet=True) as there:
        done = pipe(there.where, ONE, TWO)
    if said not in (CLOSE, RESET) and stage.startswith("end"):
        assert done.returncode == 0  # both have their 250, whatever follows
    else:
        assert done.returncode == 75
        one_line(done)


@pytest.mark.parametrize(
    ("says", "status", "reaches"),
    [
        # A 550 is about a list only in reply to a recipient.
        ({"greeting": b"550 no\r\n"}, 75, "greeting"),
        ({"LHLO": b"550 no\r\n"}, 75, "LHLO"),
        ({"MAIL": b"550 no\r\n"}, 75, None),  # it disconnects, whatever else was sent
        ({"DATA": b"550 no\r\n"}, 75, "DATA"),
        ({"RCPT 1": b"550 no\r\n", "RCPT 2": b"550 no\r\n"}, 67, "RCPT 2"),
        # Postfix returns the mail as a whole, after the accepted recipients have got it.
        ({"RCPT 1": b"550 no\r\n"}, 67, "end 1"),
        ({"RCPT 2": b"550 no\r\n"}, 67, "end 1"),
        ({"RCPT 1": b"550 no\r\n", "end 1": b"451 no\r\n"}, 75, "end 1"),
        ({"RCPT 1": b"550 no\r\n", "RCPT 2": b"451 no\r\n"}, 75, "RCPT 2"),
        ({"RCPT 1": b"451 no\r\n", "RCPT 2": b"550 no\r\n"}, 75, "RCPT 2"),
        ({"RCPT 1": b"550 no\r\n", "DATA": CLOSE}, 75, "DATA"),
        ({"end 1": b"550 no\r\n", "end 2": b"550 no\r\n"}, 67, "end 2"),
        ({"end 1": b"550 no\r\n"}, 67, "end 2"),
        ({"end 2": b"550-no\r\n550 such list\r\n"}, 67, "end 2"),
        ({"end 1": b"550 no\r\n", "end 2": b"451 no\r\n"}, 75, "end 2"),
        ({"end 1": b"550 no\r\n", "end 2": CLOSE}, 75, "end 2"),
        ({"end 2": b"251 elsewhere\r\n"}, 75, "end 2"),
        ({"end 1": b"250-sto\r\n250 red\r\n"}, 0, "end 2"),
        ({"end 1": b"250\n"}, 0, "end 2"),
        ({"LHLO": GOOD["LHLO"] + b"250 2.1.0 sender fine\r\n"}, 75, "LHLO"),
    ],
)
def test_only_what_the_daemon_says_of_a_list_bounces(
    tmp_path: Path, says: Mapping[str, bytes], status: int, reaches: str | None
) -> None:
    with fake_lmtp_server(tmp_path, says) as there:
        done = pipe(there.where, ONE, TWO)
    assert done.returncode == status, done.stderr
    assert reaches in (there.reached[-1], None)
    if status:
        one_line(done)


def test_a_250_that_comes_before_the_end_does_not_count(tmp_path: Path) -> None:
    with fake_lmtp_server(tmp_path, {"DATA": GOOD["DATA"] + GOOD["end"]}) as there:
        done = pipe(there.where, ONE)
    assert done.returncode == 75
    assert "out of turn: 250 2.0.0 stored" in one_line(done)
    assert there.mail is None


def test_says_what_the_daemon_said_and_does_not_obey_it(tmp_path: Path) -> None:
    says = {"RCPT 1": b"451 4.3.0 \x1b[31mred\xe2\x80\xae" + b"x" * 600 + b"\r\n"}
    with fake_lmtp_server(tmp_path, says) as there:
        text = one_line(pipe(there.where, ONE))
    assert text.startswith(f"4.3.0 ingest: <{ONE}>: 451 4.3.0 \\x1b[31mred\\xe2\\x80\\xaexxx")
    with fake_lmtp_server(tmp_path, {"RCPT 1": b"550 5.1.1 no list has this address\r\n"}) as there:
        done = pipe(there.where, ONE)
    assert one_line(done) == f"5.1.1 <{ONE}>: 550 5.1.1 no list has this address\n"


def test_a_daemon_that_leaves_within_the_mail(tmp_path: Path) -> None:
    with fake_lmtp_server(tmp_path, {"DATA": b"354 go on\r\n421 4.3.2 shutting down\r\n"}) as there:
        done = pipe(there.where, ONE, mail=b"x\n" * 5_000_000)
    assert done.returncode == 75
    assert "421 4.3.2 shutting down" in one_line(done)


# --- no daemon, no mail, no sense ------------------------------------------------------------


def listening_file(folder: Path) -> str:
    (folder / "file").write_text("")
    return str(folder / "file")


def nobody_listens(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "left"))
    return str(folder / "left")


@pytest.mark.parametrize(
    "where",
    [
        lambda folder: str(folder / "none"),
        listening_file,
        nobody_listens,
        lambda folder: "unix:" + nobody_listens(folder),
        str,
        lambda _folder: "/" + "x" * 200,
        lambda _folder: "127.0.0.1:1",
        lambda _folder: "[::1]:1",
        lambda _folder: "127.0.0.1:none-such-service",
        lambda _folder: "name.invalid:24",
        lambda _folder: "127.0.0.1:99999999",
        lambda _folder: "127.0.0.1",
        lambda _folder: "",
        lambda _folder: "/a\n\x1b[2J",
    ],
)
def test_no_daemon_is_75(tmp_path: Path, where: Callable[[Path], str]) -> None:
    done = pipe(where(tmp_path), ONE)
    assert done.returncode == 75
    assert "None" not in one_line(done)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--"],
        [""],
        ["<>"],
        ["-f"],
        ["-f", "a@b"],
        ["--sender"],
        ["--nonsense", ONE],
        ["-x", ONE],
        ["--socket"],
        ["--timeout", "x", ONE],
        ["--timeout", "0", ONE],
        ["--timeout", "-1", ONE],
        ["--timeout", "nan", ONE],
        ["--timeout", "inf", ONE],
        ["a b@c"],
        ["a@b>\r\nRCPT TO:<c@d"],
        ["-f", "a@b> X=<", ONE],
        ["a@b\x7f"],
        ["--help", ONE],
        ["--help"],
        ["-h"],
    ],
)
def test_wrong_words_are_75_where_a_mail_waits(tmp_path: Path, words: list[str]) -> None:
    with fake_lmtp_server(tmp_path) as there:
        done = pipe(there.where, *words)
        if words in (["--help"], ["-h"]):  # alone, that is; here it follows --socket
            done = subprocess.run(
                [*START, *words], input=MAIL, env=environment(), capture_output=True, check=False
            )
            assert done.returncode == 75
            assert b"Usage" in done.stderr
            return
    assert done.returncode == 75
    one_line(done)
    assert there.commands == []


def terminal() -> tuple[int, int]:
    """Open a pseudo-terminal; skip where there is none, as in a chroot without /dev/pts."""
    try:
        return pty.openpty()
    except OSError as error:
        pytest.skip(f"{skips.NO_TERMINAL}: {error}")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 64, b"ingest: no recipient is given; see `ingest pipe --help`"),
        (["--nonsense"], 64, b"ingest: no such option: --nonsense"),
        (["--help"], 0, b""),
        (["--socket", "/none", ONE], 75, b"there is no mail on standard input"),
    ],
)
def test_a_person_at_a_terminal(words: list[str], status: int, said: bytes) -> None:
    theirs, ours = terminal()
    os.write(theirs, b"\x04")  # an end of file, typed
    done = subprocess.run(
        [*START, *words], stdin=ours, env=environment(), capture_output=True, check=False,
        timeout=30,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert done.returncode == status
    assert said in done.stderr
    assert (b"Usage: ingest pipe" in done.stdout) is (words == ["--help"])


def test_help_by_way_of_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ingest", "--config", "none", "pipe", "--help"],
        stdin=subprocess.DEVNULL, env=environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Usage: ingest pipe" in done.stdout
    assert b"  pipe " in ingest("--help", cwd=tmp_path).stdout
    with fake_lmtp_server(tmp_path) as there:
        words = ("--config", "none", "pipe", "--socket", there.where, "-f", "a@b", ONE)
        assert ingest(*words, cwd=tmp_path, stdin=MAIL).returncode == 0
    assert there.mail is not None


def test_the_socket_by_environment(tmp_path: Path) -> None:
    with fake_lmtp_server(tmp_path) as there:
        done = subprocess.run(
            [*START, ONE], input=MAIL, env=environment() | {"INGEST_SOCKET": there.where},
            capture_output=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0
    assert there.mail is not None


@pytest.mark.parametrize("closed", ["<&-", "< /dev/null", "2>&-", "<&- >&- 2>&-", ">&-"])
def test_closed_and_empty_files(tmp_path: Path, closed: str) -> None:
    mail = tmp_path / "mail"
    mail.write_bytes(MAIL)
    with fake_lmtp_server(tmp_path) as there:
        done = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", *START, "--socket", there.where, ONE],
            stdin=mail.open("rb"), env=environment(), capture_output=True, check=False,
        )  # fmt: skip
    assert done.returncode == (75 if "<" in closed else 0)
    assert (there.mail is None) is ("<" in closed)


def test_nobody_reads_what_it_says(tmp_path: Path) -> None:
    """The status of a refusal is right although standard error is a closed pipe."""
    with fake_lmtp_server(tmp_path, {"RCPT 1": b"550 no\r\n"}) as there:
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [*START, "--socket", there.where, ONE], input=MAIL, env=environment(), stderr=write,
            check=False,
        )  # fmt: skip
        os.close(write)
    assert done.returncode == 67


def test_the_process_that_writes_the_mail_dies(tmp_path: Path) -> None:
    """What it wrote may be half a mail, but it ends like a whole one."""
    script = (
        "import os, subprocess, sys\n"
        "process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "process.stdin.write(b'Subject: half'); process.stdin.flush()\n"
        "print(process.pid, flush=True)\n"
        "os.read(0, 1); os._exit(0)\n"
    )
    for wrapper in ((), (str(WRAPPER),)):
        start = list(wrapper) or START
        with fake_lmtp_server(tmp_path) as there, (tmp_path / "said").open("wb") as said:
            parent = subprocess.Popen(
                [sys.executable, "-c", script, *start, "--socket", there.where, ONE],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                env=environment() | {"INGEST": str(console_script(tmp_path))},
            )  # fmt: skip
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            assert there.at["DATA"].wait(30)
            parent.communicate(b"x", timeout=30)
            wait_for(lambda child=child: not Path(f"/proc/{child}").exists() or zombie(child))
        assert there.mail is None
        assert b"may be incomplete" in (tmp_path / "said").read_bytes()


def zombie(pid: int) -> bool:
    """Tell whether it has ended and is a zombie: there may be no init here."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def wait_for(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about")


# --- signals ---------------------------------------------------------------------------------


@contextlib.contextmanager
def running(there: FakeLmtpServer, mail: bytes | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program, with a mail or without one yet, ready for signals."""
    process = subprocess.Popen(
        [*START, "--socket", there.where, ONE, TWO],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    try:
        assert process.stdin is not None
        if mail is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(mail)
                process.stdin.close()
                process.stdin = None
        wait_for(lambda: is_ready(process.pid))
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def is_ready(pid: int) -> bool:
    """Tell whether the process keeps all signals for a thread that waits for them, and has it.

    The mask alone may not tell: the C library, too, blocks all signals for a moment.
    """
    has_thread = len([*Path(f"/proc/{pid}/task").iterdir()]) > 1
    return has_thread and all(is_blocked(pid, one) for one in (signal.SIGTERM, signal.SIGRTMAX))


def is_blocked(pid: int, number: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigBlk:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


TELLING = (
    signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGALRM, signal.SIGXCPU,
)  # fmt: skip


@pytest.mark.parametrize("stage", ["start", *STAGES])
def test_a_signal_at_each_stage_is_75(tmp_path: Path, stage: str) -> None:
    for number in TELLING:
        with (
            fake_lmtp_server(tmp_path, {stage: SILENT}) as there,
            running(there, None if stage == "start" else MAIL) as process,
        ):
            if stage != "start":
                assert there.at[stage].wait(30)
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
            assert process.returncode == 75, number
            assert said.startswith(b"4.3.0 ingest: ")


@pytest.mark.parametrize("number", TELLING)
def test_a_signal_while_the_mail_is_sent_is_75(tmp_path: Path, number: signal.Signals) -> None:
    """It blocks on a daemon that does not read, then on a mail that does not end."""
    with fake_lmtp_server(tmp_path, deaf=True) as there, running(there, None) as process:
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(process.stdin.fileno(), b"x\n" * 2000)
        assert there.at["mail"].wait(30)
        process.send_signal(number)
        assert process.wait(30) == 75
    with fake_lmtp_server(tmp_path) as there, running(there, None) as process:
        assert process.stdin is not None
        os.write(process.stdin.fileno(), MAIL)
        assert there.at["DATA"].wait(30)
        process.send_signal(number)
        assert process.wait(30) == 75
    assert there.mail is None


LEFT_ALONE = {
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH),
}


def test_every_signal_that_ends_a_process_is_75(tmp_path: Path) -> None:
    for number in sorted(signal.valid_signals() - LEFT_ALONE):
        with fake_lmtp_server(tmp_path) as there, running(there, None) as process:
            process.send_signal(number)
            assert process.wait(30) == 75, number


@pytest.mark.parametrize("blocked", ["SIG_IGN", "SIG_DFL"])
def test_signals_that_the_parent_keeps_off_do_not_stop_the_clock(
    tmp_path: Path, blocked: str
) -> None:
    code = (
        "import os, signal, sys\n"
        f"signal.signal(signal.SIGALRM, signal.{blocked})\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    with fake_lmtp_server(tmp_path, {"greeting": SILENT}) as there:
        done = pipe(there.where, ONE, timeout="0.3", before=(sys.executable, "-c", code))
    assert done.returncode == 75
    assert "time limit exceeded" in one_line(done)


@pytest.mark.parametrize("rounds", [25, pytest.param(1000, marks=pytest.mark.torture)])
def test_killed_at_any_moment(tmp_path: Path, rounds: int) -> None:
    """Before it can catch a signal it dies of it, which Postfix treats like 75."""
    at = random.Random(1)
    for number in range(rounds):
        sent = at.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
        with fake_lmtp_server(tmp_path) as there:
            process = subprocess.Popen(
                [*START, "--socket", there.where, ONE],
                stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(),
            )  # fmt: skip
            assert process.stdin is not None
            process.stdin.write(MAIL)
            process.stdin.close()
            time.sleep(at.random() * 0.03)
            process.send_signal(sent)
            assert process.wait(30) in (0, 75, -sent), number
            if process.returncode == 0:
                assert there.mail is not None


# --- what fails before it can begin ----------------------------------------------------------


def console_script(folder: Path) -> Path:
    """Return the script that an installation makes of `ingest/__main__.py`."""
    script = folder / "ingest-script"
    first, _, rest = (ROOT / "ingest" / "__main__.py").read_text().partition("\n")
    assert first == "#!python"  # the packaging standards' word for the path of its Python
    script.write_text(f"#!{sys.executable}\n{rest}")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("gone", ["submit/pipe.py", "smtp/replies.py", "submit"])
def test_a_broken_installation_is_75(tmp_path: Path, gone: str) -> None:
    shutil.copytree(ROOT / "ingest", tmp_path / "ingest")
    broken = tmp_path / "ingest" / gone
    shutil.rmtree(broken) if broken.is_dir() else broken.unlink()
    done = subprocess.run(
        [*START, ONE], input=MAIL, env=environment() | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 75
    assert done.stderr.startswith(b"4.3.0 ingest: cannot start: ModuleNotFoundError")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("missing", ["_socket", "_signal"])
def test_a_python_that_lacks_a_module_is_75(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from ingest.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "pipe", "--socket", "/none", ONE],
        input=MAIL, env=environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 75
    assert done.stderr.startswith(b"4.3.0 ingest: ")


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("exit 0", 0),
        ("exit 67", 67),
        ("exit 75", 75),
        *((f"exit {number}", 75) for number in (1, 2, 64, 65, 70, 74, 78, 126, 127, 255)),
        ("kill -9 $$", 75),
        ("kill -SEGV $$", 75),
        (None, 75),
        ("no-program", 75),
    ],
)
def test_the_wrapper_lets_only_0_and_67_through(
    tmp_path: Path, program: str | None, status: int
) -> None:
    path = tmp_path / "ingest"
    if program is not None:
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o644 if program == "no-program" else 0o755)
    done = subprocess.run(
        [WRAPPER, ONE], input=MAIL, env=environment() | {"INGEST": str(path)},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == status


def test_a_folder_for_a_mail_is_75(tmp_path: Path) -> None:
    """Python ends with 1 before it runs any code of the program."""
    folder = os.open(tmp_path, os.O_RDONLY)
    done = subprocess.run(
        [WRAPPER, "--socket", "/none", ONE], stdin=folder, capture_output=True, check=False,
        env=environment() | {"INGEST": str(console_script(tmp_path))},
    )  # fmt: skip
    os.close(folder)
    assert done.returncode == 75


@pytest.mark.parametrize("megabytes", [6, 10, 14, 18, 22, 30, 60])
def test_without_memory_it_is_75_or_done(tmp_path: Path, megabytes: int) -> None:
    """Python may not even start, and then ends with 1, which the wrapper handles."""
    limit = megabytes << 20
    with fake_lmtp_server(tmp_path) as there:
        done = subprocess.run(
            [WRAPPER, "--socket", there.where, ONE],
            input=MAIL * 10_000, env=environment() | {"INGEST": str(console_script(tmp_path))},
            capture_output=True, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )  # fmt: skip
    assert done.returncode in (0, 75)
    assert (done.returncode == 0) is (there.mail is not None)


def test_loads_next_to_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "before = set(sys.modules)\n"
        "os._exit = lambda status: print(status, *sorted(set(sys.modules) - before))\n"
        "from ingest.__main__ import _run_pipe; _run_pipe()\n"
    )
    with fake_lmtp_server(tmp_path) as there:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
             + code, "pipe", "--socket", there.where, ONE],
            input=MAIL, capture_output=True, check=True,
        )  # fmt: skip
    status, *loaded = done.stdout.decode().split()
    assert status == "0"
    assert [module for module in loaded if not module.startswith("ingest")] == ["_socket"]


def test_the_installed_script_loads_nothing_before_it(tmp_path: Path) -> None:
    """The script of an entry point imports `re` first, which takes as long as all of the rest."""
    script = Path(sys.executable).with_name("ingest")
    assert script.read_text().splitlines()[0] == f"#!{sys.executable}"
    with fake_lmtp_server(tmp_path) as there:
        words = ["pipe", "--socket", there.where, ONE]
        done = subprocess.run(
            [sys.executable, "-X", "importtime", script, *words],
            input=MAIL, env=environment(), capture_output=True, check=True,
        )  # fmt: skip
    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()]
    ours = loaded[loaded.index("site") + 1 :]
    assert "ingest.submit.pipe" in ours
    assert [module for module in ours if not module.startswith("ingest")] == ["_socket"]
