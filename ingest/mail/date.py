"""Parse header values into times.

Input: the value of a Date field, or of Received fields. Output: naive UTC `datetime`s in whole
seconds, from 1990 to 2199, or None. The module never reads a clock, because records must not
depend on when the mail arrived.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_YEAR = 1990
LAST_YEAR = 2199
_MAX_CHARS = 256
_DAY = timedelta(days=1)
_MAX_OFFSET = 14 * 60  # minutes; no place on earth has a larger offset from UTC

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_ZONES = {  # RFC 5322 4.3; every other name is equivalent to -0000
    "edt": -240, "est": -300, "cdt": -300, "cst": -360, "mdt": -360, "mst": -420,
    "pdt": -420, "pst": -480,
}  # fmt: skip

# The form of RFC 5322 3.3 that nearly every mail has.
_COMMON_FORM = re.compile(
    r"\s*+(?:[A-Za-z]{3},\s*+)?([0-9]{1,2})\s++([A-Za-z]{3})\s++([0-9]{4})\s++"
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})\s++([+-])([0-9]{2})([0-9]{2})(?![0-9])"
)

_TIME = r"(?P<hour>[0-9]{1,2})[:.](?P<minute>[0-9]{2})(?:[:.](?P<second>[0-9]{2})(?:[.,][0-9]+)?)?"
_ZONE = r"(?:\s*(?P<zone>(?:GMT|UTC)?[+-][0-9]{1,2}:?[0-9]{2}[0-9]*|[A-Za-z]+)(?!\w))?"
_WEEKDAY = r"\s*(?:[^\W\d_]+\.?,?\s+|[^\W\d_]+,)?"
_FORMS = tuple(
    re.compile(form)
    for form in (
        # RFC 5322 4.3 and looser: two-digit years, no seconds, dashes, no weekday
        _WEEKDAY
        + r"(?P<day>[0-9]{1,2})[\s-]+(?P<month>[A-Za-z]{3,9})[\s.,-]+(?P<year>[0-9]{2,4}),?\s+"
        + _TIME
        + _ZONE,
        # asctime, and `date` with a zone before the year
        _WEEKDAY
        + r"(?P<month>[A-Za-z]{3,9})\s+(?P<day>[0-9]{1,2}),?\s+"
        + _TIME
        + r"(?:\s+(?P<early>[A-Za-z]{1,5}|[+-][0-9]{4}))?\s+(?P<year>[0-9]{4})"
        + _ZONE,
        # American order
        _WEEKDAY
        + r"(?P<month>[A-Za-z]{3,9})\s+(?P<day>[0-9]{1,2}),?\s+(?P<year>[0-9]{4}),?\s+"
        + _TIME
        + _ZONE,
        # ISO 8601
        r"\s*(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})[T\s]\s*" + _TIME + _ZONE,
    )
)
_COMMENT = re.compile(r"\([^()]*+\)")
_OFFSET = re.compile(r"(?:GMT|UTC)?([+-])([0-9]{1,2}):?([0-9]{2})", re.IGNORECASE)


def parse_date(value: str) -> datetime | None:
    """Parse a Date value into a time in UTC, or return None if it cannot be used.

    Accepts RFC 5322 3.3 and 4.3, and the habits of real mailers: comments, no weekday, no seconds,
    years of two digits, asctime, ISO 8601. A missing zone, or an unknown zone name, means UTC. A
    value is unusable if the day or hour does not exist, if the offset is beyond 14 hours, or if
    the year is outside 1990 to 2199.
    """
    match = _COMMON_FORM.match(value)
    if match is None:
        return _parse_loosely(value)
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    month_number = _MONTHS.get(month.lower(), 0)
    offset = int(hours) * 60 + int(minutes) if int(minutes) < 60 else _MAX_OFFSET + 1
    return _make_time(
        int(year), month_number, int(day), int(hour), int(minute), int(second),
        offset=-offset if sign == "-" else offset,
    )  # fmt: skip


def parse_received(value: str) -> datetime | None:
    """Parse the time of a Received value, which follows its last semicolon (RFC 5321 4.4)."""
    _, semicolon, tail = value.rpartition(";")
    if semicolon and (time := parse_date(tail)):
        return time
    value = _strip_comments(value[-1000:])  # a comment may contain a semicolon
    _, semicolon, tail = value.rpartition(";")
    return parse_date(tail) if semicolon else None


def find_topmost_received(values: Iterable[str]) -> datetime | None:
    """Return the time of the first Received value, the newest, that has a usable time."""
    return next((time for value in values if (time := parse_received(value))), None)


def is_plausible(date: datetime | None, received: datetime | None) -> bool:
    """Return whether `date` exists and is at most a day later than the mail was `received`."""
    return date is not None and (received is None or date <= received + _DAY)


def estimate_from_received(values: Iterable[str]) -> datetime | None:
    """Return the earliest credible time of Received values, for a mail without a usable Date.

    The search starts at the topmost value that has a time and goes down. It ends at a value that
    has no time, that is more than a day later than the one above it, or that is more than seven
    days earlier than the topmost: the lower values are the claims of the sender.
    """
    top: datetime | None = None
    last: datetime | None = None
    for value in values:
        time = parse_received(value)
        if top is None or last is None:
            top = last = time
        elif time is None or time > last + _DAY or time < top - 7 * _DAY:
            break
        else:
            last = time
    return last


def _parse_loosely(value: str) -> datetime | None:
    text = _strip_comments(value[:_MAX_CHARS])
    for form in _FORMS:
        match = form.match(text)
        if match is None:
            continue
        fields = match.groupdict()
        month = fields["month"]
        month_number = int(month) if month.isdecimal() else _MONTHS.get(month[:3].lower())
        offset = _parse_offset(fields["zone"] or fields.get("early"))
        if month_number is None or offset is None:
            return None
        return _make_time(
            _parse_year(fields["year"]), month_number, int(fields["day"]),
            int(fields["hour"]), int(fields["minute"]), int(fields["second"] or 0),
            offset=offset,
        )  # fmt: skip
    return None


def _strip_comments(text: str) -> str:
    for _ in range(4):  # RFC 5322 3.2.2 lets comments nest; a date has no deeper ones
        if "(" not in text:
            break
        text = _COMMENT.sub(" ", text)
    return text


def _parse_year(digits: str) -> int:
    """Return the full year (RFC 5322 4.3).

    Two digits up to 49 are 20xx; other two digits, and three digits, count from 1900.
    """
    year = int(digits)
    if len(digits) == 4:
        return year
    return year + (2000 if len(digits) == 2 and year < 50 else 1900)


def _parse_offset(zone: str | None) -> int | None:
    """Return the offset in minutes east of Greenwich, or None if it is invalid."""
    if zone is None:
        return 0
    if match := _OFFSET.match(zone):
        if match.end() != len(zone) or int(match[3]) > 59:
            return None
        minutes = int(match[2]) * 60 + int(match[3])
        return -minutes if match[1] == "-" else minutes
    return _ZONES.get(zone.lower(), 0)


def _make_time(
    year: int, month: int, day: int, hour: int, minute: int, second: int, *, offset: int
) -> datetime | None:
    if not (-_MAX_OFFSET <= offset <= _MAX_OFFSET):
        return None
    try:
        # `datetime` has no leap seconds; the second before one is the nearest time.
        time = datetime(year, month, day, hour, minute, 59 if second == 60 else second)
        if offset:
            time -= timedelta(minutes=offset)
    except (ValueError, OverflowError):
        return None
    return time if FIRST_YEAR <= time.year <= LAST_YEAR else None
