"""Parse raw bytes into a `Message`. This is the entry point of the package.

Input: one mail, as received. Output: a `Message`. Any bytes give a message, in time linear in
their number; what was repaired or cut is listed in its defects, and no exception is raised. A mail
with LF line ends and the same mail with CRLF give the same `Message`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ingest.mail import address, date, encoded_word, header, lists, msgid, wrapping
from ingest.mail.defect import Defect
from ingest.mail.message import Address, Message
from ingest.mail.mime import tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

_MAX_LINE = 998  # octets without the line end, RFC 5322 2.1.1
_MAX_SUBJECT = 1_000  # characters; a line has at most 998 in RFC 5322
_EMPTY_ADDRESS = Address("", "")
_NO_DEFECTS: frozenset[Defect] = frozenset()
_DUPLICATES = (
    ("from", Defect.DUPLICATE_FROM),
    ("message-id", Defect.DUPLICATE_MESSAGE_ID),
    ("subject", Defect.DUPLICATE_SUBJECT),
)


def parse_message(raw: bytes) -> Message:
    """Parse `raw` into a `Message`. Never raises; `Defect` lists what can be wrong with a mail."""
    data = raw
    defects: set[Defect] = set()
    if b"\r" in raw:
        data = raw.replace(b"\r\n", b"\n")
        if b"\r" in data:
            defects.add(Defect.BARE_CR)
    if b"\0" in data:
        defects.add(Defect.NUL)
    if _has_long_line(data):
        defects.add(Defect.LONG_LINE)
    data = header.skip_mbox_line(data)
    lines = data
    if Defect.BARE_CR in defects and b"\n" not in data:
        lines = data.replace(b"\r", b"\n")  # from a system whose line end is CR

    block = header.split_header(lines, 0, len(lines))
    defects |= block.defects
    wrapper = None
    unwrapped = wrapping.unwrap(lines, block)
    if unwrapped is not None:
        data = lines = unwrapped.data
        block, wrapper = unwrapped.block, unwrapped.wrapper
        defects |= unwrapped.defects
    values = block.values
    for name, defect in _DUPLICATES:
        if len(values.get(name, ())) > 1:
            defects.add(defect)

    own_id, more = _parse_message_id(values.get("message-id"), data)
    defects |= more
    subject, more = _parse_subject(values.get("subject"))
    defects |= more
    sender, more = _parse_from(values.get("from"), values)
    defects |= more
    times = _parse_times(values)
    defects |= times.defects
    in_reply_to, more = _parse_references(values.get("in-reply-to", ()))
    defects |= more
    references, more = _parse_references(values.get("references", ()))
    defects |= more
    named_lists = lists.find_lists(values)
    if len(named_lists) >= lists.MAX_LISTS:
        defects.add(Defect.LISTS_CAPPED)
    parts, more = tree.walk_parts(lines, block.body, values)
    defects |= more
    return Message(
        headers=block.fields,
        msgid=own_id,
        subject=subject,
        sender=sender,
        date=times.sent,
        received=times.received,
        in_reply_to=in_reply_to,
        references=references,
        lists=named_lists,
        parts=parts,
        defects=tuple(sorted(defects)) if defects else (),
        values=values,
        wrapper=wrapper,
    )


def _parse_message_id(values: Sequence[str] | None, data: bytes) -> tuple[str, frozenset[Defect]]:
    own_id = msgid.find_first_id(values[0]) if values else None
    if own_id is None:
        return msgid.make_msgid(data), frozenset({Defect.NO_MESSAGE_ID})
    if len(own_id) > msgid.MAX_LENGTH:
        return msgid.bound_id(own_id), frozenset({Defect.LONG_MESSAGE_ID})
    return own_id, _NO_DEFECTS


def _parse_subject(values: Sequence[str] | None) -> tuple[str, frozenset[Defect]]:
    if not values:
        return "", _NO_DEFECTS
    text, defects = encoded_word.decode_words(values[0])
    text = encoded_word.unfold(text)
    if len(text) > _MAX_SUBJECT:
        return text[:_MAX_SUBJECT].rstrip(), defects | {Defect.SUBJECT_CAPPED}
    return text, defects


def _parse_from(
    from_values: Sequence[str] | None, fields: Mapping[str, Sequence[str]]
) -> tuple[Address, frozenset[Defect]]:
    """Return the author. Where From has several addresses, those of the mail's lists are left out.

    An address without a name at the host of a recipient is taken for a list, too, where another
    address is left.
    """
    if not from_values:
        return _EMPTY_ADDRESS, frozenset({Defect.NO_FROM})
    sender, defects = address.parse_sender(from_values[0])
    if Defect.MANY_FROM in defects:
        people = lists.exclude_lists(address.parse_addresses(from_values[0]), fields)
        hosts = {email.rpartition("@")[2] for email in lists.find_recipients(fields)}
        strangers = (
            person
            for person in people
            if person.name or person.email.rpartition("@")[2].lower() not in hosts
        )
        sender = next(strangers, people[0] if people else sender)
    return sender, defects


class _Times(NamedTuple):
    """The times of a message: `sent` by Date, `received` by its topmost Received field."""

    sent: datetime | None
    received: datetime | None
    defects: frozenset[Defect]


def _parse_times(values: Mapping[str, Sequence[str]]) -> _Times:
    date_values = values.get("date")
    received_values = values.get("received", ())
    received = date.find_topmost_received(received_values)
    sent = date.parse_date(date_values[0]) if date_values else None
    if date.is_plausible(sent, received):
        return _Times(sent, received, _NO_DEFECTS)
    sent = date.estimate_from_received(received_values)
    return _Times(sent, received, frozenset({Defect.BAD_DATE}))


def _parse_references(values: Sequence[str]) -> tuple[tuple[str, ...], frozenset[Defect]]:
    """Return the ids of these fields in order, without the middle if there are too many."""
    if not values:
        return (), _NO_DEFECTS
    if len(values) == 1:
        ids = msgid.parse_ids(values[0])
    else:
        ids = tuple(dict.fromkeys(chain.from_iterable(map(msgid.parse_ids, values))))
    defects = _NO_DEFECTS
    if len(ids) > msgid.MAX_REFERENCES:
        half = msgid.MAX_REFERENCES // 2
        ids = ids[:half] + ids[-half:]
        defects = frozenset({Defect.REFERENCES_CAPPED})
    if any(len(reference) > msgid.MAX_LENGTH for reference in ids):
        ids = tuple(msgid.bound_id(reference) for reference in ids)
    return ids, defects


def _has_long_line(data: bytes) -> bool:
    """Return whether a line has over 998 bytes.

    The search jumps by nearly that many bytes, so most of `data` is not read.
    """
    start = 0
    size = len(data)
    while size - start > _MAX_LINE:
        end = data.rfind(b"\n", start, start + _MAX_LINE + 1)
        if end < 0:
            return True
        start = end + 1
    return False
