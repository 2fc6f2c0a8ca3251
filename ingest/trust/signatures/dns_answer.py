"""Represent the answers of DNS to queries for keys.

`trust.dns` queries DNS and makes the answers. `trust.signatures.dkim` and `trust.signatures.arc`
get a `Lookup` and use no other source. So the answers can be stored, sent to another process, and
used again years later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import assert_never

from ingest.frozen import frozen


@frozen
class KeyRecord:
    """The TXT record of the name, with its strings joined (RFC 6376 3.6.2.2)."""

    text: str


@frozen
class NoSuchKey:
    """DNS answered that the name has no TXT record."""


@frozen
class TemporaryFailure:
    """DNS did not answer, and may answer later."""


@frozen
class NotQueried:
    """DNS was not queried: it is off, or the budget was spent."""


Answer = KeyRecord | NoSuchKey | TemporaryFailure | NotQueried
Lookup = Callable[[str], Answer]
Keys = tuple[tuple[str, Answer], ...]  # (name, answer), sorted by name


def sort_answers(answers: Mapping[str, Answer]) -> Keys:
    """Return the answers in the form that a `Delivery` has."""
    return tuple(sorted(answers.items(), key=itemgetter(0)))


def answer_kind(answer: Answer) -> str:
    """Return the kind of an answer as a word. Stored: a word never changes its meaning."""
    match answer:
        case KeyRecord():
            return "found"
        case NoSuchKey():
            return "no-such-key"
        case TemporaryFailure():
            return "failure"
        case NotQueried():
            return "not-asked"
    assert_never(answer)


def make_lookup(answers: Mapping[str, Answer]) -> Lookup:
    """Return a lookup in earlier answers; for other names it returns `NotQueried`."""

    def lookup(name: str) -> Answer:
        return answers.get(name, NotQueried())

    return lookup


def memoize_lookup(lookup: Lookup) -> Lookup:
    """Return a lookup that calls `lookup` at most once for each name."""
    answers: dict[str, Answer] = {}

    def memoized(name: str) -> Answer:
        if name not in answers:
            answers[name] = lookup(name)
        return answers[name]

    return memoized
