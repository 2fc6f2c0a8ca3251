"""Group the stored copies of an id under which there are many messages, once for a whole audit.

To derive all of them again with each batch that has one of them would take as many steps as there
are pairs of them. They are taken as they are stored: each is compared with its own mail in the
batch of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select

from ingest.model import Derived
from ingest.store import schema
from ingest.store.sql.key_lists import chunks
from ingest.store.write.copies import MAX_VARIANTS, Copy, CopyGroup, group_copies

# Of ids with more messages, the copies are not derived again with those of each batch.
_MANY = 2 * MAX_VARIANTS


class CrowdedIds:
    """The messages of ids that many messages share, by id and fingerprint, as they are stored."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._groups: dict[str, dict[str, CopyGroup]] = {}

    def find(self, derived: Mapping[int, Derived]) -> set[str]:
        """Return the ids of these mails that many messages share.

        Without those where a mail of the batch is not stored as it was derived: there, the copies
        have to be grouped again.
        """
        crowded = self._find_many({mail.facts.msgid for mail in derived.values()})
        if not crowded:
            return set()
        for msgid in crowded - self._groups.keys():
            self._groups[msgid] = self._read_groups(msgid)
        stored = {
            copy.mail_id: (msgid, fingerprint, copy.rank, copy.received_at)
            for msgid in crowded
            for fingerprint, group in self._groups[msgid].items()
            for copy in group.copies
            if copy.mail_id in derived
        }
        differing = {
            mail.facts.msgid
            for mail_id, mail in derived.items()
            if mail.facts.msgid in crowded
            and stored.get(mail_id)
            != (mail.facts.msgid, mail.fingerprint, mail.rank, mail.received_at)
        }
        return crowded - differing

    def group(self, msgid: str, fingerprint: str) -> CopyGroup:
        """Return a message of one of these ids, with its stored copies."""
        return self._groups[msgid][fingerprint]

    def _find_many(self, msgids: Iterable[str]) -> set[str]:
        column = schema.message.c.msgid
        many: set[str] = set()
        for chunk in chunks(msgids):
            query = select(column).where(column.in_(chunk)).group_by(column)
            many.update(self._connection.execute(query.having(func.count() > _MANY)).scalars())
        return many

    def _read_groups(self, msgid: str) -> dict[str, CopyGroup]:
        message, copy = schema.message.c, schema.copy.c
        query = (
            select(copy.mail_id, message.fingerprint, copy.rank, copy.received_at, message.id)
            .join(schema.message, message.id == copy.message_id)
            .where(message.msgid == msgid)
        )
        copies = [Copy(*row) for row in self._connection.execute(query)]
        return {group.fingerprint: group for group in group_copies(copies)}
