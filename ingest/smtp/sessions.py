"""Manage the sessions of one listener: who may connect, how many, and what they share.

A session belongs to its connection. A delivery, once it has begun, belongs to the listener, so
that it continues when the connection is lost.
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
from ingest.smtp.reader import CHUNK_SIZE
from ingest.smtp.spooled_body import Budget, SpooledBody

_log = logging.getLogger(__name__)


class SessionDialog(Interface):
    """A session, as its listener knows it."""

    @property
    def address(self) -> str:
        """Return `unix`, or the client's address without port."""

    def drain(self) -> None:
        """End as soon as nothing is in progress."""

    def abort(self) -> None:
        """Close the connection, whatever is in progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStats:
    """Counts for the metrics.

    `open`, `deliveries`, `memory` and `spool` are current values: connections, mails that the
    handler stores, bytes of mails in progress. The others count since the start. `refused`:
    connections by reason (`network`, …); `terminated`: sessions that we ended (`timeout`,
    `too-slow`, …); `outcomes`: mails by outcome, once for each recipient. An outcome is a
    `DeliveryReason`, or why the protocol did not accept the mail (`too-big`, `loop`, …).
    """

    open: int
    deliveries: int
    memory: int
    spool: int
    accepted: int
    refused: Mapping[str, int]
    terminated: Mapping[str, int]
    outcomes: Mapping[str, int]


class Sessions:
    """Share state between the sessions of a listener. `config` is replaced at a reload."""

    def __init__(self, config: ListenerConfig, handler: DeliveryHandler) -> None:
        self.config = config
        self.handler = handler
        self.budget = Budget(memory=config.limits.total_memory, spool=config.limits.total_spool)
        # One buffer for all: the loop fills it and a session copies it within one step.
        self.buffer = memoryview(bytearray(CHUNK_SIZE))
        self.is_draining = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.deliveries: set[asyncio.Task[Sequence[Decision]]] = set()
        self._dialogs: set[SessionDialog] = set()
        self._by_address: Counter[str] = Counter()
        self._accepted = 0
        self._refused: Counter[str] = Counter()
        self._terminated: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()

    def check_client(self, address: str) -> str | None:
        """Return why a client may not connect now, as a key of `replies.REPLIES`, or None."""
        limits, reason = self.config.limits, None
        if address != "unix" and address not in self.config.networks:
            reason = "network"
        elif self.is_draining:
            reason = "stopping"
        elif len(self._dialogs) >= limits.connections:
            reason = "connections"
        elif address != "unix" and self._by_address[address] >= limits.connections_per_address:
            reason = "address-connections"
        if reason is not None:
            self._refused[reason] += 1
            self.log("connection-refused", address, reason=reason)
        return reason

    def add(self, dialog: SessionDialog, session: Coroutine[None, None, None]) -> None:
        """Add a connection that was not refused, and start its session."""
        self._accepted += 1
        self._dialogs.add(dialog)
        self._by_address[dialog.address] += 1
        task = asyncio.create_task(session)
        self.tasks.add(task)
        task.add_done_callback(self._end_session)

    def remove(self, dialog: SessionDialog) -> None:
        """Remove a closed connection. One that was never added is ignored."""
        if dialog in self._dialogs:
            self._dialogs.remove(dialog)
            self._by_address[dialog.address] -= 1
            if not self._by_address[dialog.address]:
                del self._by_address[dialog.address]

    def _end_session(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("session-failed", exc_info=error)

    def deliver(self, envelope: Envelope, body: SpooledBody) -> asyncio.Task[Sequence[Decision]]:
        """Start the delivery of a mail to the handler; the body is closed when it ends.

        The task is not the session's. It returns one decision for each recipient, whatever the
        handler does.
        """
        task = asyncio.create_task(self._deliver(envelope, body))
        self.deliveries.add(task)
        task.add_done_callback(self.deliveries.discard)
        return task

    async def _deliver(self, envelope: Envelope, body: SpooledBody) -> Sequence[Decision]:
        failures = [TempFail(DeliveryReason.INTERNAL)] * len(envelope.recipients)
        try:
            # A client that sends a mail and disconnects has no connection that is counted.
            if len(self.deliveries) > self.config.limits.connections:
                return [TempFail(DeliveryReason.BUSY)] * len(envelope.recipients)
            decisions = await self.handler.deliver(envelope, body)
        except Exception:  # noqa: BLE001
            # The boundary: whatever is wrong in the handler, the sender keeps the mail.
            _log.exception("delivery-failed")
            return failures
        finally:
            body.close()
        if len(decisions) != len(envelope.recipients):
            counts = {"decisions": len(decisions), "recipients": len(envelope.recipients)}
            _log.error("delivery-failed", extra={"values": counts})
            return failures
        return decisions

    def log(self, event: str, address: str, /, **values: str | int) -> None:
        """Log an event of a client, in the form of `ingest.daemon.monitoring.log`."""
        source = f"{self.config.protocol} {address}"
        _log.info(event, extra={"values": {"source": source, **values}})

    def count_terminated(self, reason: str) -> None:
        """Count a session that we end for this reason."""
        self._terminated[reason] += 1

    def count_outcome(self, outcome: str) -> None:
        """Count the outcome of a mail for one recipient."""
        self._outcomes[outcome] += 1

    def drain(self) -> None:
        """Refuse new connections, and ask all sessions to end."""
        self.is_draining = True
        for dialog in tuple(self._dialogs):
            dialog.drain()

    def abort(self) -> None:
        """Close every connection."""
        for dialog in tuple(self._dialogs):
            dialog.abort()

    def stats(self) -> ListenerStats:
        """Return the current counts."""
        return ListenerStats(
            open=len(self._dialogs),
            deliveries=len(self.deliveries),
            memory=self.budget.memory,
            spool=self.budget.spool,
            accepted=self._accepted,
            refused=dict(self._refused),
            terminated=dict(self._terminated),
            outcomes=dict(self._outcomes),
        )
