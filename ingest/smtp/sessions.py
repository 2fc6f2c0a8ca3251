"""The sessions of one listener: who may come in, how many there are, and what they share.

A session belongs to a connection; a delivery, once begun, to the listener, so that it goes on
when the connection is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

from ingest.smtp.envelope import Decision, DeliveryHandler, DeliveryReason, Envelope, TempFail
from ingest.smtp.limits import ListenerConfig
from ingest.smtp.reader import PIECE
from ingest.smtp.spooled_body import Budget, SpooledBody

_log = logging.getLogger(__name__)


class SessionDialog(Interface):
    """A session, as far as its listener knows it."""

    @property
    def address(self) -> str:
        """`unix`, or the peer's address without port."""

    def drain(self) -> None:
        """End as soon as nothing is in progress."""

    def abort(self) -> None:
        """Cut the connection, whatever is in progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStats:
    """Counts for the metrics, since the start where nothing else is said.

    `open`, `deliveries`, `memory` and `spool` are of this moment: connections, mails at the
    gate, octets of mails in progress. `refused`: connections by reason (`network`, ...); `cut`:
    sessions that we ended (`timeout`, `slow`, ...); `mails`: mails by outcome, each recipient
    once: a `DeliveryReason`, or why the wire did not take it (`too-big`, `loop`, ...).
    """

    open: int
    deliveries: int
    memory: int
    spool: int
    accepted: int
    refused: Mapping[str, int]
    cut: Mapping[str, int]
    mails: Mapping[str, int]


class Sessions:
    """What the sessions of a listener share. `config` is replaced at a reload."""

    def __init__(self, config: ListenerConfig, gate: DeliveryHandler) -> None:
        self.config = config
        self.gate = gate
        self.budget = Budget(memory=config.limits.all_memory, spool=config.limits.all_spool)
        # One buffer for all: the loop fills it and a session copies it within one step.
        self.buffer = memoryview(bytearray(PIECE))
        self.draining = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.deliveries: set[asyncio.Task[Sequence[Decision]]] = set()
        self._members: set[SessionDialog] = set()
        self._by_address: Counter[str] = Counter()
        self._accepted = 0
        self._refused: Counter[str] = Counter()
        self._cut: Counter[str] = Counter()
        self._mails: Counter[str] = Counter()

    def refusal(self, address: str) -> str | None:
        """Why a peer may not come in now, as a key of `status.REPLIES`, or None."""
        limits, reason = self.config.limits, None
        if address != "unix" and address not in self.config.networks:
            reason = "network"
        elif self.draining:
            reason = "stopping"
        elif len(self._members) >= limits.connections:
            reason = "connections"
        elif address != "unix" and self._by_address[address] >= limits.connections_per_address:
            reason = "address-connections"
        if reason is not None:
            self._refused[reason] += 1
            self.log("connection-refused", address, reason=reason)
        return reason

    def enter(self, member: SessionDialog, talk: Coroutine[None, None, None]) -> None:
        """A connection is open, and was not refused: begin its talk."""
        self._accepted += 1
        self._members.add(member)
        self._by_address[member.address] += 1
        task = asyncio.create_task(talk)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def leave(self, member: SessionDialog) -> None:
        """It is not open any more. May be said of one that never entered."""
        if member in self._members:
            self._members.remove(member)
            self._by_address[member.address] -= 1
            if not self._by_address[member.address]:
                del self._by_address[member.address]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            _log.error("session-failed", exc_info=failure)

    def deliver(self, envelope: Envelope, body: SpooledBody) -> asyncio.Task[Sequence[Decision]]:
        """Begin to hand a mail to the gate; the body is closed when that ends, however it ends.

        The task is not the session's, and gives one verdict a recipient whatever the gate does.
        """
        task = asyncio.create_task(self._deliver(envelope, body))
        self.deliveries.add(task)
        task.add_done_callback(self.deliveries.discard)
        return task

    async def _deliver(self, envelope: Envelope, body: SpooledBody) -> Sequence[Decision]:
        failed = [TempFail(DeliveryReason.INTERNAL)] * len(envelope.recipients)
        try:
            # Who sends a mail and goes away has no connection that is counted.
            if len(self.deliveries) > self.config.limits.connections:
                return [TempFail(DeliveryReason.BUSY)] * len(envelope.recipients)
            verdicts = await self.gate.deliver(envelope, body)
        except Exception:  # noqa: BLE001
            # The boundary: whatever is wrong behind it, the sender keeps the mail.
            _log.exception("delivery-failed")
            return failed
        finally:
            body.close()
        if len(verdicts) != len(envelope.recipients):
            counts = {"verdicts": len(verdicts), "recipients": len(envelope.recipients)}
            _log.error("delivery-failed", extra={"values": counts})
            return failed
        return verdicts

    def log(self, event: str, address: str, /, **values: str | int) -> None:
        """Write a line about a peer, in the daemon's one form (`ingest.daemon.monitoring.log`)."""
        source = f"{self.config.protocol} {address}"
        _log.info(event, extra={"values": {"source": source, **values}})

    def count_cut(self, reason: str) -> None:
        """We end a session for this reason."""
        self._cut[reason] += 1

    def count_mail(self, outcome: str) -> None:
        """A mail has come to this for one recipient."""
        self._mails[outcome] += 1

    def drain(self) -> None:
        """Let nobody in, and ask everybody to leave."""
        self.draining = True
        for member in tuple(self._members):
            member.drain()

    def abort(self) -> None:
        """Cut every connection."""
        for member in tuple(self._members):
            member.abort()

    def stats(self) -> ListenerStats:
        """The counts now."""
        return ListenerStats(
            open=len(self._members),
            deliveries=len(self.deliveries),
            memory=self.budget.memory,
            spool=self.budget.spool,
            accepted=self._accepted,
            refused=dict(self._refused),
            cut=dict(self._cut),
            mails=dict(self._mails),
        )
