"""Run `ingest` in a process of its own that starts in 20 ms, forked from one with the libraries.

A command of `python -m ingest` spends half a second on imports, and the suite runs hundreds. The
server imports the third-party libraries and the modules that every command needs once for each
process of the tests, and then forks a child for each command. The child gets its own standard
files, folder and environment, runs `ingest.__main__.main`, or that of another module, and ends as
Python ends. What depends on the start of the interpreter (PYTHON* variables, locale, memory, the
console script) needs `subprocess` instead.

    process = start(["series"], cwd=folder, stdin=0, stdout=1, stderr=2, env={})
    status = process.wait(120)     # as of subprocess: negative for a signal
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import io
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_FRAME = struct.Struct("!I")
_INT = struct.Struct("!i")
_PROGRAM = "ingest.__main__"
_LIBRARIES = (
    "alembic.command",
    "click",
    "dkim",
    "dns.resolver",
    "nacl.signing",
    "psycopg",
    "publicsuffixlist",
    "rich.progress",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "zstandard",
)
# Not the commands: that each imports what it needs is for the tests to show.
_MODULES = (
    "ingest.cli",
    "ingest.pipeline.store",
    "ingest.replay.replay",
    "ingest.reports.export",
    "ingest.store.verify.consistency",
)


class ForkedProcess:
    """A command that runs; a part of `subprocess.Popen`."""

    def __init__(self, connection: socket.socket, arguments: Sequence[str]) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self._connection = connection
        self.pid: int = _INT.unpack(_receive(connection, _INT.size))[0]

    def wait(self, timeout: float) -> int:
        """Return the status; kill it and raise `TimeoutExpired` if it takes longer (seconds)."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                status = _INT.unpack(_receive(self._connection, _INT.size))[0]
            except TimeoutError:
                os.kill(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(self.args, timeout) from None
            finally:
                self._connection.close()
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int | None,
    stdout: int | None,
    stderr: int,
    program: str = _PROGRAM,
) -> ForkedProcess:
    """Start `ingest ARGUMENTS` with these descriptors, which stay the caller's; None: closed.

    `program`: the module whose `main` is run.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        _server().send_connection(theirs)
    standard = (stdin, stdout, stderr)
    request = pickle.dumps(
        (
            program,
            list(arguments),
            str(cwd),
            dict(env),
            [number is not None for number in standard],
        )
    )
    socket.send_fds(ours, [_FRAME.pack(len(request))], [fd for fd in standard if fd is not None])
    ours.sendall(request)
    return ForkedProcess(ours, arguments)


def run(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes,
    timeout: float,
    program: str = _PROGRAM,
) -> subprocess.CompletedProcess[bytes]:
    """Run `ingest ARGUMENTS` to its end, as `subprocess.run` with `capture_output` does."""
    with contextlib.ExitStack() as stack:
        reading, writing = zip(*(os.pipe() for _ in range(3)), strict=True)
        source = stack.enter_context(os.fdopen(writing[0], "wb", buffering=0))
        sinks = [stack.enter_context(os.fdopen(fd, "rb")) for fd in reading[1:]]
        try:
            process = start(
                arguments, cwd=cwd, env=env,
                stdin=reading[0], stdout=writing[1], stderr=writing[2], program=program,
            )  # fmt: skip
        finally:
            for fd in (reading[0], writing[1], writing[2]):
                os.close(fd)
        outputs: list[bytes] = [b"", b""]

        def feed() -> None:
            with contextlib.suppress(BrokenPipeError):
                view = memoryview(stdin)
                while view:
                    view = view[source.write(view) :]
            source.close()

        def collect(number: int) -> None:
            outputs[number] = sinks[number].read()

        threads = [threading.Thread(target=feed)]
        threads += [threading.Thread(target=collect, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            status = process.wait(timeout)
        finally:
            for thread in threads:
                thread.join(timeout)
    return subprocess.CompletedProcess(process.args, status, *outputs)


class _Server:
    """The server as a child of this process. It ends when this process does."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def send_connection(self, connection: socket.socket) -> None:
        with self._lock:
            socket.send_fds(self._control, [b"."], [connection.fileno()])

    def close(self) -> None:
        self._control.close()
        self._process.wait(10)


@functools.cache
def _server() -> _Server:
    return _Server()


# --- the server's side --------------------------------------------------------------------------


def _serve(control: socket.socket) -> str | None:
    """Fork for each connection. In a child that is to run a command, return its program."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return None
        if os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _supervise(socket.socket(fileno=fds[0]))
        os.close(fds[0])


def _supervise(connection: socket.socket) -> str:
    """Fork the command, and report its id and how it ended. In the command, return its program."""
    frame, fds, _, _ = socket.recv_fds(connection, _FRAME.size, 3)
    program, *request = pickle.loads(_receive(connection, _FRAME.unpack(frame)[0]))
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become(*request, fds=fds)
        return str(program)
    for fd in (0, 1, 2, *fds):
        os.close(fd)
    connection.sendall(_INT.pack(pid))
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(_INT.pack(status))
    os._exit(0)


def _become(
    arguments: list[str], cwd: str, env: dict[str, str], is_open: list[bool], *, fds: list[int]
) -> None:
    """Take the command's arguments, folder, environment and standard files, as a start would."""
    sys.argv[:] = ["ingest", *arguments]
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    left = iter(fds)
    for number, present in enumerate(is_open):
        if present:
            os.dup2(next(left), number)
        else:
            os.close(number)
    for fd in fds:
        os.close(fd)
    sys.stdin = sys.__stdin__ = _open(0, "r", "strict") if is_open[0] else None  # type: ignore[assignment,misc]
    sys.stdout = sys.__stdout__ = _open(1, "w", "strict") if is_open[1] else None  # type: ignore[assignment,misc]
    sys.stderr = sys.__stderr__ = _open(2, "w", "backslashreplace")  # type: ignore[misc]


def _open(fd: int, mode: str, errors: str) -> io.TextIOWrapper:
    raw = io.FileIO(fd, mode, closefd=False)
    buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    line_buffering = fd == 2 or (mode == "w" and raw.isatty())
    return io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=line_buffering)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError("the fork server has ended")
        data += piece
    return data


if __name__ == "__main__":
    for library in (*_LIBRARIES, *_MODULES):
        importlib.import_module(library)
    gc.collect()
    gc.freeze()
    if program := _serve(socket.socket(fileno=int(sys.argv[1]))):
        importlib.import_module(program).main()
