"""`ingest N …` in small batches, killed before statement or commit number N of a process."""

from __future__ import annotations

import os
import signal
import sys

from sqlalchemy import Engine, event

from tests.support.programs.small_batches import main as small_batches


def main() -> None:
    """Kill this process, or a child of it, before its statement or commit with that number."""
    left = int(sys.argv.pop(1))

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
    small_batches()


if __name__ == "__main__":
    main()
