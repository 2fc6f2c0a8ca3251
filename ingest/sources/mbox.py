r"""An mbox: mails one after another, each behind a line `From SENDER DATE`.

Input: a stream of bytes, read once, in bounded memory. Output: `RawMail` items.

There is no one mbox format (RFC 4155 says so too), so this is the rule here:

- A separator is an envelope line, `From SENDER DATE` with a date like asctime's, at the start
  of the file, or after an empty line, or, where somebody joined files without the empty line,
  before a line that looks like a header. `From ` before anything else is text. What `git
  format-patch` writes, `From 0123… Mon Sep 17 00:00:00 2001`, is an envelope line: after an
  empty line it parts two mails, and a body that quotes one unescaped is split, as no reader
  of this format can tell the two apart. Thunderbird's bare `From ` without sender and date
  is one only after an empty line and before a header.
- One `>` is taken from each line `>From `, `>>From `, … That is mboxrd, and undoes what
  mboxo does too, save for lines that the author had begun with `>From `: mboxo loses those
  when it writes, and no reader gets them back. `> From ` is not touched.
- The empty line before a separator, or before the end, is the format's and not the mail's.
  The mail keeps its other bytes, line ends included. A mail that did not end with a line end
  comes back with the one that the writer had to add.
- Content-Length is not read: it is wrong in too many archives, and forged for fun.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain

from ingest.mail.defect import Defect
from ingest.sources.compressed import BrokenStreamError, Stream
from ingest.sources.source import MAX_MAIL, RawMail, SourceError

CHUNK = 1 << 18

_ENVELOPE_LENGTH = 512  # octets of an envelope line; the longest seen has an SRS address
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = rb"\d{1,2}:\d\d(?::\d\d)?"
_ZONE = rb"(?:[+-]\d{4}|[A-Z]{1,5})"

# The wild forms: asctime, a zone before the year (date(1), Google Takeout) or after it, a
# second blank before the day (mailman 2), RFC 5322's order, UUCP's `remote from`. Each part
# is anchored by the one before it, and only the sender is of free length: linear.
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

_NO, _MORE = 0, -1


def is_mbox(head: bytes) -> bool:
    """Whether a file that begins with `head` is an mbox: its first line is an envelope.

    Empty lines and a byte order mark before it, which editors leave, do not count.
    """
    first = head[_leading(head) :].split(b"\n", 1)[0]
    if _ENVELOPE.match(first[:_ENVELOPE_LENGTH]):
        return True
    following = head[_leading(head) + len(first) + 1 :]
    return bool(_BARE.match(first) and _HEADER.match(following))


def is_mail(head: bytes) -> bool:
    """Whether a file that begins with `head` is one mail: its first line is a header."""
    return _HEADER.match(head, _leading(head)) is not None


def _leading(head: bytes) -> int:
    match = _LEADING.match(head)
    return match.end() if match else 0


def split_mbox(
    read: Callable[[int], bytes], *, base: int = 0, chunk: int = CHUNK
) -> Iterator[RawMail]:
    """The mails of an mbox that begins with an envelope line, in order.

    `read(size)` gives the next bytes, b"" at the end, which stand `base` octets into the
    file. Positions are the offset of the envelope line; that of the last mail has the offset
    of the end behind it, `1234-5678`, since only then it is known what more has come when the
    file has grown. The last mail has `Defect.TRUNCATED` where its headers or its last line
    do not end.
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
        # One search finds separators and quoting: the scan is most of the work.
        while (found := buffer.find(b"From ", scan)) >= 0:
            scan = found + 5
            before = buffer[found - 1]
            if before == 62:  # >
                quoted = True
            if before != 10:
                continue
            text = _separator(buffer, found, ended=ended)
            if text == _MORE:
                scan = found
                break
            if text != _NO:
                yield RawMail(_text(buffer, body, found, quoted=quoted), str(base + start))
                start, body, scan, quoted = found, text, text, False
        else:
            scan = max(scan, len(buffer) - 4)  # the next chunk may go on with what "From " lacks
        if start:
            del buffer[:start]
            base, body, scan, start = base + start, body - start, scan - start, 0
        if len(buffer) > MAX_MAIL + chunk:
            raise SourceError(
                f"the mail at offset {base} has more than {MAX_MAIL >> 20} MiB: this is no mbox"
            )
    if buffer:
        yield _last(buffer, body or len(buffer), base, quoted=quoted)


