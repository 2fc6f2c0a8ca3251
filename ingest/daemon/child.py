"""One worker process, seen from the daemon: started, asked, and ended in any case.

Input: a request. Output: its answer within the time that it is given, or an exception that says
which way it went: `TimeoutError` where the child is silent, `ChildEndedError` where it is gone.
After either the child is of no use: `end` it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ingest
from ingest.daemon.worker import FRAME

# Seconds. A start imports the parser; a machine under load may take long for it.
_START = 60
# An answer to a mail takes a worker up to the limit; its own timer rings later than ours.
_GRACE = 5
# From the end of the pipe to the end of the process.
_FAREWELL = 2


class ChildEndedError(Exception):
    """The process closed its end of the pipe."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one mail may take. `seconds`: of the clock on the wall; `memory`: octets of address
    space; `mails`: after so many a worker is replaced, whatever it may have gathered."""

    seconds: float = 30
    memory: int = 1 << 30
    mails: int = 2_000


class Child:
    """A worker process and our end of its pipe. One thread uses it; any may `kill` it."""

    def __init__(
        self, limits: Limits, program: Sequence[str] = ("-m", "ingest.daemon.worker")
    ) -> None:
        """Start one and wait until it is ready. Raises OSError, `TimeoutError` or
        `ChildEndedError`, and then has left nothing behind."""
        self._pipe, theirs = socket.socketpair()
        arguments = [str(limits.memory), str(limits.seconds + _GRACE)]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    # -P: not from whatever folder the daemon happens to be in.
                    [sys.executable, "-P", *program, *arguments],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    env=_environment(),
                    process_group=0,  # a terminal's ^C is for the daemon
                )
        except BaseException:
            self._pipe.close()
            raise
        try:
            self._receive(time.monotonic() + _START)
        except BaseException:
            self.end()
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
        number of the signal."""
        self._pipe.close()
        try:
            return self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

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


# What a parser needs of our environment: nothing that names a database or a credential.
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "TZ")


def _environment() -> dict[str, str]:
    """The child's, with the place of this very program."""
    kept = {key: value for key, value in os.environ.items() if key in _KEPT}
    paths = [str(Path(ingest.__file__).parent.parent)]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}
