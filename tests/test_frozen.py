"""Test that value classes compare, hash and print as frozen dataclasses do."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ingest.frozen import frozen


def make(decorate: object) -> type:
    class Value:
        """A value with a field that is not compared and one that is not shown."""

        number: int
        text: str = ""
        compared: int = field(default=0, repr=False)
        shown: int = field(default=0, compare=False)

    Value.__qualname__ = "Value"
    made: type = decorate(Value)  # type: ignore[operator]
    return made


PLAIN = make(dataclass(frozen=True, slots=True))
OURS = make(frozen)


@pytest.mark.parametrize("values", [(1,), (1, "a'b"), (1, "a", 2), (1, "a", 2, 3)])
def test_a_value_prints_and_hashes_as_a_frozen_dataclass(values: tuple[object, ...]) -> None:
    assert repr(OURS(*values)) == repr(PLAIN(*values))
    assert hash(OURS(*values)) == hash(PLAIN(*values))


def test_values_are_equal_by_the_fields_that_are_compared() -> None:
    assert OURS(1, "a", 2, 3) == OURS(1, "a", 2, 4)
    assert OURS(1, "a", 2) != OURS(1, "a", 3)
    assert OURS(1) != PLAIN(1)


def test_a_value_within_a_value_is_shown() -> None:
    assert (
        repr(OURS(OURS(1))) == "Value(number=Value(number=1, text='', shown=0), text='', shown=0)"
    )
