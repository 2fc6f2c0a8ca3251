r"""Read an mbox: consecutive mails, each after a line `From SENDER DATE`.

Input: a stream of bytes, read once, in bounded memory. Output: `RawMail` items.

There is no single mbox format (RFC 4155 says so too). This module applies these rules:

- A separator is an envelope line, `From SENDER DATE` with a date like asctime's, in one of three
  places: at the start of the file, after an empty line, or before a line that looks like a header
  (somebody joined files without the empty line). `From ` before anything else is text. The line
  that `git format-patch` writes, `From 0123… Mon Sep 17 00:00:00 2001`, is an envelope line: after
  an empty line it separates two mails. A body that quotes such a line without escaping it is
  therefore split, because no reader of this format can tell the two cases apart. Thunderbird's bare
  `From ` without sender and date is a separator only after an empty line and before a header.
- One `>` is removed from each line `>From `, `>>From `, … This is mboxrd, and it also undoes what
  mboxo does, except for lines that the author began with `>From `: mboxo loses those when it
  writes, and no reader can restore them. `> From ` is not changed.
- The empty line before a separator, or before the end, belongs to the format and not to the mail.
  The mail keeps its other bytes, line ends included. A mail that did not end with a line end is
  returned with the line end that the writer had to add.
- Content-Length is ignored: it is wrong in too many archives, and easily forged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain

from ingest.frozen import frozen
from ingest.mail.defect import Defect
from ingest.sources.compressed import BrokenStreamError, Stream
from ingest.sources.source import MAX_MAIL, RawMail, SourceError

CHUNK = 1 << 18
CONTEXT = 3  # bytes before a line that tell whether it is a separator

_ENVELOPE_LENGTH = 512  # bytes of an envelope line; the longest seen has an SRS address
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = rb"\d{1,2}:\d\d(?::\d\d)?"
_ZONE = rb"(?:[+-]\d{4}|[A-Z]{1,5})"

# The forms that exist: asctime, a zone before the year (date(1), Google Takeout) or after it, a
# second blank before the day (mailman 2), RFC 5322's order, UUCP's `remote from`. Each part
# is anchored by the one before it, and only the sender has any length: linear time.
_ENVELOPE = re.compile(
    rb"From +\S[^\n]*? "
    + _DAY
    + rb",? {1,3}(?:"
    + rb"%b {1,3}\d{1,2},? {1,3}%b(?: {1,3}%b){0,2} {1,3}\d{4}" % (_MONTH, _TIME, _ZONE)
    + rb"|\d{1,2} {1,3}%b {1,3}\d{2,4} {1,3}%b" % (_MONTH, _TIME)
    + rb")(?: {1,3}%b)?(?: remote from [^\s]{1,100})?[ \t]*\r?$" % _ZONE
)
_BARE = re.compile(rb"From [ \t]*\r?$")
# A header's name (RFC 5322 2.2), or the quoted envelope of an earlier hop (UUCP).
_HEADER = re.compile(rb"[!-9;-~]{1,100}[ \t]{0,8}:|>From ")
_HEADER_LENGTH = 120
_LEADING = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*")

_QUOTED = re.compile(rb"(\A|\n)>(>*From )")
_END_OF_HEADERS = re.compile(rb"(?:\A|\n)\r?\n")

_LF, _CR, _GREATER_THAN = 10, 13, 62

# Results of `_find_text` that are not an offset: no separator, and more bytes are needed.
_NO, _MORE = 0, -1


def is_mbox(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is an mbox: its first line is an envelope.

    Empty lines and a byte order mark before it, which editors write, are ignored.
    """
    first_line = head[_leading_length(head) :].split(b"\n", 1)[0]
    if _ENVELOPE.match(first_line[:_ENVELOPE_LENGTH]):
        return True
    rest = head[_leading_length(head) + len(first_line) + 1 :]
    return bool(_BARE.match(first_line) and _HEADER.match(rest))