def _separator(buffer: bytearray, start: int, *, ended: bool) -> int:
    """Where the text begins behind the envelope line at `start`; `_NO`, or `_MORE`."""
    end = buffer.find(b"\n", start, start + _ENVELOPE_LENGTH)
    if end < 0:
        if len(buffer) - start >= _ENVELOPE_LENGTH:
            return _NO
        if not ended:
            return _MORE
        end = len(buffer)
    bare = False
    if not _ENVELOPE.match(buffer, start, end):
        bare = _BARE.match(buffer, start, end) is not None
        if not bare:
            return _NO
    blank = buffer[start - 2] == 10 or buffer[start - 3 : start - 1] == b"\n\r"
    following = min(end + 1, len(buffer))
    if bare and not blank:
        return _NO
    if (blank and not bare) or _HEADER.match(buffer, following):
        return following
    unfinished = len(buffer) - following < _HEADER_LENGTH and buffer.find(b"\n", following) < 0
    return _MORE if unfinished and not ended else _NO


def _text(buffer: bytearray, body: int, end: int, *, quoted: bool) -> bytes:
    """A mail's bytes, without the empty line behind it and with its quoting undone."""
    # The octet before `body` is the envelope line's LF, so an empty line may be all there is.
    if end > body and buffer[end - 1] == 10:
        if buffer[end - 2] == 10:
            end -= 1
        elif buffer[end - 2] == 13 and end - 2 >= body and buffer[end - 3] == 10:
            end -= 2
    with memoryview(buffer) as view:
        raw = bytes(view[body:end])
    return _QUOTED.sub(rb"\1\2", raw) if quoted else raw


def _last(buffer: bytearray, body: int, base: int, *, quoted: bool) -> RawMail:
    whole = buffer.endswith(b"\n") and _END_OF_HEADERS.search(buffer, body - 1)
    return RawMail(
        _text(buffer, body, len(buffer), quoted=quoted),
        f"{base}-{base + len(buffer)}",
        () if whole else (Defect.TRUNCATED,),
    )


class Mbox:
    """An mbox as a `Source`.

    A run that resumes goes on behind the mail at its position. Where no envelope line stands
    there any more (the file was rewritten), it starts anew: mail is rather offered twice than
    lost. Where that mail was the last and the file has grown since, it is handed on again if
    more of it has come.
    """

    total = None

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[Stream]],
        *,
        key: str,
        label: str,
        resumable: bool = True,
        chunk: int = CHUNK,
    ) -> None:
        """`opened` gives the unpacked bytes from the start, each time that it is called."""
        self._opened = opened
        self._chunk = chunk
        self.key = key
        self.label = label
        self.resumable = resumable

    def read(self, after: str | None = None) -> Iterator[RawMail]:
        """The mails, from the start or after a position. Raises `SourceError`."""
        if after is not None:
            offset, _, end = after.partition("-")
            if offset.isdecimal() and offset.isascii():
                with self._opened() as stream:
                    if _stands_at(stream, int(offset)):
                        mails = split_mbox(stream.read, base=int(offset), chunk=self._chunk)
                        yield from self._counted(_behind_first(mails, end))
                        return
        with self._opened() as stream:
            leading = _leading(stream.peek(4096))
            stream.skip(leading)
            yield from self._counted(split_mbox(stream.read, base=leading, chunk=self._chunk))

    def _counted(self, mails: Iterator[RawMail]) -> Iterator[RawMail]:
        """The same mails; an error tells how many there were."""
        count = 0
        try:
            for mail in mails:
                yield mail
                count += 1
        except BrokenStreamError as broken:
            raise SourceError(f"{broken} ({count} whole mails before that were read)") from broken


def _stands_at(stream: Stream, offset: int) -> bool:
    """Whether an envelope line stands at `offset`; the stream is then there."""
    if offset:
        stream.skip(offset - 1)
        if stream.peek(1) != b"\n" and offset != 3:  # 3: behind a byte order mark
            return False
        stream.skip(1)
    return is_mbox(stream.peek(4096))


def _behind_first(mails: Iterator[RawMail], end: str) -> Iterator[RawMail]:
    """All but the first mail, and that too if it does not end at `end` any more."""
    first = next(mails, None)
    if first is None:
        return
    following = next(mails, None)
    if following is None:
        if end and first.position.partition("-")[2] != end:
            yield first
        return
    if end and following.position.partition("-")[0] != end:
        yield first
    yield from chain((following,), mails)
