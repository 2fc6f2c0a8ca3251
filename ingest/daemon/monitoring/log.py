"""The log: one line for each message and each event, for people and for programs.

Input: an event's name and its fields, as `log_event` gives them to the standard `logging`; what
must not import this room does so itself. Output: a line of logfmt or JSON on standard error.
Fields are other people's text, so whatever could end the line, act on a terminal or turn its
text around is escaped.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TextIO

LOG = logging.getLogger("ingest")

Value = str | int | float | bool | None

# A field is for finding a mail, not for reading it; and a traceback has to fit in.
_LONGEST = 4000

# How `asyncio.selector_events` begins to say that accept(2) has failed, and seconds between lines.
_NOT_ACCEPTED = "socket.accept() out of system resource"
_ACCEPT_AGAIN = 60.0

# Controls of C0 and C1, line ends of Unicode, and what reorders or hides text (Unicode TR 36,
# 3.1); surrogates, which cannot be written at all.
_ACTIVE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# What needs no quotes in logfmt.
_PLAIN = re.compile(r"[^\s\"=\\]+")

# syslog(3)'s levels. journald takes them as `<N>` in front of a line, sd-daemon(3).
_PRIORITY = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailLine:
    """What the log says about one mail: once when it is accepted or not, once when derived.

    `event`: `accepted`, `refused`, `deferred`, `derived` or `quarantined`. `outcome` and
    `reason`: as stored, or as `Why` names them. `list`: list ids, with commas. `source`:
    `lmtp` or `smtp`, and the peer. `sha256`: the first 16 digits. Times are milliseconds:
    `accept_ms` from the final dot to the verdict, `queue_ms` from commit to the begin of
    deriving, `derive_ms` for deriving itself.
    """

    event: str
    msgid: str | None = None
    outcome: str | None = None
    reason: str | None = None
    list: str | None = None
    source: str | None = None
    size: int | None = None
    sha256: str | None = None
    accept_ms: float | None = None
    queue_ms: float | None = None
    derive_ms: float | None = None


def log_mail(line: MailLine, level: int = logging.INFO) -> None:
    """Write the line about a mail."""
    if LOG.isEnabledFor(level):
        log_event(
            line.event,
            level,
            **{one.name: getattr(line, one.name) for one in fields(line) if one.name != "event"},
        )


def log_event(event: str, level: int = logging.INFO, /, **values: Value) -> None:
    """Write a line about something else. Fields that are None are left out."""
    LOG.log(level, event, extra={"values": values})


def start_log(
    form: str,
    *,
    level: int = logging.INFO,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Write from now on to `stream` (standard error). `form`: `logfmt` or `json`. Under
    journald, which has its own times, lines begin with their priority and have no time.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(form, journald=bool(environ.get("JOURNAL_STREAM"))))
    handler.addFilter(AcceptFilter())
    # What libraries log goes the same way, or it would be lost or have lines of its own form.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOG.setLevel(level)
    # aiosmtpd tells of each connection what it offers there.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    # A log that cannot be written (a full disk) must not stop mail, nor fill the log.
    logging.raiseExceptions = False


class AcceptFilter(logging.Filter):
    """Lets asyncio's complaint of a connection that it cannot accept through once a minute.

    It writes a traceback for each attempt, dozens a second, for as long as the system has no
    descriptor or memory; and the one line says as much. Belongs on a handler, so that it sees the
    loops of all threads.
    """

    def __init__(
        self, message: str = "connections-wait", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`message`: what the record then says; `{reason}` in it is the error."""
        super().__init__()
        self._message = message
        self._clock = clock
        self._last = float("-inf")  # a handler filters in any thread: at worst two lines for one

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != "asyncio" or not record.getMessage().startswith(_NOT_ACCEPTED):
            return True
        now = self._clock()
        if now < self._last + _ACCEPT_AGAIN:
            return False
        self._last = now
        reason = str(record.exc_info[1]) if record.exc_info else record.getMessage()
        record.msg, record.args = self._message.format(reason=reason), ()
        record.exc_info = None
        record.__dict__["values"] = {"reason": reason}
        return True


class LineFormatter(logging.Formatter):
    """A record as one line."""

    def __init__(self, form: str, *, journald: bool) -> None:
        super().__init__()
        self.converter = time.gmtime
        self._line = _as_json if form == "json" else _as_logfmt
        self._journald = journald

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, Value] = {}
        if not self._journald:
            values["time"] = self._time(record)
        values["level"] = record.levelname.lower()
        values["event"] = record.getMessage()
        values |= getattr(record, "values", {})
        if record.name.partition(".")[0] != LOG.name:
            values["logger"] = record.name
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        line = self._line({key: one for key, one in values.items() if one is not None})
        return f"<{_PRIORITY.get(record.levelno, 5)}>{line}" if self._journald else line

    def _time(self, record: logging.LogRecord) -> str:
        """UTC, RFC 3339, to the millisecond."""
        whole = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        return f"{whole}.{int(record.msecs):03d}Z"


def _as_logfmt(values: Mapping[str, Value]) -> str:
    return " ".join(f"{key}={_quoted(one)}" for key, one in values.items())


def _quoted(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.1f}"
        case str() if not _PLAIN.fullmatch(value) or _ACTIVE.search(value):
            text = _cut(value).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{_ACTIVE.sub(_escape, text)}"'
        case _:
            return _cut(str(value))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    named = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    if named is not None:
        return named
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _as_json(values: Mapping[str, Value]) -> str:
    cut = {
        key: round(one, 1) if isinstance(one, float) else _cut(one) if isinstance(one, str) else one
        for key, one in values.items()
    }
    line = json.dumps(cut, ensure_ascii=False, separators=(",", ":"))
    # What JSON lets stand and a terminal obeys, in JSON's own escapes: it reads back the same.
    return _ACTIVE.sub(lambda found: json.dumps(found[0])[1:-1], line)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
