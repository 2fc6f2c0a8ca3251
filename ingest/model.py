"""Define the values of the write path: accepted mail, and the result of deriving it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from ingest.frozen import frozen

if TYPE_CHECKING:  # what reads one of the constants need not import all that derives
    from datetime import datetime

    from ingest.lifecycle.announcement import Announcements
    from ingest.mail.defect import Defect
    from ingest.mail.message import Address, ListName
    from ingest.patch.trailers.trailer import Trailer
    from ingest.series.facts import Facts
    from ingest.trust.authres import AuthResults
    from ingest.trust.from_munging import MungingStyle, PersonSource
    from ingest.trust.signatures.dns_answer import Keys
    from ingest.trust.signatures.verdict import Result, Verdict

# The source of mail from an archive, which other servers received long before it was replayed.
REPLAY = "replay"

# The source of a mail that was made from a row of Patchwork, which does not keep the mail itself.
# It is used instead of the mail until that is received: see `is_substitute`.
PATCHWORK = "patchwork"

# In a route, the lists that the mail's own headers name: the recipient is an address at which
# List-Id decides. It is written as a list since routes of repeated deliveries add up.
BY_LIST_ID = "*"


@frozen(kw_only=True)
class Delivery:
    """Hold one mail as it was received.

    `sha256`: of `raw`. `route`: the list ids that the delivery itself named; no others count,
    unless `BY_LIST_ID` is among them. `keys`: the DNS answers for the keys that its signatures
    name; None where DNS was not queried. `arrived`: the time of arrival, naive and in UTC, None
    for mail from an archive; it is a property of the row and not of the mail, so that two
    deliveries that differ in it alone are equal. `packed`: codec and stored form of `raw`,
    where these were made in advance (`store.inbox.codec`).
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
    """Return `Delivery.arrived` for a stored mail."""
    return None if source in (REPLAY, PATCHWORK) else accepted


# How the ranks begin of mails that were made from rows of Patchwork, after all others.
SUBSTITUTE_RANK = "2"


def is_substitute(rank: str) -> bool:
    """Tell by its rank whether a mail was made from a row of Patchwork.

    Its text is not that of the mail in every byte. So it is a copy of whatever message has the id,
    and never a variant of it.
    """
    return rank.startswith(SUBSTITUTE_RANK)


@frozen
class Dependency:
    """Hold one thing on which a message says that it depends.

    `kind`: base-commit, patch-id, change-id, message or url. `target`: the commit, id,
    Message-ID or URL.
    """

    kind: str
    target: str


@frozen(kw_only=True)
class Derived:
    """Hold a mail, parsed and classified: all that its rows hold except its place in a thread.

    `fingerprint`: equal for copies of one message that lists or relays changed in form only.
    `rank`: among copies the least is the best. `received_at`: when the list's server received
    it. `links`: every id that it names. `files`: the names of the files that a patch touches, one a
    line. `ignored`: why it is ignored, else None. `rewriting`, `person_source`: how its From was
    rewritten, and where the person was found. `keys`: those of the delivery; where they are None,
    nothing is verified: `verdicts` is empty, `chain` is None. `announcements`: of states of
    patches, None where it has none.
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
    files: str | None
    dependencies: tuple[Dependency, ...]
    trailers: tuple[Trailer, ...]
    rewriting: MungingStyle | None = None
    person_source: PersonSource | None = None
    keys: Keys | None = None
    verdicts: tuple[Verdict, ...] = ()
    chain: Result | None = None
    auth_results: tuple[AuthResults, ...] = ()
    announcements: Announcements | None = None


@frozen
class Failure:
    """Hold the reason why a mail could not be derived: an internal error. The mail is kept."""

    sha256: bytes
    reason: str
