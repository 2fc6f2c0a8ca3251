"""`ingest` that prints what is imported once the daemon has started."""

from __future__ import annotations

import importlib.abc
import sys
from typing import Any

from ingest.cli import main
from ingest.daemon import app
from ingest.daemon.jobs.channel import Channel
from ingest.daemon.monitoring.log import log_event
from tests.support.programs import replace


class Spy(importlib.abc.MetaPathFinder):
    """Prints the names of modules, and finds none."""

    def find_spec(self, name: str, *_: object) -> None:
        print("import", name, file=sys.stderr, flush=True)  # noqa: T201


def spy_once_started(event: str, *values: Any, **more: Any) -> None:
    """Log the event, from "started" on with the spy in place."""
    if event == "started":
        sys.meta_path.insert(0, Spy())
    log_event(event, *values, **more)


def start_channel(self: Channel, *values: Any) -> None:
    """Respond to the parent, with the spy in place: the job has started."""
    sys.meta_path.insert(0, Spy())
    start(self, *values)


start = Channel.start
replace(app, log_event=spy_once_started)
Channel.start = start_channel  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
