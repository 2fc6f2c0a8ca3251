"""What a listener hands on with a mail, and what it is told about it.

A listener knows a protocol and nothing of lists or databases. It asks a `DeliveryHandler` about each
recipient, gives it what came, and turns the verdicts into replies (`ingest.smtp.replies`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Protocol


class DeliveryReason(StrEnum):
    """Why a recipient or a mail is taken or not. Logged and counted: add, do not rename."""

    ACCEPTED = "accepted"  # committed; the sender may forget it
    KNOWN = "known"  # the same bytes were there already, which is just as good
    UNKNOWN_RECIPIENT = "unknown-recipient"  # no configured list has this address
    DATABASE = "database"  # the database does not take it now
    BUSY = "busy"  # too much is waiting to be committed
    STOPPING = "stopping"  # the daemon is about to end
    INTERNAL = "internal"  # a defect of ours; the mail stays with its sender


@dataclass(frozen=True, slots=True)
class Accept:
    """It is ours. `why`: `ACCEPTED` or `KNOWN`; for a recipient, that mail to it is wanted."""

    why: DeliveryReason = DeliveryReason.ACCEPTED


@dataclass(frozen=True, slots=True)
class TempFail:
    """Not now: the sender keeps it and tries again."""

    why: DeliveryReason


@dataclass(frozen=True, slots=True)
class Reject:
    """Not at all: there is no use in trying again."""

    why: DeliveryReason


Decision = Accept | TempFail | Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What the dialog said about a mail (RFC 5321 2.3.1).

    `protocol`: `lmtp` or `smtp`; `peer`: `unix` or the client's address without port; `helo`:
    how it named itself; `sender`: '' for `<>`; `recipients`: those accepted, in order, repeats
    included; `tls`: whether it came encrypted.
    """

    protocol: str
    peer: str
    helo: str
    sender: str
    recipients: tuple[str, ...]
    tls: bool = False

    def as_json(self) -> str:
        """For the `mail.envelope` column."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


class MailBody(Protocol):
    """A mail as it came over the wire, dots unstuffed, line ends kept; large ones on disk."""

    @property
    def size(self) -> int:
        """Octets."""

    @property
    def sha256(self) -> bytes:
        """The digest of those."""

    def read(self) -> bytes:
        """All of it, in memory."""


class DeliveryHandler(Protocol):
    """What stands behind a listener."""

    def recipient(self, address: str) -> Decision:
        """Whether mail to this address is wanted. Fast, and never raises."""

    async def deliver(self, envelope: Envelope, body: MailBody) -> Sequence[Decision]:
        """Take a mail: one verdict for each of `envelope.recipients`, in order.

        `Accept` means that the bytes are committed. `body` may be closed once this returns.
        A caller that is cut off must let this finish: what was begun is then stored, and the
        retry finds it there.
        """
