"""Header values to times.

Input: the value of a Date field, or of Received fields. Output: naive UTC `datetime`s, whole
seconds, from 1990 to 2199, or None. Never looks at a clock: records must not depend on when
the mail came.
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
_MAX_OFFSET = 14 * 60  # minutes; no place on earth is farther from Greenwich

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_ZONES = {  # RFC 5322 4.3; every other name says nothing and stands for -0000
    "edt": -240, "est": -300, "cdt": -300, "cst": -360, "mdt": -360, "mst": -420,
    "pdt": -420, "pst": -480,
}  # fmt: skip

# RFC 5322 3.3 as nearly every mail has it.
_USUAL = re.compile(
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
    """The time that a Date value names, in UTC, or None where it cannot be used.

    RFC 5322 3.3 and 4.3 and what real mailers write: comments, no weekday, no seconds, years
    of two digits, asctime, ISO 8601. No zone, or one of unknown name, is UTC. Unusable: no
    such day or hour, an offset beyond 14 hours, a year outside 1990 to 2199.
    """
    match = _USUAL.match(value)
    if match is None:
        return _parse_loosely(value)
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    number = _MONTHS.get(month.lower(), 0)
    offset = int(hours) * 60 + int(minutes) if int(minutes) < 60 else _MAX_OFFSET + 1
    return _time(
        int(year), number, int(day), int(hour), int(minute), int(second),
        offset=-offset if sign == "-" else offset,
    )  # fmt: skip


def received_times(value: str) -> datetime | None:
    """The time of one Received value: what stands after its last semicolon (RFC 5321 4.4)."""
    _, semicolon, tail = value.rpartition(";")
    if semicolon and (time := parse_date(tail)):
        return time
    value = _without_comments(value[-1000:])  # a comment may hold a semicolon
    _, semicolon, tail = value.rpartition(";")
    return parse_date(tail) if semicolon else None


def topmost_received(values: Iterable[str]) -> datetime | None:
    """The time of the first Received value (they stand newest first) that has one."""
    return next((time for value in values if (time := received_times(value))), None)


def plausible(date: datetime | None, arrived: datetime | None) -> bool:
    """Whether `date` can be used: not more than a day after the mail `arrived`."""
    return date is not None and (arrived is None or date <= arrived + _DAY)


def from_received(values: Iterable[str]) -> datetime | None:
    """The earliest credible time among Received values, for a mail whose Date cannot be used.

    From the topmost that has a time downwards, while each has one, is not later than the one
    above it by more than a day and not earlier than the topmost by more than seven: the lower
    ones are the sender's own claims.
    """
    top: datetime | None = None
    last: datetime | None = None
    for value in values:
        time = received_times(value)
        if top is None or last is None:
            top = last = time
        elif time is None or time > last + _DAY or time < top - 7 * _DAY:
            break
        else:
            last = time
    return last


def _parse_loosely(value: str) -> datetime | None:
    text = _without_comments(value[:_MAX_CHARS])
    for form in _FORMS:
        match = form.match(text)
        if match is None:
            continue
        part = match.groupdict()
        month = part["month"]
        number = int(month) if month.isdecimal() else _MONTHS.get(month[:3].lower())
        offset = _offset(part["zone"] or part.get("early"))
        if number is None or offset is None:
            return None
        return _time(
            _year(part["year"]), number, int(part["day"]),
            int(part["hour"]), int(part["minute"]), int(part["second"] or 0),
            offset=offset,
        )  # fmt: skip
    return None


def _without_comments(text: str) -> str:
    for _ in range(4):  # RFC 5322 3.2.2 lets comments nest; deeper ones are no date
        if "(" not in text:
            break
        text = _COMMENT.sub(" ", text)
    return text


def _year(digits: str) -> int:
    """RFC 5322 4.3: two digits up to 49 are 20xx, others and three digits count from 1900."""
    year = int(digits)
    if len(digits) == 4:
        return year
    return year + (2000 if len(digits) == 2 and year < 50 else 1900)


def _offset(zone: str | None) -> int | None:
    """Minutes east of Greenwich, or None where the offset cannot be."""
    if zone is None:
        return 0
    if match := _OFFSET.match(zone):
        if match.end() != len(zone) or int(match[3]) > 59:
            return None
        minutes = int(match[2]) * 60 + int(match[3])
        return -minutes if match[1] == "-" else minutes
    return _ZONES.get(zone.lower(), 0)


def _time(
    year: int, month: int, day: int, hour: int, minute: int, second: int, *, offset: int
) -> datetime | None:
    if not (-_MAX_OFFSET <= offset <= _MAX_OFFSET):
        return None
    try:
        # A leap second has no `datetime`; the second before it is the nearest.
        time = datetime(year, month, day, hour, minute, 59 if second == 60 else second)
        if offset:
            time -= timedelta(minutes=offset)
    except (ValueError, OverflowError):
        return None
    return time if FIRST_YEAR <= time.year <= LAST_YEAR else None
