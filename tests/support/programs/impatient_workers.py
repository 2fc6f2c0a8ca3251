"""`ingest` whose workers obey their mail (`bad_worker`) and have two seconds for each."""

from __future__ import annotations

from typing import Any

from ingest.cli import main
from ingest.daemon.workers import pool
from ingest.daemon.workers.pool import WorkerPool
from ingest.daemon.workers.process import WorkerLimits
from tests.support.bad_worker import PROGRAM
from tests.support.programs import replace


class ImpatientPool(WorkerPool):
    """A pool for `quarantine retry`, which imports the class when it needs one."""

    def __init__(self, *values: Any, **more: Any) -> None:
        super().__init__(*values, **more, limits=WorkerLimits(seconds=2), program=PROGRAM)


replace(pool, WorkerPool=ImpatientPool)

if __name__ == "__main__":
    main()
