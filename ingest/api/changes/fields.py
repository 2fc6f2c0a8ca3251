"""Parse the fields of bodies that write. What makes no sense raises `ApiError` with the field."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ingest.api.params import ApiError, is_number, parse_flag
from ingest.api.rest.request_body import RequestBody, require_storable


def require_fields(body: RequestBody, names: Collection[str]) -> None:
    """Raise `ApiError` unless the body has all of these fields."""
    missing = [name for name in names if name not in body]
    if missing:
        raise ApiError(400, {name: ["This field is required."] for name in missing})


def flag_field(name: str, value: Any) -> bool:
    """Return a truth value."""
    if isinstance(value, bool):
        return value
    try:
        return parse_flag(name, str(value))
    except ApiError:
        raise ApiError(400, {name: ["Must be a valid boolean."]}) from None


def text_field(name: str, value: Any, *, limit: int, blank: bool = True) -> str:
    """Return a text of at most `limit` characters."""
    if value is None:
        raise ApiError(400, {name: ["This field may not be null."]})
    if not isinstance(value, str):
        raise ApiError(400, {name: ["Not a valid string."]})
    if len(value) > limit:
        raise ApiError(400, {name: [f"Ensure this field has no more than {limit} characters."]})
    if not blank and not value.strip():
        raise ApiError(400, {name: ["This field may not be blank."]})
    return require_storable(name, value)


def number_fields(name: str, value: Any, *, limit: int) -> list[int]:
    """Return a list of row numbers. Clients may send back records instead of numbers."""
    values = [] if value is None else value
    if isinstance(values, list):
        values = [item.get("id") if isinstance(item, Mapping) else item for item in values]
    if (
        not isinstance(values, list)
        or len(values) > limit
        or any(isinstance(item, bool) or not is_number(str(item)) for item in values if item != "")
    ):
        raise ApiError(400, {name: ["This must be a list of patch numbers."]})
    return [int(item) for item in values if item != ""]
