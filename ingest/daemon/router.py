"""What stands behind the listeners: recipients to lists, and deliveries to the acceptor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingest.config.file import CatchAll, Config, ToLists, UnknownAddress
from ingest.daemon.acceptor import Acceptor
from ingest.model import BY_LIST_ID
from ingest.smtp.envelope import Accept, Decision, DeliveryReason, Envelope, MailBody, Reject


class Router:
    """An `envelope.Gate`. `config` is asked anew for each recipient, so that it may be
    reloaded.
    """

    def __init__(self, config: Callable[[], Config], acceptor: Acceptor) -> None:
        self._config = config
        self._acceptor = acceptor

    def recipient(self, address: str) -> Decision:
        match self._config().route(address):
            case ToLists() | CatchAll():
                return Accept()
            case UnknownAddress():
                return Reject(DeliveryReason.UNKNOWN_RECIPIENT)

    async def deliver(self, envelope: Envelope, body: MailBody) -> Sequence[Decision]:
        """One mail, for all its recipients at once: it is stored once, and filed under every
        list that they name.
        """
        verdict = await self._acceptor.take(envelope, self._lists(envelope.recipients), body)
        return [verdict] * len(envelope.recipients)

    def _lists(self, recipients: Sequence[str]) -> tuple[str, ...]:
        config = self._config()
        if not config.lists:
            return ()  # every mail is for the lists that it names, as in an archive
        found: set[str] = set()
        for address in recipients:
            match config.route(address):
                case ToLists(list_ids):
                    found.update(list_ids)
                case CatchAll():
                    found.add(BY_LIST_ID)
                case UnknownAddress():
                    # It was known when the recipient was accepted, before a reload.
                    found.add(BY_LIST_ID)
        return tuple(sorted(found))
