"""Make a mail from what Patchwork keeps of it. Pure.

Patchwork keeps the header fields, and of the body the text without its encoding, with the diff
apart. The mail that is made of them has the header fields as they are, and the text and the diff as
its body. The fields that described the body get another name, which `restore_name` undoes. The mail
says in a field of its own what it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingest.store.patchwork.rows import MessageContent

# What describes the encoding and the parts of the body, which is one text now.
_REPLACED = frozenset(
    {
        "content-type",
        "content-transfer-encoding",
        "content-disposition",
        "content-length",
        "content-language",
        "content-description",
        "content-id",
        "content-md5",
        "lines",
        "mime-version",
        "x-imported-from",
    }
)
_RENAMED = "X-Imported-"
_FIELD = re.compile(r"[!-9;-~]+[ \t]*:")
# The fields at the end of the header that describe the new body and the mail.
_ADDED = 4
_MARK = "X-Imported-From: Patchwork; the raw mail was not available"


def make_mail(content: MessageContent) -> bytes:
    """Return the mail of a patch, cover or comment of Patchwork."""
    fields = [
        f"{_RENAMED}{field}" if _name(field) in _REPLACED else field
        for field in _split_fields(content.headers)
    ]
    if not any(_name(field) == "message-id" for field in fields):
        fields.append(f"Message-ID: {content.msgid.strip()}")
    fields += [
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        _MARK,
    ]
    text = "\n".join(fields) + "\n\n" + _join_body(content)
    return text.encode("utf-8", "replace")


def restore_headers(headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """Return the header fields as Patchwork has them, if `make_mail` made the mail."""
    if not headers or headers[-1][0] != "X-Imported-From":
        return headers
    return [(name.removeprefix(_RENAMED), value) for name, value in headers[:-_ADDED]]


def _split_fields(headers: str) -> list[str]:
    """Split a header block into its fields, each with its folding. Other lines are left out."""
    fields: list[str] = []
    for line in headers.replace("\r\n", "\n").split("\n"):
        if line[:1] in (" ", "\t") and fields and line.strip():
            fields[-1] += f"\n{line}"
        elif _FIELD.match(line):
            fields.append(line)
    return fields


def _name(field: str) -> str:
    return field.partition(":")[0].strip().lower()


def _join_body(content: MessageContent) -> str:
    """Return the body: the text, and the diff below it."""
    text = content.content.replace("\r\n", "\n").rstrip("\n")
    if content.diff is None:
        return text + "\n"
    diff = content.diff.replace("\r\n", "\n")
    if not diff.endswith("\n"):
        diff += "\n"
    return f"{text}\n\n{diff}" if text else diff
