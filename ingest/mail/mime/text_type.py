"""Tell whether the content of a MIME part is text, whatever its declared type."""

from __future__ import annotations

from ingest.mail import charset

# Types of patches that are not text: some mailers attach *.patch files as these (`git send-email
# --attach` never does).
_PATCH_TYPES = frozenset({"application/x-patch", "application/x-diff"})
# Names of files that may hold a patch as text, whatever type the mailer declares.
_TEXT_NAMES = (".patch", ".diff", ".dif", ".udiff", ".txt", ".text", ".mbox", ".mbx", ".eml")
# Types that say nothing of the content.
_GENERIC_TYPES = frozenset(
    {
        "application/octet-stream", "application/octetstream", "application/unknown",
        "application/x-unknown", "application/x-unknown-content-type", "application/binary",
        "application/x-octet-stream", "application/text", "application/x-text",
        "application/plain", "binary/octet-stream", "unknown/unknown",
    }
)  # fmt: skip
# Control characters that text has: white space, and form feed and escape in sources.
_TEXT_CONTROLS = frozenset(b"\t\n\v\f\r\x1b\b")
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code not in _TEXT_CONTROLS)
_BYTES_PER_CONTROL = 1_000  # bytes of text for each other control character
_US_ASCII = bytes(range(0x80))


def is_text(content_type: str) -> bool:
    """Tell whether a type is declared as text, or as a patch."""
    return content_type.startswith("text/") or content_type in _PATCH_TYPES


def is_text_name(filename: str) -> bool:
    """Tell whether a file of this name may hold a patch as text."""
    return filename.lower().endswith(_TEXT_NAMES)


def is_generic(content_type: str, *, is_only: bool) -> bool:
    """Tell whether a type says nothing of the content.

    `is_only`: of a mail's only part any private type may have been made up by a relay.
    """
    return content_type in _GENERIC_TYPES or (is_only and content_type.startswith("application/x-"))


def reads_as_text(data: bytes, charset_name: str | None) -> bool:
    """Tell whether decoded content is text: valid in its charset, almost without controls."""
    if b"\0" in data or not data.strip():
        return False
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls * _BYTES_PER_CONTROL > len(data):
        return False
    if data.isascii():
        return True
    if charset_name is not None:
        return not charset.decode_text(data, charset_name).defects
    try:
        data.decode()
    except UnicodeDecodeError:
        # Read as Latin-1. Patches are mostly US-ASCII in every charset.
        return len(data.translate(None, _US_ASCII)) * 3 < len(data)
    return True
