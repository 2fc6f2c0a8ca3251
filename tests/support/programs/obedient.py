"""`ingest` whose workers obey their mail (`bad_worker`), with a lease that a test can wait for."""

from __future__ import annotations

import functools

from ingest.cli import main
from ingest.daemon.deriver import Deriver, Schedule
from ingest.daemon.jobs import derive, limits
from ingest.daemon.workers.pool import WorkerPool
from tests.support.bad_worker import PROGRAM
from tests.support.programs import replace

replace(
    derive,
    WorkerPool=functools.partial(WorkerPool, program=PROGRAM),
    Deriver=functools.partial(Deriver, schedule=Schedule(lease=1.0, poll=0.2)),
)

replace(limits, LAST_DELAY=0.1)

if __name__ == "__main__":
    main()
