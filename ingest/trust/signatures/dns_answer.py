"""What DNS said to the question for a key, as values.

`trust.dns` asks and makes them; `trust.signatures.dkim` and `trust.signatures.arc` get a `Lookup` and ask nothing
else. So what DNS answered can be kept, sent to another process, and looked up again in years.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import assert_never

from ingest.frozen import frozen


@frozen
class Found:
    """The TXT record of that name, its strings joined (RFC 6376 3.6.2.2)."""

    text: str


@frozen
class NoSuchKey:
    """DNS is sure that there is none."""


@frozen
class TemporaryFailure:
    """DNS did not say, and may say later."""


@frozen
class NotAsked:
    """Nobody asked: DNS is off, or the budget was spent."""


Answer = Found | NoSuchKey | TemporaryFailure | NotAsked
Lookup = Callable[[str], Answer]
Keys = tuple[tuple[str, Answer], ...]  # what was said of each name, in the order of names


def keys_of(answers: Mapping[str, Answer]) -> Keys:
    """The answers as a delivery has them."""
    return tuple(sorted(answers.items(), key=itemgetter(0)))


def kind(answer: Answer) -> str:
    """What sort of answer it is, in a word. Stored: a name never changes its meaning."""
    match answer:
        case Found():
            return "found"
        case NoSuchKey():
            return "no-such-key"
        case TemporaryFailure():
            return "failure"
        case NotAsked():
            return "not-asked"
    assert_never(answer)


def recorded(answers: Mapping[str, Answer]) -> Lookup:
    """A lookup among answers that were had before; what is not among them was not asked."""

    def lookup(name: str) -> Answer:
        return answers.get(name, NotAsked())

    return lookup


def once(lookup: Lookup) -> Lookup:
    """`lookup`, which is asked at most once for each name."""
    known: dict[str, Answer] = {}

    def remembered(name: str) -> Answer:
        if name not in known:
            known[name] = lookup(name)
        return known[name]

    return remembered
