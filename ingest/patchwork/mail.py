"""Make a mail from what Patchwork keeps of it. Pure.

Patchwork keeps the header fields, and of the body the text without its encoding, with the diff
apart. The mail that is made of them has the header fields as they are, with other names for those
that described the body (see ingest.mail.substitute); and the text and the diff as its body.
"""

from __future__ import annotations

import re

from ingest.mail.substitute import MARK, MARK_TEXT, rename_field
from ingest.store.patchwork.rows import MessageContent

_FIELD = re.compile(r"[!-9;-~]+[ \t]*:")


def make_mail(content: MessageContent) -> bytes:
    """Return the mail of a patch, cover or comment of Patchwork."""
    fields = [_rename(field) for field in _split_fields(content.headers)]
    if not any(_name(field) == "message-id" for field in fields):
        fields.append(f"Message-ID: {content.msgid.strip()}")
    fields += [
        f"{MARK}: {MARK_TEXT}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
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


def _rename(field: str) -> str:
    name, colon, value = field.partition(":")
    return f"{rename_field(name.strip())}{colon}{value}"


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
