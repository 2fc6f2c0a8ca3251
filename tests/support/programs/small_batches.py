"""`ingest` with five mails a batch, so that a small archive has many batches."""

from __future__ import annotations

from ingest.cli import main
from ingest.replay import replay
from tests.support.programs import replace

replace(replay, REPLAY_BATCH=5)

if __name__ == "__main__":
    main()
