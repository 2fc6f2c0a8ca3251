"""What the write path takes: mail as it was accepted, and what deriving made of it."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime

from ingest.frozen import frozen
from ingest.mail.defect import Defect
from ingest.mail.message import Address, ListName
from ingest.patch.trailer import Trailer
from ingest.series.facts import Facts
from ingest.trust.authres import AuthResults
from ingest.trust.from_munging import MungingStyle, PersonSource
from ingest.trust.signatures.dns_answer import Keys
from ingest.trust.signatures.verdict import Result, Verdict

# The source of mail out of an archive: it came long before it came to us.
REPLAY = "replay"

# Stands in a route for the lists that the mail's own headers name: it came to an address at which
# List-Id decides. Routes of repeated deliveries add up, so this must be said as lists are.
BY_LIST_ID = "*"


@frozen(kw_only=True)
class Delivery:
    """One mail as it came. `sha256`: of `raw`; `route`: list ids that the delivery itself named,
    which then count alone, unless `BY_LIST_ID` is among them.

    `keys`: what DNS said of the keys that its signatures name; None where nobody asked. `arrived`:
    when it came, UTC and naive, None where it came out of an archive; it is of the row and not of
    the mail, so that the same delivery with another is the same. `packed`: codec and stored form
    of `raw`, where these were made in advance (`store.inbox.codec`).
    """

    raw: bytes
    sha256: bytes
    source: str
    route: tuple[str, ...] = ()
    container_errors: tuple[Defect, ...] = ()
    withdrawn: bool = False
    envelope: str | None = None
    keys: Keys | None = None
    arrived: datetime | None = field(default=None, compare=False)
    packed: tuple[int, bytes] | None = field(default=None, compare=False)


def arrival(source: str, accepted: datetime) -> datetime | None:
    """`Delivery.arrived` of a stored mail."""
    return None if source == REPLAY else accepted


@frozen
class Dependency:
    """What a message says it builds on. `kind`: base-commit, patch-id, change-id, message or
    url; `target`: the commit, id, Message-ID or URL.
    """

    kind: str
    target: str


@frozen(kw_only=True)
class Derived:
    """A mail, parsed and classified: all that its rows hold, but for its place in a thread.

    `fingerprint`: equal for copies of one message that lists or relays changed in form only.
    `rank`: among copies the least is the best. `received_at`: when the list's server had it.
    `links`: every id that it names; `ignored`: why it takes no part, else None.

    `rewriting`, `person_source`: what stood in From and where the person was found. `keys`: as of the
    delivery; where they are None, nothing is judged: `verdicts` is empty, `chain` is None.
    """

    sha256: bytes
    facts: Facts
    fingerprint: str
    rank: str
    received_at: datetime | None
    links: tuple[str, ...]
    subject: str
    sender: Address
    author: Address | None
    lists: tuple[ListName, ...]
    reason: str
    ignored: str | None
    defects: tuple[Defect, ...]
    content: str
    diff: str | None
    patch_id: str | None
    pull_url: str | None
    state: str
    dependencies: tuple[Dependency, ...]
    trailers: tuple[Trailer, ...]
    rewriting: MungingStyle | None = None
    person_source: PersonSource | None = None
    keys: Keys | None = None
    verdicts: tuple[Verdict, ...] = ()
    chain: Result | None = None
    auth_results: tuple[AuthResults, ...] = ()


@frozen
class Failure:
    """A mail that our own code could not derive; it is kept, with the reason."""

    sha256: bytes
    reason: str
