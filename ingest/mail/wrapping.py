"""Find the mail that a mailing list has wrapped whole into one of its own.

Input: a mail with LF line ends and its header. Output: `Unwrapped`, or None for a mail that is not
wrapped.

So that DMARC does not reject it (RFC 7960 4.1.3), Mailman's "wrap message" sends the mail of a
sender as a message/rfc822 part of a mail from the list. The list's mail is that part, or a
multipart/mixed with the part and texts of the list before and behind it. The sender's mail is then
the message, and the list's mail has nothing of its own but an id, which replies may name.

A wrapped mail is neither a forward nor a digest: From is the list's, and Subject and Date are those
of the mail within. A person who forwards a mail writes a subject and a text at another time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ingest.mail import address, date, encoded_word, header, lists, msgid
from ingest.mail.message import Address, Wrapper
from ingest.mail.mime import container, param

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.mail.defect import Defect

MAX_WRAPPERS = 3  # lists that have wrapped one mail, each the mail of the one before
_MAX_PARTS = 10  # parts of a wrapper: the mail, and the list's texts

_CONTAINER = re.compile(
    r"\s*+(?:message/(?:rfc822|global)|multipart/mixed)(?![^\s;])", re.IGNORECASE
)
_MAIL_PART = re.compile(rb"\ncontent-type:\s*+message/", re.IGNORECASE)
_VIA = re.compile(r"\svia(?:\s|\Z)", re.IGNORECASE)
_REPLY_MARK = re.compile(r"(?>(?:re:\s*+)+)", re.IGNORECASE)
_TAGS = re.compile(r"(?>(?:\[[^\[\]]{1,80}\]\s*+|re:\s*+)+)", re.IGNORECASE)
_NO_SUBJECT = "(no subject)"  # Mailman's, for a mail without one

# The fields that say through which lists and servers the wrapper came. Those of the mail within say
# so for the way to the list.
_TRACE_FIELDS = frozenset(
    {"received", "x-mailing-list", "x-mailinglist", "x-list", "x-beenthere", "archived-at"}
)


class Unwrapped(NamedTuple):
    """A mail taken out of its wrapper: its bytes, its header, and the wrapper.

    `block` has the trace fields of the wrapper before those of the mail; `body` is an offset into
    `data`.
    """

    data: bytes
    block: header.HeaderBlock
    wrapper: Wrapper
    defects: frozenset[Defect]


def unwrap(data: bytes, block: header.HeaderBlock) -> Unwrapped | None:
    """Return the mail that a list has wrapped into this one (LF line ends), or None.

    `block` is the header of `data`. If several lists have wrapped a mail, all wrappers are
    removed, at most `MAX_WRAPPERS`.
    """
    unwrapped = _unwrap_once(data, block, None)
    for _ in range(MAX_WRAPPERS - 1):
        if unwrapped is None:
            break
        inner = _unwrap_once(unwrapped.data, unwrapped.block, unwrapped.wrapper)
        if inner is None:
            break
        unwrapped = inner._replace(defects=inner.defects | unwrapped.defects)
    return unwrapped


def _unwrap_once(data: bytes, block: header.HeaderBlock, outer: Wrapper | None) -> Unwrapped | None:
    content_types = block.values.get("content-type")
    if not content_types or not _CONTAINER.match(content_types[0]):
        return None  # nearly every mail
    content_type = param.parse_parameters(content_types[0])
    if content_type.name == "multipart/mixed" and not _MAIL_PART.search(data, block.body):
        return None
    sender = _parse_from(block.values)
    if not _is_from_list(sender, block.values):
        return None
    enclosed = _find_enclosed(data, block, content_type)
    if enclosed is None or not _is_same_mail(block.values, enclosed.block.values, sender.email):
        return None
    outer_id = _find_id(block.values)
    inner_id = _find_id(enclosed.block.values)
    fields = enclosed.block.fields
    if inner_id is None:
        # The id of the wrapper is then the only one that anybody can name.
        ids = block.values.get("message-id", ())
        fields = (*(("Message-ID", value) for value in ids[:1]), *fields)
    trace = tuple(
        field
        for field in block.fields
        if field[0].lower() in _TRACE_FIELDS or field[0].lower().startswith("list-")
    )
    msgids = outer.msgids if outer is not None else ()
    if inner_id is not None and outer_id is not None and outer_id not in {inner_id, *msgids}:
        msgids = (*msgids, outer_id)
    wrapper = Wrapper(
        tuple(msgid for msgid in msgids if msgid != inner_id),
        sender if outer is None else outer.sender,
        block.fields if outer is None else outer.headers,
    )
    return Unwrapped(
        enclosed.data,
        enclosed.block._replace(
            fields=(*trace, *fields), values=header.group_by_name((*trace, *fields))
        ),
        wrapper,
        enclosed.defects | enclosed.block.defects,
    )


def _find_enclosed(
    data: bytes, block: header.HeaderBlock, content_type: param.Parameters
) -> container.EnclosedMail | None:
    """Return the only mail in a mail, or None if it has none, several, or other content."""
    if content_type.name != "multipart/mixed":
        return container.open_enclosed_mail(data, block.body, len(data), block.values)
    found: container.EnclosedMail | None = None
    parts = container.split_multipart(data, block.body, len(data), content_type)
    for number, part in enumerate(parts):
        if number == _MAX_PARTS:
            return None
        part_block = header.split_header(data, part.start, part.end)
        types = part_block.values.get("content-type", ("text/plain",))
        name = param.parse_parameters(types[0]).name
        if name in container.MAIL_TYPES:
            if found is not None:
                return None  # a digest
            found = container.open_enclosed_mail(data, part_block.body, part.end, part_block.values)
            if found is None:
                return None
        elif name.partition("/")[0] not in {"", "text"}:
            return None
    return found


def _parse_from(values: Mapping[str, Sequence[str]]) -> Address:
    from_values = values.get("from")
    return address.parse_sender(from_values[0] if from_values else "").address


def _is_from_list(sender: Address, values: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether From is an address of a list that the mail names, or says "via"."""
    return _VIA.search(sender.name) is not None or lists.is_list_address(sender.email, values)


