"""Decode RFC 2047 encoded words in header text.

Input: a header's value, folded or not. Output: `Decoded`. A word that cannot be decoded is kept
as written.
"""

from __future__ import annotations

import binascii
import re

from ingest.mail import charset as charsets
from ingest.mail.charset import Decoded
from ingest.mail.defect import Defect

MAX_DECODED = 8 * 1024

# RFC 2047 2, and the habits of mailers: words over 75 characters, white space and a single "?" in
# the text, RFC 2231 5's language after the charset. The text ends at "?=" and contains no "=?", so
# that a thousand words that never end are read once, and not once for each of them.
WORD = re.compile(
    r"=\?([^?\s*]{1,64}+)(?:\*[^?\s]{0,64}+)?\?([bBqQ])\?"
    r"((?>(?:[^?=]++|\?(?!=)|=(?!\?(?!=)))*))\?="
)

_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")
_SPACE = re.compile(r"\s+")


def decode_words(value: str) -> Decoded:
    """Decode the encoded words of `value`, and remove the line ends of folding.

    Words with only white space between them are joined (RFC 2047 6.2). Adjacent words of the same
    charset are joined as bytes, because some mailers split a character between two words. Words
    are decoded at any place, also in the middle of text and in quotes, because mailers write them
    there. Only the first `MAX_DECODED` characters are decoded; a later word is kept as written.
    """
    if "\n" in value:
        value = value.replace("\n", "")
    if "=?" not in value:
        return Decoded(value, frozenset())
    head, rest = value[:MAX_DECODED], value[MAX_DECODED:]
    defects: set[Defect] = set()
    pieces: list[str] = []
    pending: list[bytes] = []  # the bytes of adjacent words in the same charset
    charset = ""
    end = 0  # of the last decoded word
    for match in WORD.finditer(head):
        data = _decode_payload(match[2], match[3], match[1])
        if data is None:
            defects.add(Defect.BAD_ENCODED_WORD)
            continue
        gap = head[end : match.start()]
        is_adjacent = bool(pending) and (not gap or gap.isspace())
        if not (is_adjacent and match[1].lower() == charset):
            _flush(pending, charset, pieces, defects)
            charset = match[1].lower()
        if not is_adjacent:
            pieces.append(gap)
        pending.append(data)
        end = match.end()
    _flush(pending, charset, pieces, defects)
    pieces += (head[end:], rest)
    if "=?" in rest:
        defects.add(Defect.BAD_ENCODED_WORD)
    return Decoded("".join(pieces), frozenset(defects))


def unfold(value: str) -> str:
    """Replace each sequence of white space by one space, and remove it at both ends."""
    return " ".join(value.split())


def _encode_raw(text: str, charset: str) -> bytes:
    """Return the bytes that a word had in the mail.

    Some programs write bytes of the charset into a word without encoding them. The header was then
    read as Latin-1 (`mail.header`), unless the bytes are valid UTF-8.
    """
    if text.isascii():
        return text.encode("ascii")
    if charsets.is_utf8(charset):
        return text.encode()
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _flush(pending: list[bytes], charset: str, pieces: list[str], defects: set[Defect]) -> None:
    """Append the text of the pending bytes to `pieces`, and clear them."""
    if pending:
        text, text_defects = charsets.decode_text(b"".join(pending), charset)
        pieces.append(text)
        defects |= text_defects
        pending.clear()


def _decode_payload(encoding: str, text: str, charset: str) -> bytes | None:
    """Decode the text of one word into bytes, or return None if its encoding is invalid."""
    if encoding in "qQ":
        # "=" without two hexadecimal digits is kept, as mailers mean it.
        data = _encode_raw(text.replace("_", " "), charset)
        if b"=" not in data:
            return data
        return _HEX.sub(lambda match: bytes((int(match[1], 16),)), data)
    text = _SPACE.sub("", text)
    if _NOT_BASE64.search(text):
        return None
    try:
        return binascii.a2b_base64(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except binascii.Error:
        return None
