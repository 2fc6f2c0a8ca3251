"""Compare stored rows with the rows that a mail should have, and collect the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.verify.stored_rows import Pair
from ingest.trust.signatures.verdict import SignatureKind


class RowComparison:
    """The comparison of rows, each under the key of its message. `findings`: the differences."""

    def __init__(self) -> None:
        self.findings: set[Finding] = set()

    def compare_columns(self, key: str, table: str, row: Any, expected: Mapping[str, Any]) -> bool:
        """Add a finding for each column that differs, and return whether none does."""
        columns = sorted(name for name, value in expected.items() if getattr(row, name) != value)
        for column in columns:
            self.add(key, FindingKind.ALTERED, f"{table}.{column}")
        return not columns

    def compare_numbered(
        self,
        key: str,
        table: str,
        expected: Mapping[int, Mapping[str, Any]],
        stored: Mapping[int, Any],
    ) -> None:
        """Add a finding for each numbered row that is missing, altered, or one too many."""
        for number, columns in expected.items():
            if number not in stored:
                self.add(key, FindingKind.MISSING, f"{table} {number}")
            elif _differs(columns, stored[number]):
                self.add(key, FindingKind.ALTERED, f"{table} {number}")
        for number in sorted(stored.keys() - expected.keys()):
            self.add(key, FindingKind.ALTERED, f"{table} {number}, which it has not")

    def compare_pairs(
        self, key: str, table: str, expected: Sequence[Pair], stored: Mapping[int, Pair]
    ) -> None:
        """Add a finding for each pair that is missing, altered, or one too many, by position."""
        for position, pair in enumerate(expected):
            if position not in stored:
                self.add(key, FindingKind.MISSING, f"{table} {position}")
            elif stored[position] != pair:
                self.add(key, FindingKind.ALTERED, f"{table} {position}")
        for position in sorted(stored.keys() - set(range(len(expected)))):
            self.add(key, FindingKind.ALTERED, f"{table} {position}, which it has not")

    def add(self, key: str, kind: FindingKind, detail: str) -> None:
        """Add a finding about the message with this key."""
        self.findings.add(Finding(key, kind, detail))


def _differs(expected: Mapping[str, Any], row: Any) -> bool:
    """Tell whether a stored verdict or result is not what it should be.

    Of a developer's signature only the existence is compared: the keyrings may have changed since.
    """
    is_developer = expected.get("kind") == SignatureKind.PATATT.value
    columns = ("kind",) if is_developer else tuple(expected)
    return any(getattr(row, column) != expected[column] for column in columns)
