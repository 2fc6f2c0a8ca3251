"""`ingest` that waits a second for locks, and not sixty, and is stuck after three."""

from __future__ import annotations

import functools

from ingest.cli import main
from ingest.daemon.acceptor import Acceptor
from ingest.daemon.deriver import Deriver, Schedule
from ingest.daemon.jobs import accept, derive, limits
from tests.support.programs import replace

replace(limits, STUCK=3.0)
replace(derive, Deriver=functools.partial(Deriver, schedule=Schedule(timeout=1.0)))
replace(accept, Acceptor=functools.partial(Acceptor, timeout=1.0))

if __name__ == "__main__":
    main()
