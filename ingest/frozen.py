"""Make small value classes, whose fields are set once, when an instance is created.

`@frozen` is `@dataclass(frozen=True, slots=True)` with one difference: the type checker (PEP 681)
and not the interpreter forbids an assignment. To forbid it at run time, a dataclass sets every
field through a function call of 0.2 µs. A mail becomes a hundred or so values while it is derived
and stored, and a replay with plain frozen dataclasses takes 5 % more processor time. Equality and
hash are by value, as with those.

Use it for values that are created for each mail or row. Values that are created once, such as the
configuration, are plain frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen(cls: type[T], /) -> type[T]: ...


@overload
def frozen(*, kw_only: bool = False, order: bool = False) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(Field, field))
def frozen(
    cls: type[T] | None = None, /, *, kw_only: bool = False, order: bool = False
) -> type[T] | Callable[[type[T]], type[T]]:
    """Return the class as a dataclass with slots that the type checker treats as frozen."""
    decorate: Callable[[type[T]], type[T]] = dataclass(
        slots=True, unsafe_hash=True, kw_only=kw_only, order=order
    )
    return decorate if cls is None else decorate(cls)
