"""`ingest` whose claims end soon: a killed daemon's mail is free for others after two seconds."""

from __future__ import annotations

import functools

from ingest.cli import main
from ingest.daemon.deriver import Deriver, Schedule
from ingest.daemon.jobs import derive
from tests.support.programs import replace

replace(derive, Deriver=functools.partial(Deriver, schedule=Schedule(lease=2, poll=0.5)))

if __name__ == "__main__":
    main()
