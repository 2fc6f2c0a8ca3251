"""Mark a mail that was made from what Patchwork keeps of it, and read its original header fields.

The body of such a mail is plain text, whatever it was. So the fields that described the body are
kept under other names (`X-Imported-Content-Type`), and the last fields are those of the new body,
after a field that says what the mail is.
"""

from __future__ import annotations

from collections.abc import Iterable

MARK = "X-Imported-From"
MARK_TEXT = "Patchwork; the raw mail was not available"
_PREFIX = "X-Imported-"

# What describes the encoding and the parts of a body.
_BODY_FIELDS = frozenset(
    {
        "content-type",
        "content-transfer-encoding",
        "content-disposition",
        "content-length",
        "content-language",
        "content-description",
        "content-id",
        "content-md5",
        "mime-version",
    }
)


def rename_field(name: str) -> str:
    """Return the name under which a field of the original mail is kept."""
    is_kept = name.lower() in _BODY_FIELDS or name.lower().startswith(_PREFIX.lower())
    return f"{_PREFIX}{name}" if is_kept else name


def has_mark(fields: Iterable[tuple[str, str]]) -> bool:
    """Return whether a mail with these header fields was made."""
    return (MARK, MARK_TEXT) in fields


def original_fields(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the header fields of a mail; of one that was made, those of the original mail."""
    own = list(fields)
    ends = [place for place, (name, text) in enumerate(own) if (name, text) == (MARK, MARK_TEXT)]
    if not ends:
        return own
    return [(name.removeprefix(_PREFIX), text) for name, text in own[: ends[-1]]]
