"""The child process that derives mail for the daemon, and may be killed at any time.

Input: requests on standard input, each the pickle of a `Delivery` and a `Config` behind its
length in 8 octets. Output: for each, in the same frame on standard output, the pickle of a
`Derived` or a `Failure`; and one empty frame before all, when it is ready. The pipe is our own,
nobody else can write to it, and both ends trust it: pickle is safe here and nowhere else.

Content that we did not write is parsed under a limit of memory and of time. When memory runs
out the process ends with a status that says so, since nothing in it can be relied on then. It
imports no database, writes no core file, and when the daemon is gone it ends by itself.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import struct
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ingest.config.file import Config
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.derive import derive_or_fail

FRAME = struct.Struct("!Q")
READY = b""
# Statuses of our own, above those that Python and the shell use.
MEMORY_STATUS = 83
CUT_OFF_STATUS = 84

# Octets that there must be for a mail beside the program itself.
_ROOM = 16 << 20

_OUT_OF_MEMORY = f"parse-failed: {MemoryError.__name__}"


def main() -> None:
    """Serve requests until the daemon closes the pipe. Arguments: octets of address space,
    seconds for one mail, the descriptor of the log.
    """
    memory, seconds, log = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    requests, answers = _pipe()
    _limit(memory)
    _write_to(log)
    try:
        _send(answers, READY)
        while (request := _receive(requests)) is not None:
            # Should the daemon be gone, nobody else ends a mail that takes for ever.
            signal.setitimer(signal.ITIMER_REAL, seconds)
            _send(answers, _answer(request))
            signal.setitimer(signal.ITIMER_REAL, 0)
    except MemoryError:
        os._exit(MEMORY_STATUS)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(CUT_OFF_STATUS)  # the daemon has gone, or given this one up


def _answer(request: bytes) -> bytes:
    delivery, config = pickle.loads(request)  # noqa: S301 - our own pipe
    assert isinstance(delivery, Delivery)
    assert isinstance(config, Config)
    outcome: Derived | Failure = derive_or_fail(delivery, config)
    if isinstance(outcome, Failure) and outcome.reason.startswith(_OUT_OF_MEMORY):
        raise MemoryError
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    """Our ends of it, out of reach for anything that would print."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return requests, answers


def _write_to(log: int) -> None:
    """From here on what goes wrong is a mail's doing, and of interest at once: to the log."""
    sys.excepthook = _told
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)


def _limit(memory: int) -> None:
    memory = memory_limit(memory)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        bytearray(_ROOM)
    except MemoryError:
        # Said before any mail is here to be blamed for it.
        raise MemoryError(f"{memory} bytes of address space are too few for a worker") from None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The daemon decides when we end: it lets the mail in hand be finished, and closes the pipe.
    # A service manager signals all of us.
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Where the whole machine runs out of memory, a worker is to go before the daemon. (Not on
    # Linux, or not allowed: the daemon is then as likely to go.)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def memory_limit(memory: int) -> int:
    """As much of this as a process may have that we start: a hard limit cannot be raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return memory if hard == resource.RLIM_INFINITY else min(memory, hard)


def _receive(requests: BinaryIO) -> bytes | None:
    """The next request, None at the end."""
    head = requests.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    (length,) = FRAME.unpack(head)
    request = requests.read(length)
    return request if len(request) == length else None


def _send(answers: BinaryIO, answer: bytes) -> None:
    answers.write(FRAME.pack(len(answer)))
    answers.write(answer)
    answers.flush()


def _told(kind: type[BaseException], _: BaseException, where: TracebackType | None) -> None:
    """Say on standard error where it died, and not the text, which may quote the mail."""
    traceback.print_tb(where)
    sys.stderr.write(f"ingest worker: {kind.__name__}\n")


if __name__ == "__main__":
    main()
