"""Write the log: one line for each mail and each event, for people and for programs.

Input: the name and the fields of an event, as `log_event` passes them to the standard `logging`
(packages that must not import this one do so themselves). Output: a line of logfmt or JSON on
standard error. Fields contain untrusted text, so everything that could end the line, control a
terminal or reorder the text is escaped.
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

# A field is for finding a mail, not for reading it; but a traceback must fit.
_MAX_LENGTH = 4000

# How the message of `asyncio.selector_events` begins after accept(2) has failed.
_ACCEPT_FAILED = "socket.accept() out of system resource"
_ACCEPT_INTERVAL = 60.0  # seconds between two such lines

# C0 and C1 controls, line ends of Unicode, characters that reorder or hide text (Unicode TR 36,
# 3.1), and surrogates, which cannot be written at all.
_ACTIVE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# Values that need no quotes in logfmt.
_PLAIN = re.compile(r"[^\s\"=\\]+")

# The levels of syslog(3). journald reads them as `<N>` at the start of a line, sd-daemon(3).
_PRIORITY = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailLine:
    """The fields of a log line about one mail, written on acceptance and after deriving.

    `event`: `accepted`, `rejected`, `deferred`, or a `DeriveEvent`. `outcome` and `reason`: as
    stored, or a `DeliveryReason`. `list`: list ids, with commas. `source`: `lmtp` or `smtp`, and
    the client. `sha256`: the first 16 digits. Times are in milliseconds: `accept_ms` from the
    final dot to the decision, `queue_ms` from the commit to the start of deriving, `derive_ms`
    for deriving itself.
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
    """Write a line about a mail."""
    if LOG.isEnabledFor(level):
        log_event(
            line.event,
            level,
            **{
                field.name: getattr(line, field.name)
                for field in fields(line)
                if field.name != "event"
            },
        )


def log_event(event: str, level: int = logging.INFO, /, **values: Value) -> None:
    """Write a line about an event. Fields that are None are omitted."""
    LOG.log(level, event, extra={"values": values})


def configure_log(
    form: str,
    *,
    level: int = logging.INFO,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send the log to `stream` (default: standard error), in the form `logfmt` or `json`.

    Under journald, which adds the time itself, lines begin with their priority and have no time.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(form, journald=bool(environ.get("JOURNAL_STREAM"))))
    handler.addFilter(AcceptErrorFilter())
    # Libraries log to the same place, or their lines would be lost or have another form.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOG.setLevel(level)
    # aiosmtpd logs for each connection what it offers.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    # A log that cannot be written (a full disk) must neither stop mail nor fill the log.
    logging.raiseExceptions = False


class AcceptErrorFilter(logging.Filter):
    """Pass asyncio's message about a connection that it cannot accept once a minute.

    asyncio writes a traceback for each attempt, dozens a second, while the system has no descriptor
    or memory left; one line says as much. Add this to a handler, so that it sees the loops of all
    threads.
    """

    def __init__(
        self, message: str = "connections-delayed", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`message`: the text of the record, in which `{reason}` is replaced by the error."""
        super().__init__()
        self._message = message
        self._clock = clock
        self._last = float("-inf")  # a handler filters in any thread: at worst, two lines pass

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log the record (`logging` calls this)."""
        if record.name != "asyncio" or not record.getMessage().startswith(_ACCEPT_FAILED):
            return True
        now = self._clock()
        if now < self._last + _ACCEPT_INTERVAL:
            return False
        self._last = now
        reason = str(record.exc_info[1]) if record.exc_info else record.getMessage()
        record.msg, record.args = self._message.format(reason=reason), ()
        record.exc_info = None
        record.__dict__["values"] = {"reason": reason}
        return True


class LineFormatter(logging.Formatter):
    """Format a record as one line."""

    def __init__(self, form: str, *, journald: bool) -> None:
        super().__init__()
        self.converter = time.gmtime
        self._line = _as_json if form == "json" else _as_logfmt
        self._journald = journald

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record (`logging` calls this)."""
        values: dict[str, Value] = {}
        if not self._journald:
            values["time"] = self._format_time(record)
        values["level"] = record.levelname.lower()
        values["event"] = record.getMessage()
        values |= getattr(record, "values", {})
        if record.name.partition(".")[0] != LOG.name:
            values["logger"] = record.name
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        line = self._line({key: value for key, value in values.items() if value is not None})
        return f"<{_PRIORITY.get(record.levelno, 5)}>{line}" if self._journald else line

    def _format_time(self, record: logging.LogRecord) -> str:
        """Return the time of a record: UTC, RFC 3339, with milliseconds."""
        seconds = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        return f"{seconds}.{int(record.msecs):03d}Z"


def _as_logfmt(values: Mapping[str, Value]) -> str:
    return " ".join(f"{key}={_quote(value)}" for key, value in values.items())


def _quote(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.1f}"
        case str() if not _PLAIN.fullmatch(value) or _ACTIVE.search(value):
            text = _truncate(value).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{_ACTIVE.sub(_escape, text)}"'
        case _:
            return _truncate(str(value))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    if short is not None:
        return short
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _as_json(values: Mapping[str, Value]) -> str:
    short = {key: _shorten(value) for key, value in values.items()}
    line = json.dumps(short, ensure_ascii=False, separators=(",", ":"))
    # Characters that JSON allows and a terminal obeys become JSON escapes, with the same value.
    return _ACTIVE.sub(lambda match: json.dumps(match[0])[1:-1], line)


def _shorten(value: Value) -> Value:
    match value:
        case float():
            return round(value, 1)
        case str():
            return _truncate(value)
        case _:
            return value


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + "…"
