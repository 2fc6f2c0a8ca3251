"""Run `ingest pipe`: hand one mail on standard input to the daemon by LMTP, for Postfix pipe(8).

Input: the mail, its sender and recipients, and where the daemon listens. Output: an exit status
(`ingest.smtp.replies`) and, where that is not 0, one line on standard error, which Postfix logs.
The program itself rejects nothing: a mail that the daemon answers with neither 250 nor 550 stays
with the sender.

Postfix starts this once for each mail, so it imports almost nothing: `_socket` and `_signal`
instead of `socket` and `signal`, which take as long to import as Python takes to start. And
Postfix returns a mail to its author on status 1, with which Python ends when anything goes wrong;
so everything that can be caught becomes 75 here.
"""

import _thread
import os
import sys

from ingest.smtp.replies import EX_NOUSER, EX_OK, EX_TEMPFAIL, EX_USAGE
from ingest.submit.lmtp_client import (
    DeferredError,
    DotStuffedWriter,
    LmtpClient,
    interpret_reply,
    printable_reply,
    send_envelope,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

DEFAULT_SOCKET = "/run/ingest/lmtp.sock"
# Seconds for the whole delivery. Less than Postfix's command_time_limit (1,000 s), after which
# Postfix kills the program.
DEFAULT_TIMEOUT = 300

HELP = f"""\
Usage: ingest pipe [-f SENDER] [--socket PATH|HOST:PORT] [--timeout SECONDS] [--] RECIPIENT...

  Hand one mail on standard input to the daemon by LMTP, for Postfix pipe(8).

  -f, --sender SENDER   envelope sender; '' or MAILER-DAEMON is the null sender
  --socket WHERE        where the daemon listens; default: $INGEST_SOCKET, or
                        {DEFAULT_SOCKET}
  --timeout SECONDS     time limit for the whole delivery; default: {DEFAULT_TIMEOUT}

  Exit status: 0 once the daemon has stored the mail for every recipient, 67 where it
  rejects a recipient because no list has the address, and 75 (try again) otherwise.

  Example:
    ingest pipe -f author@example.org -- list@lists.example.org < patch.eml
"""

_BLOCK = 65536
_STACK = 256 << 10  # bytes, for the thread that waits for signals


class _UsageError(DeferredError):
    """The command line is wrong."""


def main(words: list[str]) -> int:
    """Submit the mail on standard input as `words` say. Returns the exit status; never raises."""
    status = EX_TEMPFAIL
    try:
        _catch_signals()
        _open_standard_files()
        if words in (["-h"], ["--help"]):
            return _print_help()
        status, text = _submit(words)
    except _UsageError as error:
        text = f"{error}; see `ingest pipe --help`"
        if os.isatty(0):
            _print_error(f"ingest: {text}")
            return EX_USAGE
    except DeferredError as error:
        text = str(error)
    except BaseException as error:  # noqa: BLE001 - the one boundary: any other status bounces
        text = f"{type(error).__name__}: {error}"
    if status == EX_NOUSER:
        # Postfix reads a status code of RFC 3463 at the start of the text, which takes precedence
        # over the exit status. So this is the only line that may begin with a 5.
        _print_error(f"5.1.1 {text}")
    elif status != EX_OK:
        _print_error(f"4.3.0 ingest: {text}")
    return status


# --- command line ----------------------------------------------------------------------------


class _Arguments:
    """The parsed command line."""

    __slots__ = ("address", "recipients", "sender", "timeout")

    def __init__(self, words: list[str]) -> None:
        self.sender = b""
        self.address = os.environ.get("INGEST_SOCKET") or DEFAULT_SOCKET
        self.timeout = float(DEFAULT_TIMEOUT)
        self.recipients: list[bytes] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                self.recipients += [_parse_address(recipient) for recipient in rest]
                break
            if not word.startswith("-"):
                self.recipients.append(_parse_address(word))
                continue
            name, value = _parse_option(word, rest)
            if name == "--sender":
                self.sender = b"" if value == "MAILER-DAEMON" else _parse_address(value)
            elif name == "--socket":
                self.address = value
            else:
                self.timeout = _parse_seconds(value)
        if not self.recipients:
            raise _UsageError("no recipient is given")
        if b"" in self.recipients:
            raise _UsageError("a recipient is empty")


def _parse_option(word: str, rest: list[str]) -> tuple[str, str]:
    """Return an option's name and value; the value may be taken from the remaining words."""
    if word.startswith("-f"):
        name, value = "--sender", word[2:]  # sendmail's -fSENDER as well
        has_value = bool(value)
    else:
        name, equals, value = word.partition("=")
        has_value = bool(equals)
    if name not in ("--sender", "--socket", "--timeout"):
        raise _UsageError(f"no such option: {name}")
    if not has_value:
        if not rest:
            raise _UsageError(f"{word} needs a value")
        value = rest.pop(0)
    return name, value


def _parse_seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 86400:  # nor NaN
        raise _UsageError(f"--timeout {value}: not a number of seconds up to 86400")
    return seconds


def _parse_address(word: str) -> bytes:
    """Return the address without angle brackets.

    Raises `_UsageError` for characters that would end the command or its path.
    """
    address = os.fsencode(word)
    if address.startswith(b"<") and address.endswith(b">"):
        address = address[1:-1]
    is_quoted = address.startswith(b'"')  # RFC 5321 4.1.2: a quoted local part may hold these
    if any(byte < 32 or byte == 127 for byte in address) or (
        not is_quoted and any(byte in address for byte in b" <>")
    ):
        raise _UsageError(f"not an address: {word}")
    return address


# --- LMTP session ----------------------------------------------------------------------------


def _submit(words: list[str]) -> tuple[int, str]:
    """Return the exit status and its explanation. Raises `DeferredError`, `OSError` and others."""
    arguments = _Arguments(words)
    signal.setitimer(signal.ITIMER_REAL, arguments.timeout)
    parent = _Parent()
    # Read before connecting: the daemon need not wait for a mail that never arrives.
    first = os.read(0, _BLOCK)
    if not first:
        raise DeferredError("there is no mail on standard input")
    daemon = LmtpClient(arguments.address)
    rejections: list[str] = []
    accepted = send_envelope(daemon, arguments.sender, arguments.recipients, rejections)
    if accepted:
        daemon.request(b"DATA", 354)
        _send_mail(daemon, first, parent)
        # RFC 2033 4.2: one reply for each accepted recipient, in their order.
        for recipient in accepted:
            code, text = daemon.read_reply()
            interpret_reply(code, f"<{printable_reply(recipient)}>: {text}", rejections)
        daemon.quit()
    return (EX_NOUSER, rejections[0]) if rejections else (EX_OK, "")


def _send_mail(daemon: LmtpClient, block: bytes, parent: "_Parent") -> None:
    """Send standard input (RFC 5321 4.5.2) and the final dot, with one block in memory."""
    writer = DotStuffedWriter()
    while block:
        daemon.send(writer.convert(block))
        block = os.read(0, _BLOCK)
    if parent.is_gone():
        # It may have died before it wrote the whole mail; the end of input looks the same.
        raise DeferredError("the calling program has ended; the mail may be incomplete")
    rest = writer.finish()
    # A reply that has arrived already answers something else, and must not count as the 250.
    daemon.expect_silence()
    daemon.send(rest)


class _Parent:
    """The process that writes the mail.

    It is the process that started us, or the one that `$INGEST_PARENT` names where a shell script
    runs between the two (docs/postfix/ingest-pipe).
    """

    __slots__ = ("_pid", "_ppid")

    def __init__(self) -> None:
        self._ppid = os.getppid()
        named = os.environ.get("INGEST_PARENT", "")
        self._pid = int(named) if named.isascii() and named.isdigit() else self._ppid

    def is_gone(self) -> bool:
        """Tell whether the process has died or is dying.

        The kernel closes the files of a dying process, which is the end of our input, before it
        reports the death.
        """
        if os.getppid() != self._ppid:
            return True
        try:
            file = os.open(f"/proc/{self._pid}/stat", os.O_RDONLY)
            fields = os.read(file, 4096).rpartition(b")")[2].split()
            os.close(file)
        except OSError:  # no /proc, or one that hides other users' processes (hidepid)
            return _is_process_gone(self._pid)
        return bool(int(fields[6]) & 0x4)  # proc(5) "flags": PF_EXITING


def _is_process_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it exists, and belongs to another user
        return False
    return False


# --- process ---------------------------------------------------------------------------------


def _catch_signals() -> None:
    """End with 75 on every signal that would end us, whatever our parent has configured.

    This excludes signals that report a fault of the processor: they are for the thread at fault.
    (Postfix keeps a mail whose program dies of a signal.)

    A thread waits for the signals. A Python handler runs between two steps of the program, so
    that a signal just before a blocking call would take effect when that call ends: never, where
    it waits for a mail or for a silent daemon.
    """
    excluded = {
        *(signal.SIGKILL, signal.SIGSTOP),
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
        *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH),
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    }
    caught = signal.valid_signals() - excluded
    signal.pthread_sigmask(signal.SIG_SETMASK, caught)
    _thread.stack_size(_STACK)
    _thread.start_new_thread(_wait_for_signal, (caught,))


def _wait_for_signal(caught: "set[signal.Signals]") -> None:
    """Wait, in a thread, for one of these blocked signals, and end the process."""
    number = signal.sigwait(caught)
    if number == signal.SIGALRM:
        _print_error("4.3.0 ingest: time limit exceeded; the daemon has not accepted the mail")
    else:
        _print_error(f"4.3.0 ingest: ended by signal {number}")
    os._exit(EX_TEMPFAIL)


def _open_standard_files() -> None:
    """Make sure that 0, 1 and 2 are open: else the connection would become standard error."""
    while (lowest := os.open(os.devnull, os.O_RDWR)) < 3:
        continue
    os.close(lowest)


def _print_help() -> int:
    """Print the help. Returns 0 for a person only: mail on standard input is not accepted."""
    import stat

    is_person = stat.S_ISCHR(os.fstat(0).st_mode)
    os.write(1 if is_person else 2, HELP.encode())
    return EX_OK if is_person else EX_TEMPFAIL


def _print_error(text: str) -> None:
    """Print one line on standard error, if possible. It never changes the exit status."""
    try:
        os.write(2, (printable_reply(text)[:500] + "\n").encode())
    except BaseException:  # noqa: BLE001 - out of memory, or nobody reads
        return


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
