"""Raw bytes to a `Message`: the entrance of this room.

Input: one mail, as it came. Output: a `Message`. Total: any bytes give one, in time linear in
their number, with what was repaired or cut listed as its defects; nothing is ever raised. The
same mail with LF and with CRLF line ends gives the same `Message`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from ingest.mail import address, date, encoded_word, header, lists, mime, msgid
from ingest.mail.defect import Defect
from ingest.mail.message import Address, Message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_MAX_LINE = 998  # octets without the line end, RFC 5322 2.1.1
_MAX_SUBJECT = 1_000  # characters; the line that RFC 5322 allows has 998
_NOBODY = Address("", "")
_REPEATS = (
    ("from", Defect.DUPLICATE_FROM),
    ("message-id", Defect.DUPLICATE_MESSAGE_ID),
    ("subject", Defect.DUPLICATE_SUBJECT),
)


def parse_message(raw: bytes) -> Message:
    """The `Message` that `raw` is. Never raises; see `Defect` for what can be wrong with one."""
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
        lines = data.replace(b"\r", b"\n")  # a system whose line end is CR

    block = header.split_header(lines, 0, len(lines))
    defects |= block.defects
    found = block.named
    for name, flaw in _REPEATS:
        if len(found.get(name, ())) > 1:
            defects.add(flaw)

    own, flaws = _own_id(found.get("message-id"), data)
    defects |= flaws
    subject, flaws = _subject(found.get("subject"))
    defects |= flaws
    author, flaws = _author(found.get("from"))
    defects |= flaws
    sent, arrived, flaws = _dates(found.get("date"), found.get("received", ()))
    defects |= flaws
    answered, flaws = _references(found.get("in-reply-to", ()))
    defects |= flaws
    references, flaws = _references(found.get("references", ()))
    defects |= flaws
    named = lists.find_lists(found)
    if len(named) >= lists.MAX_LISTS:
        defects.add(Defect.LISTS_CAPPED)
    parts, flaws = mime.walk_parts(lines, block.body, found)
    defects |= flaws
    return Message(
        headers=block.fields,
        msgid=own,
        subject=subject,
        sender=author,
        date=sent,
        received=arrived,
        in_reply_to=answered,
        references=references,
        lists=named,
        parts=parts,
        defects=tuple(sorted(defects)) if defects else (),
        named=found,
    )


_NONE: frozenset[Defect] = frozenset()


def _own_id(values: Sequence[str] | None, data: bytes) -> tuple[str, frozenset[Defect]]:
    found = msgid.first_id(values[0]) if values else None
    if found is None:
        return msgid.make_msgid(data), frozenset({Defect.NO_MESSAGE_ID})
    if len(found) > msgid.MAX_LENGTH:
        return msgid.bound_id(found), frozenset({Defect.LONG_MESSAGE_ID})
    return found, _NONE


def _subject(values: Sequence[str] | None) -> tuple[str, frozenset[Defect]]:
    if not values:
        return "", _NONE
    text, flaws = encoded_word.decode_words(values[0])
    text = encoded_word.unfold(text)
    if len(text) > _MAX_SUBJECT:
        return text[:_MAX_SUBJECT].rstrip(), flaws | {Defect.SUBJECT_CAPPED}
    return text, flaws


def _author(values: Sequence[str] | None) -> tuple[Address, frozenset[Defect]]:
    if not values:
        return _NOBODY, frozenset({Defect.NO_FROM})
    return address.parse_sender(values[0])


def _dates(
    values: Sequence[str] | None, received: Sequence[str]
) -> tuple[datetime | None, datetime | None, frozenset[Defect]]:
    """The time of sending, the time of arrival, and the flaw of the first, if any."""
    arrived = date.topmost_received(received)
    sent = date.parse_date(values[0]) if values else None
    if date.plausible(sent, arrived):
        return sent, arrived, _NONE
    return date.from_received(received), arrived, frozenset({Defect.BAD_DATE})


def _references(values: Sequence[str]) -> tuple[tuple[str, ...], frozenset[Defect]]:
    """The ids of these fields, in order, the middle left out where they are too many."""
    if not values:
        return (), _NONE
    if len(values) == 1:
        found = msgid.parse_ids(values[0])
    else:
        found = tuple(dict.fromkeys(chain.from_iterable(map(msgid.parse_ids, values))))
    flaws = _NONE
    if len(found) > msgid.MAX_REFERENCES:
        half = msgid.MAX_REFERENCES // 2
        found = found[:half] + found[-half:]
        flaws = frozenset({Defect.REFERENCES_CAPPED})
    if any(len(one) > msgid.MAX_LENGTH for one in found):
        found = tuple(msgid.bound_id(one) for one in found)
    return found, flaws


def _has_long_line(data: bytes) -> bool:
    """Whether a line is over 998 octets, in hops of nearly that: most of `data` is not read."""
    at = 0
    size = len(data)
    while size - at > _MAX_LINE:
        end = data.rfind(b"\n", at, at + _MAX_LINE + 1)
        if end < 0:
            return True
        at = end + 1
    return False
