"""`ingest` of which a part counts as stuck after three seconds, and is not killed for it."""

from __future__ import annotations

from ingest.cli import main
from ingest.daemon.jobs import limits
from tests.support.programs import replace

replace(limits, STUCK=3.0, PATIENCE=60.0)

if __name__ == "__main__":
    main()
