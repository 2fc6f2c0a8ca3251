"""Recognise a patch that its sender has sent again under the same Message-ID.

The text may differ: somebody has removed a line of it. The store keeps both, since anybody can send
other text under an id that is known; but there is one patch, and replies are to that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ingest.series.facts import Facts, MessageKind


def find_sent_again(by_key: Mapping[str, Facts], pinned: Collection[str]) -> dict[str, str]:
    """Return, for each patch that is another one sent again, the key of that.

    They have the same id, sender, subject and diff. That is the message that the id belongs to, or
    the earliest. A message that an operator has pinned is left alone.
    """
    variants = [facts for key, facts in by_key.items() if key != facts.msgid]
    if not variants:
        return {}
    first_of: dict[tuple[object, ...], str] = {}
    again: dict[str, str] = {}
    owners = [by_key[msgid] for msgid in {facts.msgid for facts in variants} if msgid in by_key]
    for facts in (*owners, *_by_date(variants)):
        if facts.kind is not MessageKind.PATCH or facts.key in pinned:
            continue
        first = first_of.setdefault(_identity(facts), facts.key)
        if first != facts.key:
            again[facts.key] = first
    return again


def _by_date(submissions: Iterable[Facts]) -> list[Facts]:
    return sorted(submissions, key=lambda facts: (facts.when, facts.key))


def _identity(facts: Facts) -> tuple[object, ...]:
    """Return what a patch that is sent again has in common with the first one."""
    return (
        facts.msgid,
        facts.sender,
        facts.hash,
        facts.title,
        facts.tag,
        (facts.number, facts.minor, facts.total),
        (facts.version, facts.version_minor),
    )
