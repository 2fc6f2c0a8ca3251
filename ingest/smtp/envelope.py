"""Define what a listener and the handler of its mail exchange: envelopes, bodies and decisions.

A listener knows a protocol and nothing of lists or databases. It asks a `DeliveryHandler` about
each recipient, passes it the mail, and turns the decisions into replies (`ingest.smtp.replies`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Protocol


class DeliveryReason(StrEnum):
    """Name why a recipient or a mail is accepted or not. Logged and counted: add, do not rename."""

    ACCEPTED = "accepted"  # committed: the sender may forget the mail
    KNOWN = "known"  # the same bytes are already stored, which is as good
    UNKNOWN_RECIPIENT = "unknown-recipient"  # no configured list has this address
    DATABASE = "database"  # the database cannot store the mail now
    BUSY = "busy"  # too much mail is waiting to be committed
    STOPPING = "stopping"  # the daemon is shutting down
    INTERNAL = "internal"  # an internal error: the mail stays with its sender


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept a recipient or a mail, for which we are now responsible.

    `reason`: `ACCEPTED` or `KNOWN`.
    """

    reason: DeliveryReason = DeliveryReason.ACCEPTED


@dataclass(frozen=True, slots=True)
class TempFail:
    """Fail temporarily: the sender keeps the mail and tries again."""

    reason: DeliveryReason


@dataclass(frozen=True, slots=True)
class Reject:
    """Reject permanently: trying again is of no use."""

    reason: DeliveryReason


Decision = Accept | TempFail | Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The envelope of a mail (RFC 5321 2.3.1) and the connection that it came by.

    `protocol`: `lmtp` or `smtp`; `peer`: `unix` or the client's address without port; `helo`: the
    name that the client gave; `sender`: '' for `<>`; `recipients`: the accepted ones, in order,
    repeats included; `tls`: whether the connection was encrypted.
    """

    protocol: str
    peer: str
    helo: str
    sender: str
    recipients: tuple[str, ...]
    tls: bool = False

    def as_json(self) -> str:
        """Return the envelope as JSON, for the column `mail.envelope`."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


class MailBody(Protocol):
    """A received mail: dots unstuffed, line ends unchanged, on disk where it is large."""

    @property
    def size(self) -> int:
        """Return the number of bytes."""

    @property
    def sha256(self) -> bytes:
        """Return the digest of the bytes."""

    def read(self) -> bytes:
        """Return all bytes, in memory."""


class DeliveryHandler(Protocol):
    """The handler of a listener's mail."""

    def check_recipient(self, address: str) -> Decision:
        """Decide whether mail to this address is accepted. Must be fast and must not raise."""

    async def deliver(self, envelope: Envelope, body: MailBody) -> Sequence[Decision]:
        """Store a mail, and return one decision for each of `envelope.recipients`, in order.

        `Accept` means that the bytes are committed. `body` may be closed once this returns. A
        caller that is cancelled must let this finish: the mail is then stored, and the client's
        next attempt finds it there.
        """
