"""`ingest` that fails while a file says so: an internal error, or no file descriptors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingest.cli import main
from ingest.daemon import deriver
from ingest.daemon.jobs import limits
from ingest.daemon.workers.process import WorkerProcess
from tests.support.programs import replace

claim, request = deriver.claim_mails, WorkerProcess.request


def broken_claim(*values: Any, **more: Any) -> Any:
    """Claim, unless a file says what goes wrong."""
    if Path("no-descriptor").exists():
        raise OSError(24, "Too many open files")
    if Path("claim-broken").exists():
        raise RuntimeError("broken")
    return claim(*values, **more)


def broken_request(*values: Any, **more: Any) -> Any:
    """Ask the worker, unless a file says what goes wrong."""
    if Path("ask-broken").exists():
        raise RuntimeError("broken")
    return request(*values, **more)


replace(limits, STUCK=2.0, PATIENCE=60.0, FINISH_DERIVING=1.0, LAST_DELAY=1.0)
replace(deriver, claim_mails=broken_claim)
WorkerProcess.request = broken_request  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
