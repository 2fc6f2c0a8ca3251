"""Read numbers that may be too many for memory: in batches, and kept as bits.

`iter_keys` reads the numbers in a column. `IdSet` remembers the numbers of rows that were seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from itertools import groupby, islice

from sqlalchemy import ColumnElement, Connection, FromClause, select

BATCH = 2_000

# A page of an `IdSet` has bits for 8,192 numbers.
_PAGE_BITS = 13
_PAGE_BYTES = 1 << (_PAGE_BITS - 3)


def iter_keys(
    connection: Connection,
    column: ColumnElement[int],
    *conditions: ColumnElement[bool],
    source: FromClause | None = None,
    size: int = BATCH,
) -> Iterator[list[int]]:
    """Yield the different numbers in a column of the rows that satisfy the conditions, in order.

    At most `size` of them are in a batch. `source`: the join that the conditions need. The column
    should be the first of an index, as each batch is found from the last number of the one before.
    """
    query = select(column).distinct().where(*conditions).order_by(column).limit(size)
    if source is not None:
        query = query.select_from(source)
    batch = connection.execute(query).scalars().all()
    while batch:
        yield list(batch)
        if len(batch) < size:
            return
        batch = connection.execute(query.where(column > batch[-1])).scalars().all()


def merge_keys(*streams: Iterable[list[int]], size: int = BATCH) -> Iterator[list[int]]:
    """Yield the different numbers of several results of `iter_keys`, in order."""
    numbers = merge(*((number for batch in stream for number in batch) for stream in streams))
    different = (number for number, _ in groupby(numbers))
    while batch := list(islice(different, size)):
        yield batch


class IdSet(Collection[int]):
    """A set of the numbers of rows, which are dense: each takes a bit and not a hundred bytes."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        """Take the first numbers."""
        self._pages: dict[int, bytearray] = {}
        self._count = 0
        self.update(numbers)

    def add(self, number: int) -> None:
        """Add a number, which may be negative."""
        page = self._pages.get(number >> _PAGE_BITS)
        if page is None:
            page = self._pages[number >> _PAGE_BITS] = bytearray(_PAGE_BYTES)
        place, bit = (number >> 3) % _PAGE_BYTES, 1 << (number & 7)
        if not page[place] & bit:
            page[place] |= bit
            self._count += 1

    def update(self, numbers: Iterable[int]) -> None:
        """Add numbers."""
        for number in numbers:
            self.add(number)

    def discard(self, number: int) -> None:
        """Remove a number, if it is there."""
        if number in self:
            self._pages[number >> _PAGE_BITS][(number >> 3) % _PAGE_BYTES] &= ~(1 << (number & 7))
            self._count -= 1

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        page = self._pages.get(number >> _PAGE_BITS)
        return page is not None and bool(page[(number >> 3) % _PAGE_BYTES] & 1 << (number & 7))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers in order."""
        for key, page in sorted(self._pages.items()):
            for place, bits in enumerate(page):
                for bit in range(8):
                    if bits & 1 << bit:
                        yield (key << _PAGE_BITS) + (place << 3) + bit
