"""Parse the query of a request: filters, order and page.

Each function takes values as text, and returns what the store's filters take. As in Patchwork, a
filter whose value makes no sense finds nothing, and an unknown order or size of a page is the
default one. What no server should read (too long, too many, no text) raises `ApiError`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from ingest.store.read.pages.filters import Page, RowSelector

# Row numbers are signed and have 64 bits.
_MAX_NUMBER = 2**63 - 1
# Later rows are refused: the database reads every row that it skips.
_MAX_OFFSET = 5_000_000
# Rows of a page where the request names no size.
_DEFAULT_SIZE = 30

# Values of one parameter that is repeated.
MAX_VALUES = 50
# Characters of a value: a Message-ID has at most 250, and SQLite's LIKE takes 50,000 bytes.
MAX_VALUE = 1_000
_MAX_FIELDS = 200
_MAX_NAME = 100

# The values of `format`: JSON, and a page for browsers.
FORMATS = ("json", "api")

_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class ApiError(Exception):
    """A request that is refused.

    `status` is the HTTP status; `body` is the JSON of the response.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


def text_fields(encoded: bytes, *, max_fields: int) -> list[tuple[str, str]]:
    """Return the fields of a query or a form, in order.

    Raises `ApiError` for bytes that are no text. Python and Django would put a replacement
    character instead, but then nobody could find what the client meant.
    """
    try:
        text = encoded.decode()
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=max_fields)
    except UnicodeDecodeError:
        raise ApiError(400, {"detail": "The parameters are not valid UTF-8."}) from None
    except ValueError:
        raise ApiError(400, {"detail": "Too many parameters."}) from None
    if _BARE_PERCENT.search(text):
        raise ApiError(400, {"detail": "Write a percent sign in a parameter as %25."})
    return fields


def not_found(kind: str = "") -> ApiError:
    """Return the error for a resource that does not exist. `kind`: what was looked for."""
    detail = f"No {kind} matches the given query." if kind else "Not found."
    return ApiError(404, {"detail": detail})


def invalid_page() -> ApiError:
    """Return the error for a page after the last one."""
    return ApiError(404, {"detail": "Invalid page."})


@dataclass(frozen=True, slots=True)
class QueryParams:
    """The parameters of a query, in their order."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, query: bytes) -> QueryParams:
        """Parse a query string.

        Raises `ApiError` where it has too many parameters, or one that is too long or no text.
        """
        pairs = text_fields(query, max_fields=_MAX_FIELDS)
        for name, value in pairs:
            if len(name) > _MAX_NAME:
                raise ApiError(400, {"detail": "The name of a parameter is too long."})
            if len(value) > MAX_VALUE:
                raise ApiError(400, {name: [f"At most {MAX_VALUE} characters are allowed."]})
            if "\0" in value:
                raise ApiError(400, {name: ["Null characters are not allowed."]})
        return cls(tuple(pairs))

    def all(self, name: str) -> list[str]:
        """Return every value of a parameter except empty ones.

        Clients send empty values for filters that are not set.
        """
        values = [value for key, value in self.pairs if key == name and value.strip()]
        if len(values) > MAX_VALUES:
            raise ApiError(400, {name: [f"At most {MAX_VALUES} values are allowed."]})
        return values

    def last(self, name: str) -> str | None:
        """Return the last value of a parameter, None where there is none."""
        values = self.all(name)
        return values[-1] if values else None

    # --- types of values ---

    def numbers(self, name: str) -> tuple[int, ...] | None:
        """Return the row numbers in a parameter, None where it is absent.

        What is no number is left out.
        """
        values = [value.strip() for value in self.all(name)]
        numbers = tuple(int(value) for value in values if is_number(value))
        return numbers if values else None

    def selector(self, name: str) -> RowSelector | None:
        """Return the rows that a parameter selects by number or name, None where it is absent."""
        values = self.all(name)
        return split_numbers(values) if values else None

    def flag(self, name: str) -> bool | None:
        """Return the truth value of a parameter, None where it is absent or no truth value."""
        value = self.last(name)
        return None if value is None else _truth(value)

    def since(self) -> datetime | None:
        """Return the time from which on rows are wanted, as naive UTC, None for all."""
        value = self.last("since")
        return None if value is None else _parse_time(value) or datetime.max

    def before(self) -> datetime | None:
        """Return the time before which rows are wanted, as naive UTC, None for all."""
        value = self.last("before")
        return None if value is None else _parse_time(value) or datetime.min

    def page(self, orders: Collection[str], *, default: str, max_size: int) -> Page:
        """Return the page.

        `orders` are the fields that the list can be ordered by; `default` is the order where the
        request names none, with a hyphen in front for descending.
        """
        order = self.last("order") or default
        if order.removeprefix("-") not in orders:
            order = default
        number = _count(self.last("page") or "1")
        size = min(_count(self.last("per_page") or "") or _DEFAULT_SIZE, max_size)
        if number is None or number * size > _MAX_OFFSET:
            raise invalid_page()
        return Page(number, size, order.removeprefix("-"), order.startswith("-"))


def parse_flag(name: str, value: str) -> bool:
    """Parse a truth value in the spellings of clients: pwclient sends `yes`."""
    truth = _truth(value)
    if truth is None:
        raise ApiError(400, {name: [f"{value!r} is neither true nor false."]})
    return truth


def _truth(value: str) -> bool | None:
    word = value.strip().lower()
    if word in ("true", "1", "yes", "on", "y", "t"):
        return True
    return False if word in ("false", "0", "no", "off", "n", "f") else None


def parse_msgid(value: str) -> str:
    """Return a Message-ID with angle brackets, as the store has it; b4 sends it without."""
    return f"<{value.strip().strip('<>')}>"


def is_number(value: str) -> bool:
    """Return whether a text is a decimal number in the range of row numbers."""
    return value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= _MAX_NUMBER


def split_numbers(values: Sequence[str]) -> RowSelector:
    """Split values into row numbers and names."""
    return RowSelector(
        tuple(int(value) for value in values if is_number(value)),
        tuple(value for value in values if not is_number(value)),
    )


def _count(value: str) -> int | None:
    """Return a number that is 1 or more, None for anything else."""
    value = value.strip()
    return int(value) if is_number(value) and int(value) > 0 else None


# A plus sign that is not percent-encoded is a space in a query: `…T10:00:00 00:00`.
_ZONE = re.compile(r" (\d\d:?\d\d)$")


def _parse_time(value: str) -> datetime | None:
    """Parse a time in ISO 8601, with an offset or in UTC, and return it as naive UTC.

    None for anything else.
    """
    try:
        time = datetime.fromisoformat(value if "T" not in value else _ZONE.sub(r"+\1", value))
        if time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return time
