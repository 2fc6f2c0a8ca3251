"""Patches as mail that `git am` takes: rebuilt from the record, not the mail as it came.

The mail as it came may hold the patch in an attachment, in base64, below a scissors line or
with a list's footer. What is rebuilt is the commentary and the diff, with the true author in
From and the trailers that reviewers gave, as Patchwork's mbox has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC
from email.header import Header
from email.utils import format_datetime, formataddr

from sqlalchemy import Connection

from ingest.api.trailers import given
from ingest.mail.message import Address
from ingest.patch.trailer import Trailer
from ingest.store import read, schema
from ingest.store.read import MessageRow

# What Patchwork collects from replies.
GIVEN = ("Acked-by", "Reviewed-by", "Tested-by")

# git-mailsplit(1) starts a mail at such a line, so a body may not have it.
_ENVELOPE = re.compile(r"^(>*From \S+.*\d\d:\d\d:\d\d \d{4})", re.MULTILINE)
_SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)


def patch_mbox(connection: Connection, rows: Iterable[MessageRow]) -> Iterator[str]:
    """One mail a patch, in the order given, as an mbox in UTF-8."""
    for row in rows:
        yield _mail(row, _given(connection, row))


def _given(connection: Connection, row: MessageRow) -> list[Trailer]:
    """The trailers of replies to the patch and to its cover, oldest reply first, each once."""
    parents = [row.id]
    if row.series_id is not None:
        (series,) = read.series_where(connection, schema.series.c.id == row.series_id)
        if series.cover_id is not None:
            parents.append(series.cover_id)
    found = dict.fromkeys(one.trailer for one in given(connection, parents))
    return [one for one in found if one.key in GIVEN and one not in row.trailers]


def _mail(row: MessageRow, given: list[Trailer]) -> str:
    headers = [
        f"From {'0' * 40} Mon Sep 17 00:00:00 2001",
        f"From: {_address(row.author or row.submitter)}",
        f"Subject: {_unstructured(_subject(row))}",
        f"Message-Id: {row.msgid}",
    ]
    if row.date is not None:
        headers.insert(2, f"Date: {format_datetime(row.date.replace(tzinfo=UTC))}")
    if row.in_reply_to is not None:
        headers.append(f"In-Reply-To: {row.in_reply_to}")
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
    return formataddr((address.name, address.email), charset="utf-8")


def _unstructured(text: str) -> str:
    if text.isascii():
        return text
    return Header(text, "utf-8", header_name="Subject").encode()
