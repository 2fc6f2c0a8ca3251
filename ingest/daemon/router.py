"""Route mail from the listeners: recipients to lists, deliveries to the acceptor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingest.config.settings import CatchAll, Config, ToLists, UnknownAddress
from ingest.daemon.acceptor import Acceptor
from ingest.model import BY_LIST_ID
from ingest.smtp.envelope import Accept, Decision, DeliveryReason, Envelope, MailBody, Reject


class Router:
    """Handle the mail of all listeners: an `envelope.DeliveryHandler`.

    `config` is called for each recipient, so that the configuration can be reloaded.
    """

    def __init__(self, config: Callable[[], Config], acceptor: Acceptor) -> None:
        self._config = config
        self._acceptor = acceptor

    def check_recipient(self, address: str) -> Decision:
        """Accept addresses of the configured lists, and reject all others."""
        match self._config().route(address):
            case ToLists() | CatchAll():
                return Accept()
            case UnknownAddress():
                return Reject(DeliveryReason.UNKNOWN_RECIPIENT)

    async def deliver(self, envelope: Envelope, body: MailBody) -> Sequence[Decision]:
        """Store one mail for all its recipients: once, filed under every list that they name."""
        lists = self._list_ids(envelope.recipients)
        decision = await self._acceptor.accept(envelope, lists, body)
        return [decision] * len(envelope.recipients)

    def _list_ids(self, recipients: Sequence[str]) -> tuple[str, ...]:
        config = self._config()
        if not config.lists:
            return ()  # as in an archive, every mail is for the lists that it names itself
        list_ids: set[str] = set()
        for address in recipients:
            match config.route(address):
                case ToLists(ids):
                    list_ids.update(ids)
                case CatchAll():
                    list_ids.add(BY_LIST_ID)
                case UnknownAddress():
                    # The recipient was known when it was accepted, before a reload.
                    list_ids.add(BY_LIST_ID)
        return tuple(sorted(list_ids))
