"""`ingest` that waits a second, and not thirty, for its sessions to end."""

from __future__ import annotations

from ingest.cli import main
from ingest.daemon.jobs import limits
from tests.support.programs import replace

replace(limits, DRAIN=1.0, FINISH_DERIVING=1.0)

if __name__ == "__main__":
    main()
