"""A message's body to its leaves (RFC 2045, 2046).

Input: the mail with LF line ends, where its body lies, and its content fields. Output: `PartTree`:
`Part`s in order and the flaws. Refuses nothing: what is beyond the bounds is opaque.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ingest.mail import charset, flowed, header, param, transfer
from ingest.mail.defect import Defect
from ingest.mail.message import Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_DEPTH = 64
MAX_PARTS = 1_000
# Of decoded text, all parts together. Later stages hold text as lines, and many short ones take
# fifty times their octets. (The largest patches that lists pass on have a tenth of this.)
MAX_PART_TEXT = 16 * 1024 * 1024  # octets
MAX_PART_LINES = 500_000
MAX_ENCLOSED = MAX_PART_TEXT  # octets of mails in mails that must be decoded: each is one copy more
_MAX_BOUNDARY = 70  # RFC 2046 5.1.1

# Patches under types that are not text: what mailers make of *.patch (and `git send-email
# --attach` of none of them).
_PATCH_TYPES = frozenset({"application/x-patch", "application/x-diff"})
_PATCH_NAMES = (".patch", ".diff")
_MAIL_TYPES = frozenset({"message/rfc822", "message/global"})
_PLAIN = param.Parameters("text/plain", {})
_NOTHING = param.Parameters("", {})


class PartTree(NamedTuple):
    """The leaves of a body, in order, and what was wrong on the way."""

    parts: tuple[Part, ...]
    defects: frozenset[Defect]


class _Place(NamedTuple):
    """Where an entity's body lies, and how it stands in the tree."""

    data: bytes
    start: int
    end: int
    depth: int
    nested: bool


def walk_parts(data: bytes, start: int, fields: Mapping[str, Sequence[str]]) -> PartTree:
    """The leaves of the body `data[start:]` (LF line ends), all of `multipart/*` opened.

    `fields`: the fields of the mail, by lower-case name. Text is read through its
    transfer encoding and charset; other content is opaque, except what is named as a patch.
    Leaves of a message/rfc822 are marked as nested. Bounds: `MAX_DEPTH`, `MAX_PARTS`,
    `MAX_PART_TEXT`, `MAX_PART_LINES`, `MAX_ENCLOSED`.
    """
    walk = _Walk()
    walk.entity(_Place(data, start, len(data), 0, nested=False), fields, _PLAIN)
    return PartTree(tuple(walk.parts), frozenset(walk.defects))


