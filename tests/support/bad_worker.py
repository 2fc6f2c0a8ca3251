"""Run the daemon's worker with a parser that does what a mail's header `X-Do: …` says.

Run as `python -m tests.support.bad_worker`, in place of `ingest.daemon.workers.main`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from ingest.config.settings import Config
from ingest.daemon.workers import main
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.derive import derive_or_fail

PROGRAM = ("-m", "tests.support.bad_worker")


def bad(what: str, msgid: str = "bad@example.org") -> bytes:
    """Return a patch with that command."""
    from tests.support.mails import patch  # not in the worker, which is to start quickly

    return patch(msgid, headers=[f"X-Do: {what}"])


def obey(delivery: Delivery, config: Config) -> Derived | Failure:
    """Derive a mail, after doing what it says."""
    found = re.search(rb"^X-Do: (\S+) ?(.*)$", delivery.raw, re.MULTILINE)
    if found is not None:
        _do(found[1].decode(), found[2].decode())
    outcome = derive_or_fail(delivery, config)
    if found is not None and found[1] == b"nul" and isinstance(outcome, Derived):
        return replace(outcome, subject="\0")  # which PostgreSQL does not store
    return outcome


def _do(what: str, more: str) -> None:
    match what:
        case "sleep":
            time.sleep(float(more or 600))
        case "spin":
            while True:
                pass
        case "eat":
            held = []
            while True:
                held.append(bytearray(1 << 20))
        case "kill":
            os.kill(os.getpid(), getattr(signal, more))
            time.sleep(600)
        case "kill-daemon":
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(1)
        case "exit":
            sys.exit(int(more))
        case "raise":
            raise OSError(more)
        case "print":  # where the responses are written
            print("noise")  # noqa: T201
            os.write(1, b"more noise")
        case "nul":
            pass
        case "close":
            os.closerange(0, 100)
            time.sleep(600)
        case "wait":  # wait for a file, and create another one to show it
            Path(f"{more}.waits").touch()
            while not Path(more).exists():
                time.sleep(0.01)
        case "die-until":  # the file exists
            if not Path(more).exists():
                os.kill(os.getpid(), signal.SIGKILL)
        case _:
            raise AssertionError(what)


if __name__ == "__main__":
    main.derive_or_fail = obey
    main.main()
