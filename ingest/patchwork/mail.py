"""Make a mail from what Patchwork keeps of it. Pure.

Patchwork keeps the header fields, and of the body the text without its encoding, with the diff
apart. The mail that is made of them has the header fields as they are, and the text and the diff as
its body. The fields that described the body get another name, see `ingest.mail.imported`. The mail
says in a field of its own what it is.
"""

from __future__ import annotations

import re

from ingest.mail.imported import MARK_NAME, RENAMED
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
_FIELD = re.compile(r"[!-9;-~]+[ \t]*:")
_MARK = f"{MARK_NAME}: Patchwork; the raw mail was not available"


def make_mail(content: MessageContent) -> bytes:
    """Return the mail of a patch, cover or comment of Patchwork."""
    fields = [
        f"{RENAMED}{field}" if _name(field) in _REPLACED else field
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
