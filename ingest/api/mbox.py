"""Write patches, series and covers as mail that `git am` accepts, from the mail that was received.

Input: rows of messages. Output: bytes of an mbox, and of diffs. The original mail is parsed again,
by the functions that derived its record. Trailers that reviewers gave are added, and the fields
X-Patchwork-Id, -Submitter and -Delegate, as Patchwork has them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

from sqlalchemy import Connection

from ingest.frozen import frozen
from ingest.mail.message import Message
from ingest.mail.parse import parse_message
from ingest.patch.classify import find_patch_part
from ingest.patch.git_am.commit_text import split_commit
from ingest.patch.git_am.git_mail import body_text, write_patch_mail, write_text_mail
from ingest.patch.git_am.header_fields import MailField, format_address
from ingest.patch.trailers.trailer import Trailer
from ingest.store.activity.accounts import read_accounts
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.read.review_trailers import read_review_trailers
from ingest.store.read.series import read_series
from ingest.store.site.numbers import shown_number
from ingest.trust.person import find_submitter

# The trailers that Patchwork collects from replies.
REPLY_TRAILERS = ("Acked-by", "Reviewed-by", "Tested-by")

# So many patches of a series are in memory.
_PORTION = 100


@frozen
class _Addition:
    """What the store adds to the mail of a message."""

    fields: tuple[MailField, ...]
    trailers: tuple[Trailer, ...]


def portions(connection: Connection, ids: Sequence[int]) -> list[Sequence[int]]:
    """Divide the patches of a series into portions that are in memory at once.

    Raises `DamagedRawError`, as half a series must not be written.
    """
    if len(ids) > _PORTION:
        messages.verify_raw_mails(connection, ids)
    return [ids[start : start + _PORTION] for start in range(0, len(ids), _PORTION)]


def series_mbox(connection: Connection, ids: Sequence[int]) -> Iterator[bytes]:
    """Yield one mail of an mbox for each of these patches, in the given order.

    Holds a portion of them. Raises `DamagedRawError` before the first mail.
    """
    for portion in portions(connection, ids):
        yield from patch_mbox(connection, messages.read_messages(connection, portion))


def patch_mbox(connection: Connection, rows: Iterable[MessageRow]) -> Iterator[bytes]:
    """Yield one mail of an mbox for each patch, in the given order.

    The number of queries does not depend on the number of patches. All of them are in memory:
    `series_mbox` is for many. Raises `DamagedRawError` before the first mail.
    """
    patches = list(rows)
    raw_by_id = messages.read_raw_mails(connection, {row.mail_id for row in patches})
    additions = _read_additions(connection, patches)
    return (
        _format_patch(row, parse_message(raw_by_id[row.mail_id]), additions[row.id])
        for row in patches
    )


def cover_mbox(connection: Connection, row: MessageRow) -> bytes:
    """Return a cover as one mail of an mbox: its header fields and its text."""
    message = parse_message(messages.read_raw_mail(connection, row.mail_id))
    return _format_text(row, message, _patchwork_fields(row, delegate=None))


def patch_raw(connection: Connection, rows: Iterable[MessageRow]) -> Iterator[bytes]:
    """Yield the diff of each patch in the bytes that were sent, for patch(1)."""
    patches = list(rows)
    raw_by_id = messages.read_raw_mails(connection, {row.mail_id for row in patches})
    return (_find_diff(parse_message(raw_by_id[row.mail_id])) for row in patches)


def _find_diff(message: Message) -> bytes:
    patch = find_patch_part(message, find_submitter(message).person)
    return patch.data if patch is not None else b""


def file_name(name: str) -> str:
    """Return the file name, without its suffix, for a download of a patch or series."""
    words = re.sub(r"(?:[^A-Za-z0-9._-]|\.{2,})+", "-", name)
    return words.strip("-.")[:200].strip("-.") or "patch"


def _read_additions(connection: Connection, patches: Sequence[MessageRow]) -> dict[int, _Addition]:
    """Return what the store adds to each patch."""
    cover_ids = _read_cover_ids(connection, patches)
    parent_ids = {row.id for row in patches} | set(cover_ids.values())
    by_parent: dict[int, list[tuple[int, Trailer]]] = defaultdict(list)
    for position, review in enumerate(read_review_trailers(connection, parent_ids)):
        if review.trailer.key in REPLY_TRAILERS:
            by_parent[review.parent_id].append((position, review.trailer))
    accounts = read_accounts(connection, {row.delegate_id for row in patches if row.delegate_id})
    additions: dict[int, _Addition] = {}
    for row in patches:
        # The oldest reply first, whether it is to the patch or to its cover; each trailer once.
        reviews = by_parent[row.id] + by_parent[cover_ids.get(row.series_id or 0, 0)]
        ordered = dict.fromkeys(trailer for _, trailer in sorted(reviews, key=itemgetter(0)))
        delegate = accounts.get(row.delegate_id or 0)
        fields = _patchwork_fields(row, delegate=delegate.email if delegate else None)
        additions[row.id] = _Addition(fields, tuple(ordered))
    return additions


def _read_cover_ids(connection: Connection, rows: Iterable[MessageRow]) -> dict[int, int]:
    """Return the covers of the patches' series, by series."""
    series_ids = {row.series_id for row in rows if row.series_id is not None}
    return {
        series.id: series.cover_id
        for series in read_series(connection, series_ids)
        if series.cover_id is not None
    }


def _patchwork_fields(row: MessageRow, *, delegate: str | None) -> tuple[MailField, ...]:
    """Return the header fields that Patchwork adds. `delegate`: the email address of one."""
    fields = (
        MailField("X-Patchwork-Id", str(shown_number(row.id, row.outcome))),
        MailField("X-Patchwork-Submitter", format_address(row.submitter)),
    )
    return (*fields, MailField("X-Patchwork-Delegate", delegate)) if delegate else fields


def _format_patch(row: MessageRow, message: Message, addition: _Addition) -> bytes:
    sender = find_submitter(message).person
    patch = find_patch_part(message, sender)
    if patch is None:  # a pull request
        return _format_text(row, message, addition.fields)
    return write_patch_mail(
        message,
        split_commit(patch, message.parts),
        sender=sender,
        fields=addition.fields,
        trailers=addition.trailers,
    )


def _format_text(row: MessageRow, message: Message, fields: Iterable[MailField]) -> bytes:
    sender = find_submitter(message).person
    return write_text_mail(message, body_text(message) or row.content, sender=sender, fields=fields)
