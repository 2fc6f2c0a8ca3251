"""`ingest` of which a part counts as stuck after three seconds, and not after two minutes."""

from __future__ import annotations

from ingest.cli import main
from ingest.daemon import app
from tests.support.programs import replace

replace(app, _STUCK_SECONDS=3.0)

if __name__ == "__main__":
    main()
