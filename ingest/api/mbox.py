"""Patches as mail that `git am` takes: rebuilt from the record, not the mail as it came.

The mail as it came may hold the patch in an attachment, in base64, below a scissors line or
with a list's footer. What is rebuilt is the commentary and the diff, with the true author in
From and the trailers that reviewers gave, as Patchwork's mbox has them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC
from email.header import Header
from email.utils import format_datetime, formataddr
from operator import itemgetter

from sqlalchemy import Connection

from ingest.api.trailers import trailers_from_replies
from ingest.mail.message import Address
from ingest.patch.trailer import Trailer
from ingest.store.read.messages import MessageRow
from ingest.store.read.series import series_by_id

# What Patchwork collects from replies.
REPLY_TRAILERS = ("Acked-by", "Reviewed-by", "Tested-by")

# git-mailsplit(1) starts a mail at such a line, so a body may not have it. It looks for less than
# a date: `is_from_line` wants a digit, any byte, two digits, a colon, two digits and a number
# above 90 (`strtol`). One repetition in front of that, or a long line costs its square.
_ENVELOPE = re.compile(r"^(>*From .*[0-9].[0-9]{2}:[0-9]{2}[ \t\v\f\r+0]*[0-9]{2})", re.MULTILINE)
# What ends a line for one reader of headers or another, and NUL.
_NOT_IN_HEADERS = re.compile("[\0\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)


def patch_mbox(connection: Connection, rows: Iterable[MessageRow]) -> Iterator[str]:
    """One mail a patch, in the order given, as an mbox in UTF-8. The queries are as many for a
    series as for a patch.
    """
    patches = list(rows)
    covers = _covers(connection, patches)
    parents = {row.id for row in patches} | set(covers.values())
    found: dict[int, list[tuple[int, Trailer]]] = defaultdict(list)
    for place, one in enumerate(trailers_from_replies(connection, parents)):
        if one.trailer.key in REPLY_TRAILERS:
            found[one.to].append((place, one.trailer))
    for row in patches:
        # The oldest reply first, whether to the patch or to its cover, each once.
        said = sorted(found[row.id] + found[covers.get(row.series_id or 0, 0)], key=itemgetter(0))
        mine = dict.fromkeys(trailer for _, trailer in said)
        yield _mail(row, [one for one in mine if one not in row.trailers])


def cover_mbox(row: MessageRow) -> str:
    """A cover as a mail, with its text and no patch."""
    return _mail(row, [])


def patch_raw(row: MessageRow) -> str:
    """The change alone, for patch(1)."""
    return row.diff or ""


def file_name(name: str) -> str:
    """What a download of a patch or series of this name is called, without its suffix."""
    words = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    return re.sub(r"-{2,}", "-", words)[:100].strip("-") or "patch"


def _covers(connection: Connection, rows: Iterable[MessageRow]) -> dict[int, int]:
    """The covers of their series, by series."""
    ids = {row.series_id for row in rows if row.series_id is not None}
    found = series_by_id(connection, ids)
    return {one.id: one.cover_id for one in found if one.cover_id is not None}


def _mail(row: MessageRow, given: list[Trailer]) -> str:
    headers = [
        f"From {'0' * 40} Mon Sep 17 00:00:00 2001",
        f"From: {_address(row.author or row.submitter)}",
        f"Subject: {_unstructured(_one_line(_subject(row)))}",
        f"Message-Id: {_one_line(row.msgid)}",
    ]
    if row.date is not None:
        headers.insert(2, f"Date: {format_datetime(row.date.replace(tzinfo=UTC))}")
    if row.in_reply_to is not None:
        headers.append(f"In-Reply-To: {_one_line(row.in_reply_to)}")
    headers += [
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    body = "\n".join((_with_trailers(row.content, given), "", row.diff or ""))
    return "\n".join((*headers, "", _ENVELOPE.sub(r">\1", body))).rstrip("\n") + "\n-- \n\n"


def _subject(row: MessageRow) -> str:
    """The record's name, marked as a patch again, for `git am` to strip."""
    name = row.name or row.subject
    if name.startswith("["):
        return f"[PATCH {name[1:]}" if "PATCH" not in name.split("]")[0] else name
    return f"[PATCH] {name}"


def _with_trailers(content: str, given: list[Trailer]) -> str:
    """The commentary with trailers behind those of its commit message."""
    if not given:
        return content
    lines = "\n".join(f"{one.key}: {one.value}" for one in given)
    cut = _SEPARATOR.search(content)
    if cut is None:
        return f"{content}\n{lines}"
    return f"{content[: cut.start()].rstrip()}\n{lines}\n{content[cut.start() :]}"


def _address(address: Address) -> str:
    """An address with letters beyond ASCII is written as it is (RFC 6532), and only there:
    `formataddr` would refuse it.
    """
    name, email = _one_line(address.name), _one_line(address.email)
    if email.isascii():
        return formataddr((name, email), charset="utf-8")
    shown = formataddr((name, "@"), charset="utf-8").removesuffix("<@>") if name else ""
    return f"{shown}<{email}>"


def _one_line(text: str) -> str:
    return _NOT_IN_HEADERS.sub(" ", text)


def _unstructured(text: str) -> str:
    if text.isascii():
        return text
    return Header(text, "utf-8", header_name="Subject").encode()
