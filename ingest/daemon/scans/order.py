"""Define what the daemon sends to the process that scans."""

from __future__ import annotations

from ingest.config.settings import Config
from ingest.frozen import frozen


@frozen
class ScanOrder:
    """What to scan: the repositories of the configuration, for the store at `url`."""

    url: str
    config: Config
