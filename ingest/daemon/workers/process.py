"""One worker process, seen from the daemon: started, asked, and ended in any case.

Input: a request. Output: its answer within the time that it is given, or an exception that says
which way it went: `TimeoutError` where the child is silent, `ChildEndedError` where it is gone.
After either the child is of no use: `end` it.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import ingest
from ingest.daemon.workers.main import FRAME

# What Python is to run.
PROGRAM = ("-m", "ingest.daemon.workers.main")

# Seconds. A start imports the parser; a machine under load may take long for it.
_START = 60
# An answer to a mail takes a worker up to the limit; its own timer rings later than ours.
_GRACE = 5
# From the end of the pipe to the end of the process.
_FAREWELL = 2
_MOST_SAID = 1 << 16  # octets that are read of what a child said; a pipe holds no more


class ChildEndedError(Exception):
    """The process closed its end of the pipe. The text says why, where it never was ready."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one mail may take. `seconds`: of the clock on the wall; `memory`: octets of address
    space; `mails`: after so many a worker is replaced, whatever it may have gathered.
    """

    seconds: float = 30
    memory: int = 1 << 30
    mails: int = 2_000


class WorkerProcess:
    """A worker process and our end of its pipe. One thread uses it; any may `kill` it."""

    def __init__(self, limits: WorkerLimits, program: Sequence[str] = PROGRAM) -> None:
        """Start one and wait until it is ready. Raises OSError, `TimeoutError` or
        `ChildEndedError`, whose text is one line, and then has left nothing behind.
        """
        self._pipe, theirs = socket.socketpair()
        try:
            with theirs, _new_pipe() as (said, says), _standard_error() as log:
                arguments = [str(limits.memory), str(limits.seconds + _GRACE), str(log)]
                self._process = subprocess.Popen(
                    # -P: not from whatever folder the daemon happens to be in.
                    [sys.executable, "-P", *program, *arguments],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    # Until it is ready; why it cannot start is for one line of the log.
                    stderr=says.fileno(),
                    pass_fds=[log],
                    env=_environment(),
                    process_group=0,  # a terminal's ^C is for the daemon
                )
                theirs.close()
                says.close()
                self._wait_until_ready(said)
        except BaseException:
            self._pipe.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes, *, seconds: float) -> bytes:
        """Send a request and wait for its answer. Raises `TimeoutError`, `ChildEndedError`."""
        deadline = time.monotonic() + seconds
        self._pipe.settimeout(seconds)
        try:
            self._pipe.sendall(FRAME.pack(len(request)))
            self._pipe.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            raise ChildEndedError from None
        return self._receive(deadline)

    def kill(self) -> None:
        """End it now. Whoever is asking it hears `ChildEndedError`."""
        self._process.kill()

    def end(self) -> int:
        """Close the pipe and see the process off. How it ended: its status, or minus the
        number of the signal.
        """
        self._pipe.close()
        try:
            return self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _wait_until_ready(self, said: FileIO) -> None:
        try:
            self._receive(time.monotonic() + _START)
        except TimeoutError:
            self.end()
            raise TimeoutError(f"a worker was not ready after {_START} s") from None
        except ChildEndedError:
            status = self.end()
            raise ChildEndedError(_last_line(said) or _ending(status)) from None
        except BaseException:
            self.end()
            raise

    def _receive(self, deadline: float) -> bytes:
        (length,) = FRAME.unpack(self._exactly(FRAME.size, deadline))
        return bytes(self._exactly(length, deadline))

    def _exactly(self, length: int, deadline: float) -> bytearray:
        received = bytearray(length)
        view = memoryview(received)
        at = 0
        while at < length:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._pipe.settimeout(left)
            try:
                count = self._pipe.recv_into(view[at:])
            except ConnectionResetError:
                count = 0
            if count == 0:
                raise ChildEndedError
            at += count
        return received


@contextmanager
def _new_pipe() -> Iterator[tuple[FileIO, FileIO]]:
    read, write = os.pipe()
    with FileIO(read, "r") as said, FileIO(write, "w") as says:
        yield said, says


@contextmanager
def _standard_error() -> Iterator[int]:
    """A second descriptor of our standard error, for a child whose own is something else."""
    try:
        log = os.dup(2)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        log = os.open(os.devnull, os.O_WRONLY)  # the daemon was started without one
    try:
        yield log
    finally:
        os.close(log)


def _last_line(said: FileIO) -> str:
    """The last line of what was said: the exception, where it is a traceback."""
    os.set_blocking(said.fileno(), False)  # its own children may have the other end
    lines = (said.read(_MOST_SAID) or b"").decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _ending(status: int) -> str:
    """How a process ended, for people."""
    return f"signal {-status}" if status < 0 else f"status {status}"


# What a parser needs of our environment: nothing that names a database or a credential.
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "TZ")


def _environment() -> dict[str, str]:
    """The child's, with the place of this very program."""
    kept = {key: value for key, value in os.environ.items() if key in _KEPT}
    paths = [str(Path(ingest.__file__).parent.parent)]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}
