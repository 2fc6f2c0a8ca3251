"""What a request asks for: filters, order and page, read from its query.

Each function takes the values as they came and gives what SQL is made of. What makes no sense
is `ApiError`, with the parameter that it is about, as Patchwork answers it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

# Numbers of rows are signed and of 64 bits.
_MOST = 2**63 - 1
# Beyond that a page is no page: skipping rows costs.
_FARTHEST = 5_000_000

# Of one parameter that may be given again.
MAX_VALUES = 50
# Characters of a value: a Message-ID has at most 250, and SQLite's LIKE takes 50,000 bytes.
MAX_VALUE = 1_000
_MAX_FIELDS = 200
_MAX_NAME = 100

_NOT_QUOTED = re.compile(r"%(?![0-9A-Fa-f]{2})")


class ApiError(Exception):  # noqa: N818 - reads better where it is raised
    """`status`: of HTTP; `body`: of the answer, as JSON."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


def text_fields(encoded: bytes, *, max_fields: int) -> list[tuple[str, str]]:
    """Return the fields of a query or a form, in order. Raises `ApiError` for what is none.

    Strict, where Python and Django put a replacement character: what was meant cannot be found.
    """
    try:
        text = encoded.decode()
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=max_fields)
    except UnicodeDecodeError:
        raise ApiError(400, {"detail": "The parameters are not UTF-8."}) from None
    except ValueError:
        raise ApiError(400, {"detail": "Too many parameters."}) from None
    if _NOT_QUOTED.search(text):
        raise ApiError(400, {"detail": "A percent sign in a parameter is written as %25."})
    return fields


def not_found() -> ApiError:
    return ApiError(404, {"detail": "Not found."})


@dataclass(frozen=True, slots=True)
class Page:
    """`number` counts from 1; `fields`: what to order by, each with whether downwards."""

    number: int
    size: int
    field: str
    down: bool

    @property
    def start(self) -> int:
        return (self.number - 1) * self.size


@dataclass(frozen=True, slots=True)
class QueryParams:
    """The query of a request, in the order of its parameters."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, query: bytes) -> QueryParams:
        """Raises `ApiError` for what no parameter can be: too much, too long, or no text."""
        pairs = text_fields(query, max_fields=_MAX_FIELDS)
        for name, value in pairs:
            if len(name) > _MAX_NAME:
                raise ApiError(400, {"detail": "The name of a parameter is too long."})
            if len(value) > MAX_VALUE:
                raise ApiError(400, {name: [f"At most {MAX_VALUE} characters are taken."]})
            if "\0" in value:
                raise ApiError(400, {name: ["Null characters are not allowed."]})
        return cls(tuple(pairs))

    def all(self, name: str) -> list[str]:
        """Every value given. Clients send empty ones for filters that are not set."""
        found = [value for key, value in self.pairs if key == name and value.strip()]
        if len(found) > MAX_VALUES:
            raise ApiError(400, {name: [f"At most {MAX_VALUES} values are taken."]})
        return found

    def last(self, name: str) -> str | None:
        values = self.all(name)
        return values[-1] if values else None

    # --- kinds of values ---

    def numbers(self, name: str) -> list[int] | None:
        """Row numbers; None where the parameter was not given."""
        values = self.all(name)
        return [_number(name, value) for value in values] if values else None

    def flag(self, name: str) -> bool | None:
        value = self.last(name)
        return None if value is None else parse_flag(name, value)

    def moment(self, name: str) -> datetime | None:
        value = self.last(name)
        return None if value is None else _moment(name, value)

    def page(self, orders: Collection[str], *, default: str, most: int) -> Page:
        """`orders`: the fields that it can be ordered by."""
        order = self.last("order") or default
        field = order.removeprefix("-")
        if field not in orders:
            raise ApiError(400, {"order": [f"{order!r} is none of {', '.join(sorted(orders))}."]})
        number = _number("page", self.last("page") or "1")
        size = min(_number("per_page", self.last("per_page") or "30"), most)
        if number < 1 or size < 1:
            name = "page" if number < 1 else "per_page"
            raise ApiError(400, {name: ["This must be 1 or more."]})
        if number * size > _FARTHEST:
            raise invalid_page()
        return Page(number, size, field, order.startswith("-"))


def invalid_page() -> ApiError:
    return ApiError(404, {"detail": "Invalid page."})


def parse_flag(name: str, value: str) -> bool:
    """As clients spell it: pwclient says `yes`."""
    word = value.strip().lower()
    if word in ("true", "1", "yes", "on", "y", "t"):
        return True
    if word in ("false", "0", "no", "off", "n", "f"):
        return False
    raise ApiError(400, {name: [f"{value!r} is neither true nor false."]})


def msgid(value: str) -> str:
    """A Message-ID in brackets, with which we keep it; b4 asks without."""
    return f"<{value.strip().strip('<>')}>"


def is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= _MOST


def _number(name: str, value: str) -> int:
    if not is_number(value.strip()):
        raise ApiError(400, {name: [f"{value!r} is no number."]})
    return int(value)


# Query strings turn a plus sign that was not quoted into a space: `…T10:00:00 00:00`.
_ZONE = re.compile(r" (\d\d:?\d\d)$")


def _moment(name: str, value: str) -> datetime:
    """A time in ISO 8601, with an offset or in UTC, as naive UTC."""
    try:
        found = datetime.fromisoformat(value if "T" not in value else _ZONE.sub(r"+\1", value))
        if found.tzinfo is not None:
            found = found.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise ApiError(400, {name: [f"{value!r} is no date or time in ISO 8601."]}) from None
    return found


def slug(value: str) -> str:
    """A state as clients spell it: `Under Review` is `under-review`."""
    return re.sub(r"[\s_]+", "-", value.strip().lower())


def choose_order(values: Sequence[str]) -> tuple[list[int], list[str]]:
    """Values that are row numbers, and those that are names."""
    return [int(one) for one in values if is_number(one)], [
        one for one in values if not is_number(one)
    ]
