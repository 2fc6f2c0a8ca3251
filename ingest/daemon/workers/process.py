"""Start, query and end one worker process.

Input: a request. Output: its response within the time limit, or an exception that says what
happened: `TimeoutError` where the process is silent, `WorkerEndedError` where it has ended. After
either, the process is of no use: call `close`.
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
from ingest.daemon.workers.pipe import FRAME

# The arguments for Python.
PROGRAM = ("-m", "ingest.daemon.workers.main")

# Seconds. A start imports the parser, which can take long on a machine under load.
_START_SECONDS = 60
# A response may take the worker up to the limit; its own timer expires later than ours.
_GRACE = 5
# From the end of the pipe to the end of the process: where we have closed it, and where the process
# has, whose own status says why. On a machine under load that takes seconds.
_EXIT_SECONDS = 2
DYING_SECONDS = 20
_MAX_OUTPUT = 1 << 16  # bytes to read of a worker's error output; a pipe holds no more


class WorkerEndedError(Exception):
    """The process has closed its end of the pipe. The text says why, if it never was ready."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """The limits of a worker.

    `seconds`: of wall-clock time for one mail; `memory`: bytes of address space; `mails`: after so
    many mails a worker is replaced, so that leaks do not matter.
    """

    seconds: float = 30
    memory: int = 1 << 30
    mails: int = 2_000


class WorkerProcess:
    """A worker process and our end of its pipe. One thread uses it; any thread may `kill` it."""

    def __init__(self, limits: WorkerLimits, program: Sequence[str] = PROGRAM) -> None:
        """Start a process and wait until it is ready.

        Raises `OSError`, `TimeoutError` or `WorkerEndedError`, whose text is one line, and then
        leaves nothing behind.
        """
        self._pipe, child_end = socket.socketpair()
        try:
            with child_end, _open_pipe() as (output, child_output), _dup_standard_error() as log:
                arguments = [str(limits.memory), str(limits.seconds + _GRACE), str(log)]
                self._process = subprocess.Popen(
                    # -P: do not import from the current directory of the daemon.
                    [sys.executable, "-P", *program, *arguments],
                    stdin=child_end.fileno(),
                    stdout=child_end.fileno(),
                    # Until it is ready; the reason of a failed start becomes one line of the log.
                    stderr=child_output.fileno(),
                    pass_fds=[log],
                    env=_environment(),
                    process_group=0,  # a terminal's ^C is for the daemon
                )
                child_end.close()
                child_output.close()
                self._wait_until_ready(output)
        except BaseException:
            self._pipe.close()
            raise

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Tell whether the process has not ended."""
        return self._process.poll() is None

    def request(self, request: bytes, *, seconds: float) -> bytes:
        """Send a request and return the response.

        Raises `TimeoutError` and `WorkerEndedError`.
        """
        deadline = time.monotonic() + seconds
        self._pipe.settimeout(seconds)
        try:
            self._pipe.sendall(FRAME.pack(len(request)))
            self._pipe.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            raise WorkerEndedError from None
        return self._receive(deadline)

    def kill(self) -> None:
        """Kill the process now. A `request` in progress raises `WorkerEndedError`."""
        self._process.kill()

    def close(self, *, seconds: float = _EXIT_SECONDS) -> int:
        """Close the pipe and wait for the process; kill it where that takes longer.

        Returns its exit status, or minus the number of the signal that ended it.
        """
        self._pipe.close()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _wait_until_ready(self, output: FileIO) -> None:
        try:
            self._receive(time.monotonic() + _START_SECONDS)
        except TimeoutError:
            self.close()
            raise TimeoutError(f"a worker was not ready after {_START_SECONDS} s") from None
        except WorkerEndedError:
            status = self.close()
            raise WorkerEndedError(_last_line(output) or _describe_status(status)) from None
        except BaseException:
            self.close()
            raise

    def _receive(self, deadline: float) -> bytes:
        (length,) = FRAME.unpack(self._receive_exactly(FRAME.size, deadline))
        return bytes(self._receive_exactly(length, deadline))

    def _receive_exactly(self, length: int, deadline: float) -> bytearray:
        received = bytearray(length)
        view = memoryview(received)
        position = 0
        while position < length:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            self._pipe.settimeout(remaining)
            try:
                count = self._pipe.recv_into(view[position:])
            except ConnectionResetError:
                count = 0
            if count == 0:
                raise WorkerEndedError
            position += count
        return received


@contextmanager
def _open_pipe() -> Iterator[tuple[FileIO, FileIO]]:
    read, write = os.pipe()
    with FileIO(read, "r") as reader, FileIO(write, "w") as writer:
        yield reader, writer


@contextmanager
def _dup_standard_error() -> Iterator[int]:
    """Open a second descriptor of our standard error, for a child whose own is something else."""
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


def _last_line(output: FileIO) -> str:
    """Return the last line of the output: the exception, where it is a traceback."""
    os.set_blocking(output.fileno(), False)  # the worker's own children may have the other end
    lines = (output.read(_MAX_OUTPUT) or b"").decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _describe_status(status: int) -> str:
    """Return how a process ended, for people."""
    return f"signal {-status}" if status < 0 else f"status {status}"


# What a parser needs of our environment: nothing that names a database or a credential.
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "TZ")


def _environment() -> dict[str, str]:
    """Return the environment of a worker, with the path of this very program."""
    kept = {key: value for key, value in os.environ.items() if key in _KEPT_VARIABLES}
    paths = [str(Path(ingest.__file__).parent.parent)]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}
