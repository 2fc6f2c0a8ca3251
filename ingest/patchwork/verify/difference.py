"""Collect the differences between a store and Patchwork."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingest.frozen import frozen


@frozen(kw_only=True)
class Difference:
    """A field of a record that is not as in Patchwork.

    `kind` and `number` are those of the record there; `field` '' means the whole record. `reason`
    says why it is so here, as far as that is known.
    """

    kind: str
    number: int
    field: str
    theirs: object
    ours: object
    reason: str = ""

    @property
    def name(self) -> str:
        """The class of the difference: `patch.name`, or `patch` for a whole record."""
        return f"{self.kind}.{self.field}" if self.field else self.kind


_TEXTS = ("content", "diff")
_QUOTED_FROM = re.compile(r"^>+From ", re.MULTILINE)


def explain_text(theirs: str, ours: str) -> str:
    """Return why a text is another one here, as far as the texts tell."""
    if theirs.split() == ours.split():
        return "lines are wrapped otherwise: the raw mail has them unwrapped (format=flowed)"
    if _QUOTED_FROM.sub("From ", theirs) == _QUOTED_FROM.sub("From ", ours):
        return "the mbox from which Patchwork was fed has quoted a line that begins with From"
    if theirs in ours:
        return "Patchwork has lost a part of the text, which the raw mail has"
    if ours in theirs:
        return "Patchwork shows as text what is no part of it: a signature or a footer"
    return "the raw mail has another text"


@dataclass(slots=True)
class Comparison:
    """What was compared, by kind, and what differs."""

    counts: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def compare(
        self,
        kind: str,
        number: int,
        theirs: Mapping[str, Any],
        ours: Mapping[str, Any] | None,
        *,
        reason: str = "",
    ) -> None:
        """Compare a record; `ours` is None where there is none.

        `reason` is that of all differences, except of texts, whose own is better.
        """
        self.counts[kind] += 1
        if ours is None:
            self.differences.append(
                Difference(
                    kind=kind, number=number, field="", theirs="", ours="missing", reason=reason
                )
            )
            return
        for name, value in theirs.items():
            self.fields[kind] += 1
            if value != ours[name]:
                self.differences.append(
                    Difference(
                        kind=kind, number=number, field=name, theirs=value, ours=ours[name],
                        reason=explain_text(value, ours[name]) if name in _TEXTS else reason,
                    )
                )  # fmt: skip

    def by_class(self) -> dict[str, list[Difference]]:
        """Return the differences by their class, the most frequent first."""
        found: dict[str, list[Difference]] = defaultdict(list)
        for difference in self.differences:
            found[difference.name].append(difference)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))
