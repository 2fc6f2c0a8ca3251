"""`ingest` whose processes are killed after two seconds without a response."""

from __future__ import annotations

from ingest.cli import main
from ingest.daemon.jobs import limits
from tests.support.programs import replace

replace(limits, PATIENCE=2.0)

if __name__ == "__main__":
    main()
