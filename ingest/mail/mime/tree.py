"""Parse the body of a message into the leaves of its MIME tree (RFC 2045, 2046).

Input: the mail with LF line ends, the offset of its body, and its content fields. Output:
`PartTree`: the `Part`s in order, and the defects. Any bytes are accepted: parts beyond the bounds
are not read as text.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NamedTuple

from ingest.mail import charset, header
from ingest.mail.defect import Defect
from ingest.mail.message import Part
from ingest.mail.mime import container, flowed, param, text_type, transfer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_DEPTH = 64
MAX_PARTS = 1_000
# Bounds of the decoded text of all parts together. Later stages store text as lines, and many short
# lines take fifty times their size. (The largest patches on mailing lists have a tenth of this.)
MAX_PART_TEXT = 16 * 1024 * 1024  # bytes
MAX_PART_LINES = 500_000

_PLAIN = param.Parameters("text/plain", {})
_NO_PARAMETERS = param.Parameters("", {})


class PartTree(NamedTuple):
    """The leaves of a body in order, and the defects found in it."""

    parts: tuple[Part, ...]
    defects: frozenset[Defect]


class _Span(NamedTuple):
    """The position of an entity's body in `data`, and the position of the entity in the tree."""

    data: bytes
    start: int
    end: int
    depth: int
    nested: bool
    is_encrypted: bool = False  # within a multipart/encrypted (RFC 1847)


def walk_parts(data: bytes, start: int, fields: Mapping[str, Sequence[str]]) -> PartTree:
    """Return the leaves of the body `data[start:]`, which has LF line ends.

    Each `multipart/*` is split into its parts. `fields` are the values of the mail's fields by name
    in lower case. Text is decoded by its transfer encoding and charset; other content is not read,
    except parts with the name of a patch. Leaves within a message/rfc822 are marked as nested. The
    bounds are `MAX_DEPTH`, `MAX_PARTS`, `MAX_PART_TEXT`, `MAX_PART_LINES` and
    `container.MAX_ENCLOSED`.
    """
    walk = _TreeWalk()
    walk.visit(_Span(data, start, len(data), 0, nested=False), fields, _PLAIN)
    return PartTree(tuple(walk.parts), frozenset(walk.defects))


