"""Derive mail in a child process of the daemon, which may be killed at any time.

Input: requests on standard input, each the pickle of a `Delivery` and a `Config` after its length
in 8 bytes. Output: for each, in the same frame on standard output, the pickle of a `Derived` or a
`Failure`; and one empty frame first, when the process is ready. The pipe is private: nobody else
can write to it, and both ends trust it. Pickle is safe here and nowhere else.

Untrusted content is parsed under a limit of memory and of time. When memory runs out, the process
ends with a status that says so, because nothing in it is reliable then. It imports no database,
writes no core file, and ends when the daemon is gone.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import dkim
import nacl.signing

from ingest.config.settings import Config
from ingest.daemon.workers.pipe import FRAME, MEMORY_STATUS, PIPE_CLOSED_STATUS, memory_limit
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.derive import derive_or_fail

READY = b""
# Modules that are imported when they are first needed are loaded before the first mail, when there
# is memory and a descriptor for them.
_PRELOADED = (dkim, nacl.signing)

# Bytes that must be available for a mail, besides the program itself.
_MIN_FREE = 16 << 20

_OUT_OF_MEMORY = f"parse-failed: {MemoryError.__name__}"


def main() -> None:
    """Serve requests until the daemon closes the pipe.

    Arguments: bytes of address space, seconds for one mail, the descriptor of the log.
    """
    memory, seconds, log = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    requests, responses = _open_pipe()
    _set_limits(memory)
    _redirect_errors(log)
    try:
        _send(responses, READY)
        while (request := _receive(requests)) is not None:
            # If the daemon is gone, nobody else ends a mail that takes for ever.
            signal.setitimer(signal.ITIMER_REAL, seconds)
            _send(responses, _handle(request))
            signal.setitimer(signal.ITIMER_REAL, 0)
    except MemoryError:
        os._exit(MEMORY_STATUS)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(PIPE_CLOSED_STATUS)  # the daemon is gone, or it has given this process up


def _handle(request: bytes) -> bytes:
    delivery, config = pickle.loads(request)  # noqa: S301 - our own pipe
    assert isinstance(delivery, Delivery)
    assert isinstance(config, Config)
    outcome: Derived | Failure = derive_or_fail(delivery, config)
    if isinstance(outcome, Failure) and outcome.reason.startswith(_OUT_OF_MEMORY):
        raise MemoryError
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


def _open_pipe() -> tuple[BinaryIO, BinaryIO]:
    """Open our ends of the pipe, on descriptors to which nothing else prints."""
    requests = os.fdopen(os.dup(0), "rb")
    responses = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return requests, responses


def _redirect_errors(log: int) -> None:
    """Send errors to the log: from here on, a mail causes them, and they matter at once."""
    sys.excepthook = _print_location
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)


def _set_limits(memory: int) -> None:
    memory = memory_limit(memory)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        bytearray(_MIN_FREE)
    except MemoryError:
        # Reported before a mail is here that would be blamed for it.
        raise MemoryError(f"{memory} bytes of address space are too few for a worker") from None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The daemon decides when we end: it lets us finish the current mail, and closes the pipe. A
    # service manager sends its signals to all of us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Where the machine runs out of memory, a worker should be killed before the daemon. (Where
    # this is not Linux, or not allowed, the daemon is as likely to be killed.)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _receive(requests: BinaryIO) -> bytes | None:
    """Read the next request. Returns None at the end."""
    head = requests.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    (length,) = FRAME.unpack(head)
    request = requests.read(length)
    return request if len(request) == length else None


def _send(responses: BinaryIO, response: bytes) -> None:
    responses.write(FRAME.pack(len(response)))
    responses.write(response)
    responses.flush()


def _print_location(
    kind: type[BaseException], _: BaseException, where: TracebackType | None
) -> None:
    """Print where the process died, but not the message, which may quote the mail."""
    traceback.print_tb(where)
    sys.stderr.write(f"ingest worker: {kind.__name__}\n")


if __name__ == "__main__":
    main()
