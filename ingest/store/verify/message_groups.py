"""Group mails into messages, as `write.record` groups them, for `store.verify.row_audit`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from ingest.model import Derived
from ingest.store.verify.crowded_ids import CrowdedIds
from ingest.store.verify.stored_rows import StoredRows
from ingest.store.write.copies import Copy, CopyGroup, group_copies, join_aliases

DeriveStored = Callable[[Collection[int]], Mapping[int, Derived]]


class MessageGroup(NamedTuple):
    """A message: its Message-ID, its copies, and the other ids that these have."""

    msgid: str
    group: CopyGroup
    aliases: tuple[str, ...]


def group_messages(
    batch: StoredRows, crowded_ids: CrowdedIds, derive: DeriveStored
) -> Iterator[MessageGroup]:
    """Yield the messages that the mails are copies of, with their ids.

    They are grouped as `write.record` groups them. Copies that are neither in the batch nor
    derivable are taken as they are stored, as are all copies of a crowded id.
    """
    row_of = {(row.msgid, row.fingerprint): row.id for row in batch.messages.values()}
    elsewhere = batch.copies.keys() - batch.derived.keys()
    derived = {**derive(elsewhere), **batch.derived} if elsewhere else batch.derived
    copies: dict[str, list[Copy]] = defaultdict(list)
    prints = {
        (mail.facts.msgid, mail.fingerprint)
        for mail in batch.derived.values()
        if mail.facts.msgid in batch.crowded
    }
    for msgid, fingerprint in sorted(prints):
        group = crowded_ids.group(msgid, fingerprint)
        yield MessageGroup(msgid, group, _join_aliases(batch, derived, group))
    for mail_id, mail in derived.items():
        if mail.facts.msgid in batch.crowded:
            continue
        stored = batch.copies.get(mail_id)
        row_id = row_of.get(
            (mail.facts.msgid, mail.fingerprint), stored.message_id if stored else None
        )
        copies[mail.facts.msgid].append(
            Copy(mail_id, mail.fingerprint, mail.rank, mail.received_at, row_id)
        )
    for mail_id in elsewhere - derived.keys():
        stored = batch.copies[mail_id]
        row = batch.messages.get(stored.message_id)
        if row is not None and row.msgid not in batch.crowded:
            copies[row.msgid].append(
                Copy(mail_id, row.fingerprint, stored.rank, stored.received_at, row.id)
            )
    for msgid, same_id in copies.items():
        for group in group_copies(same_id):
            if any(copy.mail_id in batch.derived for copy in group.copies):
                yield MessageGroup(msgid, group, _join_aliases(batch, derived, group))


def _join_aliases(
    batch: StoredRows, derived: Mapping[int, Derived], group: CopyGroup
) -> tuple[str, ...]:
    """Return the other ids of a message."""
    return join_aliases(
        derived[copy.mail_id].facts.aliases
        if copy.mail_id in derived
        else batch.aliases.get(copy.mail_id, ())
        for copy in group.copies
    )
