"""`ingest` that waits a second for locks, and not sixty, and is stuck after three."""

from __future__ import annotations

import functools

from ingest.cli import main
from ingest.daemon import app
from ingest.daemon.acceptor import Acceptor
from ingest.daemon.deriver import Deriver, Schedule
from tests.support.programs import replace

replace(
    app,
    _STUCK_SECONDS=3.0,
    Deriver=functools.partial(Deriver, schedule=Schedule(timeout=1.0)),
    Acceptor=functools.partial(Acceptor, timeout=1.0),
)

if __name__ == "__main__":
    main()
