"""Values: small classes whose fields are set once, when they are made.

`@frozen` stands for `@dataclass(frozen=True, slots=True)`, with the difference that it is the type
checker (PEP 681) and not the interpreter that forbids an assignment. To forbid it at run time a
dataclass sets every field through a function call, 0.2 µs each: for the hundred or so values that a
mail becomes on its way, that is a twentieth of deriving it. Equality and hash are by value, as
before.

For what is made for each mail or row. What is made once, such as the configuration, stays a frozen
dataclass.
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
    """The class as a dataclass with slots, frozen for the type checker."""
    make: Callable[[type[T]], type[T]] = dataclass(
        slots=True, unsafe_hash=True, kw_only=kw_only, order=order
    )
    return make if cls is None else make(cls)
