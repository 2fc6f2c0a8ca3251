"""`ingest` that waits a second, and not thirty, for its sessions to end."""

from __future__ import annotations

from ingest.cli import main
from ingest.daemon import app
from tests.support.programs import replace

replace(app, _DRAIN=1.0, _FINISH_DERIVING=1.0)

if __name__ == "__main__":
    main()
