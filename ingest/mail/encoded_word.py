"""Header text with RFC 2047 encoded words to readable text.

Input: a header's value, folded or not. Output: `Decoded`. Refuses nothing: a word that cannot
be decoded is shown as it came.
"""

from __future__ import annotations

import binascii
import re

from ingest.mail import charset as charsets
from ingest.mail.charset import Decoded
from ingest.mail.defect import Defect

MAX_DECODED = 8 * 1024

# RFC 2047 2, and what mailers write: words over 75 characters, white space and a lone "?" in
# the text, RFC 2231 5's language after the charset. The text ends at "?=" and holds no "=?", so
# that a thousand words that never end are read once, not once for each.
WORD = re.compile(
    r"=\?([^?\s*]{1,64}+)(?:\*[^?\s]{0,64}+)?\?([bBqQ])\?"
    r"((?>(?:[^?=]++|\?(?!=)|=(?!\?(?!=)))*))\?="
)

_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")
_SPACE = re.compile(r"\s+")


def decode_words(value: str) -> Decoded:
    """`value` with its encoded words decoded, line ends of folding dropped.

    Words with nothing but white space between them are joined (RFC 2047 6.2), and those of one
    charset are joined as octets, for mailers that cut a character in two. Words are decoded
    wherever they stand, in the middle of text and in quotes too, as mailers write them there.
    Only the first `MAX_DECODED` characters are looked at; a later word is shown as it came.
    """
    if "\n" in value:
        value = value.replace("\n", "")
    if "=?" not in value:
        return Decoded(value, frozenset())
    head, rest = value[:MAX_DECODED], value[MAX_DECODED:]
    defects: set[Defect] = set()
    out: list[str] = []
    run: list[bytes] = []  # octets of adjacent words in one charset
    charset = ""
    at = 0
    for match in WORD.finditer(head):
        octets = _octets(match[2], match[3])
        if octets is None:
            defects.add(Defect.BAD_ENCODED_WORD)
            continue
        gap = head[at : match.start()]
        joined = bool(run) and (not gap or gap.isspace())
        if not (joined and match[1].lower() == charset):
            _flush(run, charset, out, defects)
            charset = match[1].lower()
        if not joined:
            out.append(gap)
        run.append(octets)
        at = match.end()
    _flush(run, charset, out, defects)
    out += (head[at:], rest)
    if "=?" in rest:
        defects.add(Defect.BAD_ENCODED_WORD)
    return Decoded("".join(out), frozenset(defects))


def unfold(value: str) -> str:
    """`value` with every run of white space as one space, and none at its ends."""
    return " ".join(value.split())


def _flush(run: list[bytes], charset: str, out: list[str], defects: set[Defect]) -> None:
    if run:
        text, flaws = charsets.decode_text(b"".join(run), charset)
        out.append(text)
        defects |= flaws
        run.clear()


def _octets(encoding: str, text: str) -> bytes | None:
    """The octets of one word's text, or None where it is not in that encoding."""
    if encoding in "qQ":
        # "=" without two hexadecimal digits stands for itself, as mailers have it.
        octets = text.replace("_", " ").encode()
        if b"=" not in octets:
            return octets
        return _HEX.sub(lambda match: bytes((int(match[1], 16),)), octets)
    text = _SPACE.sub("", text)
    if _NOT_BASE64.search(text):
        return None
    try:
        return binascii.a2b_base64(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except binascii.Error:
        return None
