"""Write patches as mail that `git am` accepts: rebuilt from the record, not the original mail.

The original mail may have the patch in an attachment, in base64, below a scissors line, or with the
footer of a list. The mail that is rebuilt has the commentary and the diff, the true author in From,
and the trailers that reviewers gave, as Patchwork's mbox has them.
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

from ingest.mail.message import Address
from ingest.patch.trailer import Trailer
from ingest.store.read.messages import MessageRow
from ingest.store.read.review_trailers import read_review_trailers
from ingest.store.read.series import read_series

# The trailers that Patchwork collects from replies.
REPLY_TRAILERS = ("Acked-by", "Reviewed-by", "Tested-by")

# git-mailsplit(1) starts a mail at such a line, so a body must not contain it. It accepts less than
# a date: `is_from_line` wants a digit, any byte, two digits, a colon, two digits and a number
# above 90 (`strtol`). Only one repetition comes before that: two would take quadratic time on a
# long line.
_ENVELOPE = re.compile(r"^(>*From .*[0-9].[0-9]{2}:[0-9]{2}[ \t\v\f\r+0]*[0-9]{2})", re.MULTILINE)
# Characters that end a line for some reader of headers, and NUL.
_NOT_IN_HEADERS = re.compile("[\0\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)


def patch_mbox(connection: Connection, rows: Iterable[MessageRow]) -> Iterator[str]:
    """Yield one mail for each patch, in the given order, for an mbox in UTF-8.

    The number of queries does not depend on the number of patches.
    """
    patches = list(rows)
    cover_ids = _read_cover_ids(connection, patches)
    parent_ids = {row.id for row in patches} | set(cover_ids.values())
    by_parent: dict[int, list[tuple[int, Trailer]]] = defaultdict(list)
    for position, review in enumerate(read_review_trailers(connection, parent_ids)):
        if review.trailer.key in REPLY_TRAILERS:
            by_parent[review.parent_id].append((position, review.trailer))
    for row in patches:
        # The oldest reply first, whether it is to the patch or to its cover; each trailer once.
        reviews = by_parent[row.id] + by_parent[cover_ids.get(row.series_id or 0, 0)]
        ordered = dict.fromkeys(trailer for _, trailer in sorted(reviews, key=itemgetter(0)))
        yield _format_mail(row, [trailer for trailer in ordered if trailer not in row.trailers])


def cover_mbox(row: MessageRow) -> str:
    """Return a cover as a mail with its text, without a patch."""
    return _format_mail(row, [])


def patch_raw(row: MessageRow) -> str:
    """Return the diff of a patch, for patch(1)."""
    return row.diff or ""


def file_name(name: str) -> str:
    """Return the file name, without its suffix, for a download of a patch or series."""
    words = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    return re.sub(r"-{2,}", "-", words)[:100].strip("-") or "patch"


def _read_cover_ids(connection: Connection, rows: Iterable[MessageRow]) -> dict[int, int]:
    """Return the covers of the patches' series, by series."""
    series_ids = {row.series_id for row in rows if row.series_id is not None}
    return {
        series.id: series.cover_id
        for series in read_series(connection, series_ids)
        if series.cover_id is not None
    }


def _format_mail(row: MessageRow, new_trailers: list[Trailer]) -> str:
    headers = [
        f"From {'0' * 40} Mon Sep 17 00:00:00 2001",
        f"From: {_format_address(row.author or row.submitter)}",
        f"Subject: {_encode_subject(_one_line(_format_subject(row)))}",
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
    body = "\n".join((_add_trailers(row.content, new_trailers), "", row.diff or ""))
    return "\n".join((*headers, "", _ENVELOPE.sub(r">\1", body))).rstrip("\n") + "\n-- \n\n"


def _format_subject(row: MessageRow) -> str:
    """Return the name of the record with the prefix of a patch, which `git am` strips."""
    name = row.name or row.subject
    if name.startswith("["):
        return f"[PATCH {name[1:]}" if "PATCH" not in name.split("]")[0] else name
    return f"[PATCH] {name}"


def _add_trailers(content: str, trailers: list[Trailer]) -> str:
    """Return the commentary with trailers after those of its commit message."""
    if not trailers:
        return content
    lines = "\n".join(f"{trailer.key}: {trailer.value}" for trailer in trailers)
    separator = _SEPARATOR.search(content)
    if separator is None:
        return f"{content}\n{lines}"
    start = separator.start()
    return f"{content[:start].rstrip()}\n{lines}\n{content[start:]}"


def _format_address(address: Address) -> str:
    """Return an address for a header.

    Only an address with non-ASCII characters is written as it is (RFC 6532): `formataddr` refuses
    it.
    """
    name, email = _one_line(address.name), _one_line(address.email)
    if email.isascii():
        return formataddr((name, email), charset="utf-8")
    display_name = formataddr((name, "@"), charset="utf-8").removesuffix("<@>") if name else ""
    return f"{display_name}<{email}>"


def _one_line(text: str) -> str:
    return _NOT_IN_HEADERS.sub(" ", text)


def _encode_subject(text: str) -> str:
    if text.isascii():
        return text
    return Header(text, "utf-8", header_name="Subject").encode()