def is_mail(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is one mail: its first line is a header."""
    return _HEADER.match(head, _leading_length(head)) is not None


def _leading_length(head: bytes) -> int:
    match = _LEADING.match(head)
    return match.end() if match else 0


def split_mbox(
    read: Callable[[int], bytes], *, base: int = 0, stop: int | None = None, chunk: int = CHUNK
) -> Iterator[RawMail]:
    """Yield the mails of an mbox that begins with an envelope line, in order.

    With `stop`, only those whose envelope lines begin before that offset in the file.

    `read(size)` returns the next bytes, or b"" at the end; `base` is the offset of the first byte
    in the file. A position is the offset of the mail's envelope line. The position of the last mail
    also has the offset of the end, as in `1234-5678`: when the file has grown, this tells whether
    the mail has. The last mail has `Defect.TRUNCATED` if its headers or its last line do not end.
    """
    buffer = bytearray()
    start = body = scan = 0  # of the mail being read; `body` is 0 until its first line is whole
    ended = quoted = False
    while not ended:
        piece = read(chunk)
        ended = not piece
        buffer += piece
        if not body:
            scan = body = buffer.find(b"\n") + 1
            if not body:
                continue
        # One search finds separators and quoting, because the search is most of the work.
        while (line := buffer.find(b"From ", scan)) >= 0:
            scan = line + 5
            before = buffer[line - 1]
            if before == _GREATER_THAN:
                quoted = True
            if before != _LF:
                continue
            text = _find_text(buffer, line, ended=ended)
            if text == _MORE:
                scan = line
                break
            if text != _NO:
                yield RawMail(_extract_mail(buffer, body, line, quoted=quoted), str(base + start))
                if stop is not None and base + line >= stop:
                    return
                start, body, scan, quoted = line, text, text, False
        else:
            scan = max(scan, len(buffer) - 4)  # the next chunk may continue an incomplete "From "
        if start:
            del buffer[:start]
            base, body, scan, start = base + start, body - start, scan - start, 0
        if len(buffer) > MAX_MAIL + chunk:
            raise SourceError(
                f"the mail at offset {base} has more than {MAX_MAIL >> 20} MiB: this is no mbox"
            )
    if buffer:
        yield _last_mail(buffer, body or len(buffer), base, quoted=quoted)


def find_envelope(
    read: Callable[[int], bytes], *, base: int, first: int, stop: int, chunk: int = CHUNK
) -> int | None:
    """Find the first separator whose offset is at least `first` and below `stop`.

    `base` is the offset of the first byte that `read` returns, at least `CONTEXT` before `first`.
    Whether a line is a separator depends on the bytes next to it alone, so it is the same one that
    `split_mbox` finds, wherever that began.
    """
    buffer = bytearray()
    scan, ended = first - base, False
    while not ended and base + scan < stop:
        piece = read(chunk)
        ended = not piece
        buffer += piece
        while (line := buffer.find(b"From ", scan)) >= 0 and base + line < stop:
            scan = line + 5
            if buffer[line - 1] != _LF:
                continue
            text = _find_text(buffer, line, ended=ended)
            if text == _MORE:
                scan = line
                break
            if text != _NO:
                return base + line
        else:
            scan = max(scan, len(buffer) - 4)  # the next chunk may continue an incomplete "From "
        done = max(scan - CONTEXT, 0)
        del buffer[:done]
        base, scan = base + done, scan - done
    return None


def _find_text(buffer: bytearray, start: int, *, ended: bool) -> int:
    """Return where the text after the envelope line at `start` begins, or `_NO`, or `_MORE`.

    `ended` tells that no more bytes follow those in the buffer.
    """
    end = buffer.find(b"\n", start, start + _ENVELOPE_LENGTH)
    if end < 0:
        if len(buffer) - start >= _ENVELOPE_LENGTH:
            return _NO
        if not ended:
            return _MORE
        end = len(buffer)
    is_bare = False
    if not _ENVELOPE.match(buffer, start, end):
        is_bare = _BARE.match(buffer, start, end) is not None
        if not is_bare:
            return _NO
    is_after_blank = buffer[start - 2] == _LF or buffer[start - 3 : start - 1] == b"\n\r"
    text = min(end + 1, len(buffer))
    if is_bare and not is_after_blank:
        return _NO
    if (is_after_blank and not is_bare) or _HEADER.match(buffer, text):
        return text
    is_unfinished = len(buffer) - text < _HEADER_LENGTH and buffer.find(b"\n", text) < 0
    return _MORE if is_unfinished and not ended else _NO


def _extract_mail(buffer: bytearray, body: int, end: int, *, quoted: bool) -> bytes:
    """Return a mail's bytes without the empty line after it, and unquoted if it is `quoted`."""
    # The byte before `body` is the envelope line's LF, so an empty line may be all there is.
    if end > body and buffer[end - 1] == _LF:
        if buffer[end - 2] == _LF:
            end -= 1
        elif buffer[end - 2] == _CR and end - 2 >= body and buffer[end - 3] == _LF:
            end -= 2
    with memoryview(buffer) as view:
        raw = bytes(view[body:end])
    return _QUOTED.sub(rb"\1\2", raw) if quoted else raw


def _last_mail(buffer: bytearray, body: int, base: int, *, quoted: bool) -> RawMail:
    is_whole = buffer.endswith(b"\n") and _END_OF_HEADERS.search(buffer, body - 1)
    return RawMail(
        _extract_mail(buffer, body, len(buffer), quoted=quoted),
        f"{base}-{base + len(buffer)}",
        () if is_whole else (Defect.TRUNCATED,),
    )


@frozen
class Start:
    """Where reading begins: at the offset of an envelope line.

    `known_end`: where the mail that begins there ended when it was read, "" if other mails followed
    it; None if it was not read yet.
    """

    offset: int
    known_end: str | None = None


class Mbox:
    """An mbox as a `Source`.

    A run that resumes continues after the mail at its position. If there is no envelope line at
    that position any more (the file was rewritten), it starts from the beginning: reading a mail
    twice is better than losing one. If the mail was the last one and has grown since, it is read
    again.
    """

    total = None

    def __init__(
        self,
        opener: Callable[[], AbstractContextManager[Stream]],
        *,
        key: str,
        label: str,
        resumable: bool = True,
        chunk: int = CHUNK,
    ) -> None:
        """Take `opener`, which opens the decompressed bytes from the start with each call."""
        self._opener = opener
        self._chunk = chunk
        self.key = key
        self.label = label
        self.resumable = resumable

    def read(self, after: str | None = None) -> Iterator[RawMail]:
        """Yield the mails, from the start or after a position. Raises `SourceError`."""
        start = self.find_start(after)
        with self._opener() as stream:
            stream.skip(start.offset)
            mails = split_mbox(stream.read, base=start.offset, chunk=self._chunk)
            yield from _count_in_errors(skip_known(mails, start))

    def find_start(self, after: str | None) -> Start:
        """Find where reading begins, from the start of the file or after a position."""
        if after is not None:
            offset, _, end = after.partition("-")
            if offset.isdecimal() and offset.isascii():
                with self._opener() as stream:
                    if _skip_to_envelope(stream, int(offset)):
                        return Start(int(offset), end)
        with self._opener() as stream:
            return Start(_leading_length(stream.peek(4096)))


def _count_in_errors(mails: Iterator[RawMail]) -> Iterator[RawMail]:
    """Yield the same mails, and add the number of mails before an error to its text."""
    count = 0
    try:
        for mail in mails:
            yield mail
            count += 1
    except BrokenStreamError as error:
        raise SourceError(f"{error} ({count} whole mails before that were read)") from error


def _skip_to_envelope(stream: Stream, offset: int) -> bool:
    """Move the stream to `offset`, and tell whether an envelope line is there."""
    if offset:
        stream.skip(offset - 1)
        if stream.peek(1) != b"\n" and offset != 3:  # 3: after a byte order mark
            return False
        stream.skip(1)
    return is_mbox(stream.peek(4096))


def skip_known(mails: Iterator[RawMail], start: Start) -> Iterator[RawMail]:
    """Skip the first mail if it is known, unless it no longer ends where it did."""
    end = start.known_end
    if end is None:
        yield from mails
        return
    first = next(mails, None)
    if first is None:
        return
    second = next(mails, None)
    if second is None:
        if end and first.position.partition("-")[2] != end:
            yield first
        return
    if end and second.position.partition("-")[0] != end:
        yield first
    yield from chain((second,), mails)