class _Walk:
    """One walk over one message; lives no longer."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.defects: set[Defect] = set()
        self._containers = 0
        self._text_left = MAX_PART_TEXT
        self._lines_left = MAX_PART_LINES
        self._enclosed_left = MAX_ENCLOSED

    def entity(
        self,
        place: _Place,
        fields: Mapping[str, Sequence[str]],
        default: param.Parameters,
    ) -> None:
        """One entity: a leaf, or what is in it. `default`: its type where it has none."""
        values = fields.get("content-type")
        kind = param.parse_parameters(values[0]) if values else default
        if kind.name.count("/") != 1 or kind.name[0] == "/" or kind.name[-1] == "/":
            kind = param.Parameters("text/plain", kind.values)  # RFC 2045 5.2
        if kind.name.startswith("multipart/") or kind.name in _MAIL_TYPES:
            if place.depth < MAX_DEPTH and self._containers < MAX_PARTS:
                self._containers += 1
                if kind.name in _MAIL_TYPES:
                    self._mail(place, fields, kind)
                else:
                    self._multipart(place, fields, kind)
                return
            self.defects.add(Defect.PARTS_CAPPED)
        self._leaf(place, fields, kind)

    def _multipart(
        self, place: _Place, fields: Mapping[str, Sequence[str]], kind: param.Parameters
    ) -> None:
        boundary = kind.values.get("boundary", "").rstrip()
        if not boundary or len(boundary) > _MAX_BOUNDARY:
            self.defects.add(Defect.BAD_MULTIPART)
        default = _PLAIN
        if kind.name == "multipart/digest":  # RFC 2046 5.1.5
            default = param.Parameters("message/rfc822", {})
        found = False
        if boundary:
            for start, end, closed in _split(place, boundary.encode()):
                found = True
                if not closed:
                    self.defects.add(Defect.BAD_MULTIPART)
                if len(self.parts) >= MAX_PARTS:
                    self.defects.add(Defect.PARTS_CAPPED)
                    return
                self._part(place._replace(start=start, end=end, depth=place.depth + 1), default)
        if not found:
            self.defects.add(Defect.BAD_MULTIPART)
            self._leaf(place, fields, _PLAIN)

    def _part(self, place: _Place, default: param.Parameters) -> None:
        block = header.split_header(place.data, place.start, place.end)
        # A part without header fields is quite regular (RFC 2046 5.1).
        self.defects |= block.defects - {Defect.NO_HEADERS}
        self.entity(place._replace(start=block.body), block.named, default)

    def _mail(
        self, place: _Place, fields: Mapping[str, Sequence[str]], kind: param.Parameters
    ) -> None:
        encoding = _encoding(fields)
        if encoding in {"base64", "quoted-printable"}:
            # RFC 2046 5.2.1 forbids it, and some gateways do it.
            self._enclosed_left -= place.end - place.start
            if self._enclosed_left < 0:
                self.defects.add(Defect.PARTS_CAPPED)
                self._leaf(place, fields, kind)
                return
            data, flaws = transfer.decode_transfer(place.data[place.start : place.end], encoding)
            self.defects |= flaws
            data = data.replace(b"\r\n", b"\n")
            place = place._replace(data=data, start=0, end=len(data))
        self._part(place._replace(depth=place.depth + 1, nested=True), _PLAIN)

    def _leaf(
        self, place: _Place, fields: Mapping[str, Sequence[str]], kind: param.Parameters
    ) -> None:
        values = fields.get("content-disposition")
        disposition = param.parse_parameters(values[0]) if values else _NOTHING
        label = None
        if disposition.values or "name" in kind.values:
            label = param.filename(disposition, kind)
        text: str | None = None
        unwrapped = False
        if _is_text(kind.name, label):
            text = self._text(place, _encoding(fields), kind.values.get("charset"))
            if kind.name == "text/plain" and "format" in kind.values:
                unwrapped = kind.values["format"].lower() == "flowed"
                if unwrapped:
                    delsp = kind.values.get("delsp", "").lower() == "yes"
                    text = flowed.unwrap_flowed(text, delsp=delsp)
        self.parts.append(
            Part(
                kind.name,
                text,
                label,
                disposition.name == "attachment",
                unwrapped,
                place.nested,
            )
        )

    def _text(self, place: _Place, encoding: str, label: str | None) -> str:
        data = place.data[place.start : place.end]
        if encoding:
            data, flaws = transfer.decode_transfer(data, encoding)
            self.defects |= flaws
        if len(data) > self._text_left:
            self.defects.add(Defect.PARTS_CAPPED)
            data = data[: data.rfind(b"\n", 0, self._text_left) + 1]
        self._text_left -= len(data)
        lines = data.count(b"\n")
        if lines > self._lines_left:
            self.defects.add(Defect.PARTS_CAPPED)
            kept = data.split(b"\n", self._lines_left)[:-1]
            data = b"".join(line + b"\n" for line in kept)
        self._lines_left = max(0, self._lines_left - lines)
        text, flaws = charset.decode_text(data, label)
        self.defects |= flaws
        if "\r" in text:
            text = text.replace("\r\n", "\n")
            if "\n" not in text:
                text = text.replace("\r", "\n")
        return text


def _split(place: _Place, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
    """Start and end of each part of a multipart, and whether a delimiter ended it.

    RFC 2046 5.1.1: a delimiter is a whole line, so that one boundary may be the beginning of
    another; the line end before it belongs to it; text before the first and after the closing
    one is nobody's.
    """
    data, end = place.data, place.end
    needle = b"\n--" + boundary
    part = -1
    at = place.start - 1  # a body begins behind the empty line after its header
    while (at := data.find(needle, at, end)) >= 0:
        tail = at + len(needle)
        line_end = data.find(b"\n", tail, end)
        if line_end < 0:
            line_end = end
        rest = data[tail:line_end].strip(b" \t\r")
        if rest not in {b"", b"--"}:
            at += 1
            continue
        if part >= 0:
            yield part, max(part, at), True
        if rest:
            return
        part = min(line_end + 1, end)
        at = line_end  # which may be the line end before the next delimiter
    if part >= 0:
        yield part, end, False


def _encoding(fields: Mapping[str, Sequence[str]]) -> str:
    values = fields.get("content-transfer-encoding")
    if not values:
        return ""
    words = values[0].split(None, 1)
    return words[0].rstrip(";").lower() if words else ""


def _is_text(token: str, label: str | None) -> bool:
    if token.startswith("text/") or token in _PATCH_TYPES:
        return True
    if label is None or token.startswith(("multipart/", "message/")):
        return False
    return label.lower().endswith(_PATCH_NAMES)
