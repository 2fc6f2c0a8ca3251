"""Write the mail of a patch for `git am`, as its sender meant it.

Input: a `Message`, the part that has the diff, and the sender. Output: one mail of an mbox. It has
the original header fields, the sender in From also where a list rewrote it, the original Date with
its zone, the commit message in UTF-8, and the diff in the bytes that were sent.

git-mailinfo(1) converts a commit message to UTF-8 and leaves the patch as it is; so does this.
docs/git-am.md compares what git reads from the original mail and from the one written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ingest.mail.message import Address, Message
from ingest.patch.git_am.commit_text import CommitText
from ingest.patch.git_am.header_fields import LINE_ENDS, MailField, format_original_fields
from ingest.patch.git_am.transfer_encoding import encode_body
from ingest.patch.trailers.blocks import message_trailers
from ingest.patch.trailers.trailer import Trailer

_MBOX_LINE = f"From {'0' * 40} Mon Sep 17 00:00:00 2001"


def write_patch_mail(
    message: Message,
    commit: CommitText,
    *,
    sender: Address,
    fields: Iterable[MailField] = (),
    trailers: Sequence[Trailer] = (),
) -> bytes:
    """Return one mail of an mbox that `git am` accepts.

    `sender`: the person behind From. `fields`: further header fields. `trailers`: those from
    replies, to be added to the message's own.
    """
    in_body = "".join(f"{name}: {' '.join(value.split())}\n" for name, value in commit.fields)
    text = (in_body and f"{in_body}\n") + _add_trailers(commit.message, trailers)
    if text and not text.endswith("\n"):
        text += "\n"
    return _write(message, text.encode() + commit.patch, sender, fields)


def write_text_mail(
    message: Message, text: str, *, sender: Address, fields: Iterable[MailField] = ()
) -> bytes:
    """Return a mail without a patch, such as a cover letter, as one mail of an mbox."""
    return _write(message, text.encode(), sender, fields)


def body_text(message: Message) -> str:
    """Return the plain text of a message, without attachments."""
    texts = [
        part.text
        for part in message.parts
        if part.text and part.content_type == "text/plain"
        if not part.nested and not part.attachment
    ]
    return "\n\n".join(texts)


def _add_trailers(message: str, trailers: Sequence[Trailer]) -> str:
    """Return the commit message with the trailers that it does not have yet below its own."""
    own = {(trailer.key, trailer.value.casefold()) for trailer in message_trailers(message)}
    new = [
        f"{trailer.key}: {LINE_ENDS.sub(' ', trailer.value)}\n"
        for trailer in trailers
        if (trailer.key, trailer.value.casefold()) not in own
    ]
    if not new:
        return message
    text = message.rstrip()
    last_paragraph = text[text.rfind("\n\n") + 1 :]
    gap = "\n" if message_trailers(last_paragraph) else "\n\n"
    return f"{text}{gap}{''.join(new)}"


def _write(message: Message, body: bytes, sender: Address, fields: Iterable[MailField]) -> bytes:
    encoded = encode_body(body if body.endswith(b"\n") else body + b"\n")
    lines = [
        _MBOX_LINE,
        *format_original_fields(message, sender),
        *(f"{name}: {LINE_ENDS.sub(' ', value)}" for name, value in fields),
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {encoded.encoding}",
    ]
    header = "\n".join(lines).encode("utf-8", "replace")
    return header + b"\n\n" + encoded.data + b"\n"
