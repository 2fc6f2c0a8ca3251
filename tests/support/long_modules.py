"""List modules of `ingest` that are too long; `make lint` fails while there are any.

    python tests/support/long_modules.py

A module with two jobs is divided where they meet. One that is long and has one job stays whole,
and `ALLOWED` says what that job is, or what still has to be divided.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ingest"

MAX_LINES = 300

# module -> why it is not divided
ALLOWED = {
    "api/endpoints/openapi.py": "one description, read from top to bottom",
    "config/file.py": "one function for each table of the configuration file",
    "daemon/acceptor.py": "one object whose parts share a lock",
    "daemon/app.py": "start and stop, in reverse order of each other",
    "daemon/deriver.py": "one thread and its state",
    "daemon/dns/stage.py": "one object whose parts share a lock",
    "daemon/workers/pool.py": "one object whose parts share a lock",
    "lifecycle/announced_lists.py": "one grammar",
    "lifecycle/landing.py": "one rule: the comparison of a commit with patches, in order of weight",
    "replay/replay.py": "replay and reparse are the same steps with another source",
    "series/arrange.py": "one function and its steps",
    "series/links/supersede.py": "one rule: which posting a series supersedes",
    "smtp/protocol.py": "one method for each command; their state is that of the session",
    "sources/git_commits.py": "every call of git on a repository that may be hostile",
    "sources/mbox.py": "one grammar",
    "store/activity/events.py": "recording and publishing, whose locks one docstring explains",
    "store/activity/overrides.py": "one table: what people set, read and written",
    "store/inbox/queue.py": "one protocol: leases, suspects, and the order of locks",
    "store/listing.py": "one table and everything that keeps it",
    "store/migrations/versions/v0001_initial.py": "one statement for each table",
    "store/read/messages.py": "one query for each part of a message",
    "store/read/pages/listing_pages.py": "one search: each way to find a page, and which is taken",
    "store/read/revisions.py": "one query for each part of a revision link",
    "store/states/landing.py": "one job: the store's side of `lifecycle/landing.py`",
    "store/states/links.py": "one job: the store's side of `series/links/supersede.py`",
    "store/verify/consistency.py": "one check for each table",
    "store/verify/snapshot.py": "one query for each table, for rows that may be damaged",
    "store/write/fast_path/decision.py": "one decision, step by step",
    "store/write/fast_path/rows.py": "one query for each thing that the decision reads",
    "store/write/grouping.py": "one step of storing: from mails to messages",
    "store/write/message_rows.py": "one function for each table of a message",
    "store/write/record.py": "the order of the steps of storing",
    "store/write/series_rows.py": "one function for each table of a series",
    "submit/pipe.py": "one program that may import nothing else: it starts for each mail",
    "trust/from_munging.py": "one function for each way in which lists rewrite From",
}


def line_counts(package: Path = PACKAGE) -> dict[str, int]:
    """Return the number of lines of each module."""
    return {
        path.relative_to(package).as_posix(): len(path.read_bytes().splitlines())
        for path in sorted(package.rglob("*.py"))
    }


def main() -> int:
    """Print the long modules and the exceptions that are no longer needed; return the status."""
    counts = line_counts()
    errors = [
        f"ingest/{name} has {count} lines, more than {MAX_LINES}: divide it, or say in ALLOWED "
        "why it is one job"
        for name, count in counts.items()
        if count > MAX_LINES and name not in ALLOWED
    ]
    errors += [
        f"ingest/{name} needs no exception any more"
        for name in ALLOWED
        if counts.get(name, 0) <= MAX_LINES
    ]
    for error in errors:
        print(f"long_modules: {error}", file=sys.stderr)  # noqa: T201
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
