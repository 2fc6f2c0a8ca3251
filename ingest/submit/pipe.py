"""`ingest pipe`: one mail on standard input, handed to the daemon by LMTP. For Postfix pipe(8).

Input: the mail, its sender and recipients, and where the daemon listens. Output: an exit status
(`ingest.smtp.replies`), and where that is not 0 one line on standard error, which Postfix logs.
Refuses nothing by itself: whatever the daemon has not said 250 or 550 to stays with the sender.

Postfix starts this once for each mail, so it imports next to nothing: `_socket` and `_signal`
instead of `socket` and `signal`, which would take as long as Python's own start. And Postfix
returns a mail to its author on status 1, which is what Python ends with when anything goes
wrong; so everything that can be caught is 75 here.
"""

import _thread
import os
import sys

from ingest.smtp.replies import EX_NOUSER, EX_OK, EX_TEMPFAIL, EX_USAGE
from ingest.submit.lmtp_client import (
    DeferredError,
    DotStuffedWriter,
    LmtpClient,
    envelope_commands,
    interpret_reply,
    printable_reply,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

DEFAULT_SOCKET = "/run/ingest/lmtp.sock"
# Seconds for everything. Less than Postfix's command_time_limit (1,000 s), after which it kills
# the program.
DEFAULT_LIMIT = 300

HELP = f"""\
Usage: ingest pipe [-f SENDER] [--socket PATH|HOST:PORT] [--timeout SECONDS] [--] RECIPIENT...

  Hand one mail on standard input to the daemon, by LMTP.

  -f, --sender SENDER   the envelope's sender; '' or MAILER-DAEMON is the null sender
  --socket WHERE        where the daemon listens; $INGEST_SOCKET, else
                        {DEFAULT_SOCKET}
  --timeout SECONDS     for everything; {DEFAULT_LIMIT}

  The status is 0 once the daemon has stored the mail for every recipient, 67 where it says
  that a recipient is no list of its own, and 75 for everything else: try again.
"""

_BLOCK = 65536
_STACK = 256 << 10  # octets, for the thread that waits for signals


class _MisusedError(DeferredError):
    """The command line is wrong."""


def main(words: list[str]) -> int:
    """Hand over the mail on standard input as `words` say; the exit status. Never raises."""
    status = EX_TEMPFAIL
    try:
        _catch_signals()
        _open_standard_files()
        if words in (["-h"], ["--help"]):
            return _help()
        status, text = _run(words)
    except _MisusedError as wrong:
        if os.isatty(0):
            _say(f"ingest: {wrong}; `ingest pipe --help` says how")
            return EX_USAGE
        text = f"{wrong}; `ingest pipe --help` says how"
    except DeferredError as why:
        text = str(why)
    except BaseException as error:  # noqa: BLE001 - the one boundary: any other status bounces
        text = f"{type(error).__name__}: {error}"
    if status == EX_NOUSER:
        # Postfix reads a status code of RFC 3463 in front of the text, and lets it decide even
        # over the exit status. So this is the only line that may begin with a 5.
        _say(f"5.1.1 {text}")
    elif status != EX_OK:
        _say(f"4.3.0 ingest: {text}")
    return status


# --- what is asked ---------------------------------------------------------------------------


class _Asked:
    """What the command line says."""

    __slots__ = ("limit", "recipients", "sender", "where")

    def __init__(self, words: list[str]) -> None:
        self.sender = b""
        self.where = os.environ.get("INGEST_SOCKET") or DEFAULT_SOCKET
        self.limit = float(DEFAULT_LIMIT)
        self.recipients: list[bytes] = []
        left = list(words)
        while left:
            word = left.pop(0)
            if word == "--":
                self.recipients += [_address(one) for one in left]
                break
            if not word.startswith("-"):
                self.recipients.append(_address(word))
                continue
            name, value = _option(word, left)
            if name == "--sender":
                self.sender = b"" if value == "MAILER-DAEMON" else _address(value)
            elif name == "--socket":
                self.where = value
            else:
                self.limit = _seconds(value)
        if not self.recipients:
            raise _MisusedError("no recipient is named")
        if b"" in self.recipients:
            raise _MisusedError("a recipient is empty")


def _option(word: str, left: list[str]) -> tuple[str, str]:
    """The option's name and its value, which may be the next of the words that are left."""
    if word.startswith("-f"):
        name, value = "--sender", word[2:]  # sendmail's -fSENDER as well
        given = bool(value)
    else:
        name, equals, value = word.partition("=")
        given = bool(equals)
    if name not in ("--sender", "--socket", "--timeout"):
        raise _MisusedError(f"there is no option {name}")
    if not given:
        if not left:
            raise _MisusedError(f"{word} needs a value")
        value = left.pop(0)
    return name, value


def _seconds(value: str) -> float:
    try:
        limit = float(value)
    except ValueError:
        limit = 0
    if not 0 < limit <= 86400:  # nor NaN
        raise _MisusedError(f"--timeout {value}: give seconds, up to 86400")
    return limit


def _address(word: str) -> bytes:
    """The address without angle brackets. Refuses what would end the command or its path."""
    address = os.fsencode(word)
    if address.startswith(b"<") and address.endswith(b">"):
        address = address[1:-1]
    quoted = address.startswith(b'"')  # RFC 5321 4.1.2: a quoted local part may hold these
    if any(byte < 32 or byte == 127 for byte in address) or (
        not quoted and any(byte in address for byte in b" <>")
    ):
        raise _MisusedError(f"not an address: {word}")
    return address


# --- the dialog ------------------------------------------------------------------------------


def _run(words: list[str]) -> tuple[int, str]:
    """The exit status, and what to say of it. Raises `DeferredError`, `OSError` and what else."""
    asked = _Asked(words)
    signal.setitimer(signal.ITIMER_REAL, asked.limit)
    parent = _Parent()
    # Before the daemon is spoken to: it need not wait for a mail that never comes.
    first = os.read(0, _BLOCK)
    if not first:
        raise DeferredError("there is no mail on standard input")
    daemon = LmtpClient(asked.where)
    refused: list[str] = []
    taken = envelope_commands(daemon, asked.sender, asked.recipients, refused)
    if taken:
        daemon.ask(b"DATA", 354)
        _send_mail(daemon, first, parent)
        # RFC 2033 4.2: one reply for each recipient that was accepted, in their order.
        for recipient in taken:
            code, text = daemon.reply()
            interpret_reply(code, f"<{printable_reply(recipient)}>: {text}", refused)
        daemon.leave()
    return (EX_NOUSER, refused[0]) if refused else (EX_OK, "")


def _send_mail(daemon: LmtpClient, block: bytes, parent: "_Parent") -> None:
    """Standard input as RFC 5321 4.5.2 wants it, and the final dot. One block in memory."""
    wire = DotStuffedWriter()
    while block:
        daemon.send(wire.add(block))
        block = os.read(0, _BLOCK)
    if parent.gone():
        # It has died, perhaps before the end of what it wrote; its end looks like the mail's.
        raise DeferredError("the program that gave the mail is gone; it may not be whole")
    rest = wire.end()
    # A reply that is there already speaks of something else, and must not count as the 250.
    daemon.expect_silence()
    daemon.send(rest)


class _Parent:
    """Who gave us the mail: the process that started us, or the one that `$INGEST_PARENT` names
    where a shell script stands in between (docs/postfix/ingest-pipe).
    """

    __slots__ = ("_direct", "_pid")

    def __init__(self) -> None:
        self._direct = os.getppid()
        named = os.environ.get("INGEST_PARENT", "")
        self._pid = int(named) if named.isascii() and named.isdigit() else self._direct

    def gone(self) -> bool:
        """Whether it has died, or is about to: the kernel closes its files, which is the end of
        our input, before it lets anyone know that it is dead.
        """
        if os.getppid() != self._direct:
            return True
        try:
            file = os.open(f"/proc/{self._pid}/stat", os.O_RDONLY)
            fields = os.read(file, 4096).rpartition(b")")[2].split()
            os.close(file)
        except OSError:  # no /proc, or one that hides other users' processes (hidepid)
            return _is_gone(self._pid)
        return bool(int(fields[6]) & 0x4)  # proc(5) "flags": PF_EXITING


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # there, and another user's
        return False
    return False


# --- the process -----------------------------------------------------------------------------


def _catch_signals() -> None:
    """End with 75 on every signal that would end us, whatever our parent left behind.

    Not those that a fault of the processor raises: they are for the thread that is at fault.
    (Postfix keeps a mail whose program dies of a signal.)

    A thread waits for them. A handler of Python's runs between two steps of the program, so that
    a signal that comes just before a blocking call would be heeded when that call ends: never,
    where it waits for a mail or a daemon that says nothing.
    """
    left = {
        *(signal.SIGKILL, signal.SIGSTOP),
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
        *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH),
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    }
    caught = signal.valid_signals() - left
    signal.pthread_sigmask(signal.SIG_SETMASK, caught)
    _thread.stack_size(_STACK)
    _thread.start_new_thread(_wait_for_signal, (caught,))


def _wait_for_signal(caught: "set[signal.Signals]") -> None:
    """In a thread: wait for one of these, which are blocked, and end."""
    number = signal.sigwait(caught)
    if number == signal.SIGALRM:
        _say("4.3.0 ingest: the time limit is over, and the daemon has not taken the mail")
    else:
        _say(f"4.3.0 ingest: ended by signal {number}")
    os._exit(EX_TEMPFAIL)


def _open_standard_files() -> None:
    """Make sure that 0, 1 and 2 are taken: else the connection would be standard error."""
    while (lowest := os.open(os.devnull, os.O_RDWR)) < 3:
        continue
    os.close(lowest)


def _help() -> int:
    """Print the help. 0 is for a person only: a mail that waits on standard input is not taken."""
    import stat

    person = stat.S_ISCHR(os.fstat(0).st_mode)
    os.write(1 if person else 2, HELP.encode())
    return EX_OK if person else EX_TEMPFAIL


def _say(text: str) -> None:
    """One line on standard error, if that can be. It never changes the exit status."""
    try:
        os.write(2, (printable_reply(text)[:500] + "\n").encode())
    except BaseException:  # noqa: BLE001 - out of memory, or nobody listens
        return


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