class _TreeWalk:
    """The state of one walk over the MIME tree of one message."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.defects: set[Defect] = set()
        self._container_count = 0
        self._text_left = MAX_PART_TEXT
        self._lines_left = MAX_PART_LINES
        self._enclosed_left = container.MAX_ENCLOSED

    def visit(
        self,
        span: _Span,
        fields: Mapping[str, Sequence[str]],
        default: param.Parameters,
    ) -> None:
        """Read an entity and the entities within it. `default` is its type if it has none."""
        values = fields.get("content-type")
        content_type = param.parse_parameters(values[0]) if values else default
        if (
            content_type.name.count("/") != 1
            or content_type.name[0] == "/"
            or content_type.name[-1] == "/"
        ):
            content_type = param.Parameters("text/plain", content_type.values)  # RFC 2045 5.2
        if content_type.name.startswith("multipart/") or content_type.name in container.MAIL_TYPES:
            if span.depth < MAX_DEPTH and self._container_count < MAX_PARTS:
                self._container_count += 1
                if content_type.name in container.MAIL_TYPES:
                    self._visit_mail(span, fields, content_type)
                else:
                    self._visit_multipart(span, fields, content_type)
                return
            self.defects.add(Defect.PARTS_CAPPED)
        self._add_leaf(span, fields, content_type)

    def _visit_multipart(
        self, span: _Span, fields: Mapping[str, Sequence[str]], content_type: param.Parameters
    ) -> None:
        boundary = container.find_boundary(content_type)
        if not boundary or len(boundary) > container.MAX_BOUNDARY:
            self.defects.add(Defect.BAD_MULTIPART)
        default = _PLAIN
        if content_type.name == "multipart/digest":  # RFC 2046 5.1.5
            default = param.Parameters("message/rfc822", {})
        has_parts = False
        if boundary:
            for part in container.split_multipart(span.data, span.start, span.end, content_type):
                has_parts = True
                if not part.is_closed:
                    self.defects.add(Defect.BAD_MULTIPART)
                if len(self.parts) >= MAX_PARTS:
                    self.defects.add(Defect.PARTS_CAPPED)
                    return
                self._visit_part(
                    span._replace(
                        start=part.start,
                        end=part.end,
                        depth=span.depth + 1,
                        is_encrypted=content_type.name == "multipart/encrypted",
                    ),
                    default,
                )
        if not has_parts:
            self.defects.add(Defect.BAD_MULTIPART)
            self._add_leaf(span, fields, _PLAIN)

    def _visit_part(self, span: _Span, default: param.Parameters) -> None:
        block = header.split_header(span.data, span.start, span.end)
        # A part without header fields is valid (RFC 2046 5.1).
        self.defects |= block.defects - {Defect.NO_HEADERS}
        self.visit(span._replace(start=block.body), block.values, default)

    def _visit_mail(
        self, span: _Span, fields: Mapping[str, Sequence[str]], content_type: param.Parameters
    ) -> None:
        encoding = container.find_encoding(fields)
        if encoding in container.MAIL_ENCODINGS:
            self._enclosed_left -= span.end - span.start
            if self._enclosed_left < 0:
                self.defects.add(Defect.PARTS_CAPPED)
                self._add_leaf(span, fields, content_type)
                return
            data, defects = transfer.decode_transfer(span.data[span.start : span.end], encoding)
            self.defects |= defects
            data = data.replace(b"\r\n", b"\n")
            span = span._replace(data=data, start=0, end=len(data))
        self._visit_part(span._replace(depth=span.depth + 1, nested=True), _PLAIN)

    def _add_leaf(
        self, span: _Span, fields: Mapping[str, Sequence[str]], content_type: param.Parameters
    ) -> None:
        values = fields.get("content-disposition")
        disposition = param.parse_parameters(values[0]) if values else _NO_PARAMETERS
        filename = None
        if disposition.values or "name" in content_type.values:
            filename = param.find_filename(disposition, content_type)
        text: str | None = None
        text_bytes: bytes | None = None
        is_flowed = False
        is_attachment = disposition.name == "attachment"
        name, encoding = content_type.name, container.find_encoding(fields)
        charset_name = content_type.values.get("charset")
        if text_type.is_text(name):
            text, text_bytes = self._decode_text(span, encoding, charset_name)
        elif self._may_be_text(
            span, content_type, filename, is_attachment=is_attachment
        ) and self._reads_as_text(span, encoding, charset_name):
            text, text_bytes = self._decode_text(span, encoding, charset_name)
            if filename is None and not is_attachment:
                self.defects.add(Defect.WRONG_CONTENT_TYPE)
                name = "text/plain"
        if (
            text is not None
            and content_type.name == "text/plain"
            and content_type.values.get("format", "").lower() == "flowed"
        ):
            is_flowed = True
            delsp = content_type.values.get("delsp", "").lower() == "yes"
            text = flowed.unwrap_flowed(text, delsp=delsp)
            text_bytes = _unwrap_bytes(text_bytes, text, delsp=delsp)
        self.parts.append(
            Part(
                name,
                text,
                filename,
                is_attachment,
                is_flowed,
                span.nested,
                text_bytes,
            )
        )

    def _may_be_text(
        self,
        span: _Span,
        content_type: param.Parameters,
        filename: str | None,
        *,
        is_attachment: bool,
    ) -> bool:
        """Tell whether a part that is not declared as text may be text all the same.

        It has the name of a text file; or a relay replaced the type of the mail's text, which is
        the first part and has no name, by one that says nothing (`x-default=true` admits that).
        """
        name = content_type.name
        if span.is_encrypted or name.startswith(("multipart/", "message/")):
            return False
        if filename is not None and text_type.is_text_name(filename):
            return True
        is_only = span.depth == 0
        if not text_type.is_generic(name, is_only=is_only):
            return False
        is_first = not self.parts and filename is None and not is_attachment
        return is_only or is_first or "x-default" in content_type.values

    def _reads_as_text(self, span: _Span, encoding: str, charset_name: str | None) -> bool:
        data = span.data[span.start : span.end]
        if len(data) > MAX_PART_TEXT:
            return False
        return text_type.reads_as_text(transfer.decode_transfer(data, encoding).data, charset_name)

    def _decode_text(self, span: _Span, encoding: str, charset_name: str | None) -> _Text:
        data = span.data[span.start : span.end]
        if encoding:
            data, defects = transfer.decode_transfer(data, encoding)
            self.defects |= defects
        if len(data) > self._text_left:
            self.defects.add(Defect.PARTS_CAPPED)
            data = data[: data.rfind(b"\n", 0, self._text_left) + 1]
        self._text_left -= len(data)
        line_count = data.count(b"\n")
        if line_count > self._lines_left:
            self.defects.add(Defect.PARTS_CAPPED)
            kept = data.split(b"\n", self._lines_left)[:-1]
            data = b"".join(line + b"\n" for line in kept)
        self._lines_left = max(0, self._lines_left - line_count)
        text, defects = charset.decode_text(data, charset_name)
        self.defects |= defects
        if "\r" in text:
            text = text.replace("\r\n", "\n")
            if "\n" not in text:
                return _Text(text.replace("\r", "\n"), None)
        if text.isascii() and len(text) == len(data):
            return _Text(text, None)  # nearly all mail
        data = data.removeprefix(codecs.BOM_UTF8)
        if text.count("\n") != data.count(b"\n") or b"\n\0" in data or b"\0\n" in data:
            return _Text(text, None)  # UTF-16 and HZ have line ends of their own
        if charset_name is not None and charset.is_utf7(charset_name):
            return _Text(text, None)
        return _Text(text, None if text.encode() == data else data)


class _Text(NamedTuple):
    """The text of a part, and `Part.data`."""

    text: str
    data: bytes | None


def _unwrap_bytes(data: bytes | None, text: str, *, delsp: bool) -> bytes | None:
    """Remove soft line breaks from `data` as they were removed from `text`."""
    if data is None:
        return None
    unwrapped = data.replace(b"\r\n", b"\n").decode("latin-1")  # one character for each byte
    unwrapped = flowed.unwrap_flowed(unwrapped, delsp=delsp)
    return unwrapped.encode("latin-1") if unwrapped.count("\n") == text.count("\n") else None
