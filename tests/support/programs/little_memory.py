"""`ingest` as in a service with LimitAS=3G."""

from __future__ import annotations

import resource

from ingest.cli import main

resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

if __name__ == "__main__":
    main()
