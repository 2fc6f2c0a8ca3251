"""Make small value classes, whose fields are set once, when an instance is created.

`@frozen` is `@dataclass(frozen=True, slots=True)` with two differences. The type checker (PEP 681)
and not the interpreter forbids an assignment: to forbid it at run time, a dataclass sets every
field through a function call of 0.2 µs. A mail becomes a hundred or so values while it is derived
and stored, and a replay with plain frozen dataclasses takes 5 % more processor time. And one
`__repr__` serves all classes: a dataclass compiles one for each, for a fifth of the time that it
takes to define the class, and a process defines up to two hundred. Equality and hash are by value,
as with those.

Use it for values that are created for each mail or row, and for those that every command loads,
such as the configuration: a plain frozen dataclass takes half as long again to define. Others are
plain frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from functools import partial
from typing import Any, TypeVar, dataclass_transform, overload

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
    decorate = partial(_make_value, kw_only=kw_only, order=order)
    return decorate if cls is None else decorate(cls)


def _make_value(cls: type[T], *, kw_only: bool, order: bool) -> type[T]:
    make = dataclass(slots=True, repr=False, unsafe_hash=True, kw_only=kw_only, order=order)
    value: type[T] = make(cls)
    value.__repr__ = _show  # type: ignore[method-assign]
    return value


def _show(self: Any) -> str:
    """Return the text of a value, as that of a dataclass."""
    shown = (f"{item.name}={getattr(self, item.name)!r}" for item in fields(self) if item.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"