def _is_same_mail(
    outer: Mapping[str, Sequence[str]], inner: Mapping[str, Sequence[str]], list_email: str
) -> bool:
    """Tell whether Subject and Date of a wrapper are those of the mail within, and From is not."""
    email = _parse_from(inner).email.lower()
    if not email or email == list_email.lower():
        return False
    outer_dates, inner_dates = outer.get("date", ()), inner.get("date", ())
    if inner_dates and outer_dates and outer_dates[0] != inner_dates[0]:
        sent = date.parse_date(inner_dates[0])
        if sent is None or sent != date.parse_date(outer_dates[0]):
            return False
    return _is_same_subject(_parse_subject(outer), _parse_subject(inner))


def _parse_subject(values: Mapping[str, Sequence[str]]) -> str:
    subjects = values.get("subject")
    if not subjects:
        return ""
    text = encoded_word.unfold(encoded_word.decode_words(subjects[0]).text)
    return "" if text.lower() == _NO_SUBJECT else text


def _is_same_subject(outer: str, inner: str) -> bool:
    """Tell whether two subjects are equal but for tags in brackets that the list added."""
    outer, inner = (_REPLY_MARK.sub("", subject, count=1) for subject in (outer, inner))
    if outer == inner:
        return True
    if not inner or not outer.endswith(inner):
        return False
    return _TAGS.fullmatch(outer[: -len(inner)]) is not None


def _find_id(values: Mapping[str, Sequence[str]]) -> str | None:
    ids = values.get("message-id")
    own_id = msgid.find_first_id(ids[0]) if ids else None
    return msgid.bound_id(own_id) if own_id is not None else None
