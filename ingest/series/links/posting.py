"""Condense a series into what linking revisions needs of it, and its traces.

Input: the facts of a series' members. Output: a `Posting`, and the *traces* by which the store
finds the series that may be revisions of each other (a change-id, a linked message, a title, a
patch). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache

from ingest.frozen import frozen
from ingest.mail.git_run import run_of
from ingest.patch.diffs.patchwork_hash import EMPTY_HASH
from ingest.series.draft import Version, branches_of
from ingest.series.facts import Facts, MessageKind, digest63

_NO_WORD = re.compile(r"[^0-9a-z]+")
_VERSION_WORD = re.compile(r"v\d+")
_MAX_TITLE = 500  # characters of a title that are compared
# The subsystems that a title begins with: `ext4: `, `net: dsa: `, `fs/ntfs3: `.
_SUBSYSTEMS = re.compile(r"(?:[^\s:]{1,60}: ){1,8}")


@frozen(kw_only=True)
class Posting:
    """Hold what linking revisions needs of a series.

    `bare_title`: the title without subsystems. `sender_name`: the sender's full name, or ''.
    `titles`, `hashes`, `files`, `lines`: of its patches; `messages`: all its Message-IDs; `runs`:
    the runs of git that sent it; `linked`: ids that its text calls earlier; `labelled`: those of
    them that it calls so as in a list of versions (`v1: URL`), not only in prose; `superseded`:
    those that its sender's text says it supersedes; `replaced`: those of them that its cover, or
    its first patch, names; `answered`: ids that it was sent below; `retitled`: its title is that
    of the mail that it answers (`Re: …`); `branches`: the branches that it is for, since series
    for 6.1 and for 6.6 are not revisions of each other.
    """

    key: str
    sender: str
    sender_name: str
    version: Version
    date: datetime | None
    title: str
    bare_title: str
    resend: bool
    rfc: bool
    partial: bool
    retitled: bool
    branches: frozenset[str]
    change_ids: frozenset[str]
    hashes: frozenset[str]
    titles: frozenset[str]
    files: frozenset[int]
    lines: frozenset[int]
    messages: frozenset[str]
    runs: frozenset[str]
    linked: frozenset[str]
    answered: frozenset[str]
    labelled: frozenset[str] = frozenset()
    superseded: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()


def make_posting(
    key: str,
    *,
    version: Version,
    date: datetime | None,
    partial: bool,
    parent_series: str | None,
    members: Sequence[Facts],
) -> Posting:
    """Make a posting from the facts of its members: the cover first, then patches by number."""
    first = members[0]
    messages: set[str] = set()
    linked: set[str] = set()
    labelled: set[str] = set()
    superseded: set[str] = set()
    titles: set[str] = set()
    files: set[int] = set()
    lines: set[int] = set()
    # One loop that fills all sets: every series is made into a posting, again and again.
    for piece in members:
        messages.add(piece.msgid)
        messages.update(piece.aliases)
        linked.update(piece.earlier)
        if piece.sender == first.sender:
            labelled.update({*piece.earlier} - {*piece.mentioned} if piece.earlier else ())
            superseded.update(piece.supersedes)
        if piece.kind is MessageKind.PATCH:
            titles.add(normalise_title(piece.title))
            files.update(piece.files)
            lines.update(piece.lines)
    patches = [piece for piece in members if piece.kind is MessageKind.PATCH]
    answered = {*first.parents[:3], *([parent_series.partition("#")[0]] if parent_series else ())}
    return Posting(
        key=key,
        sender=first.sender,
        sender_name=first.sender_name,
        version=version,
        date=date,
        title=normalise_title(first.title),
        bare_title=_bare_title(first.title),
        resend=first.resend,
        rfc=any(piece.rfc for piece in members),
        partial=partial,
        retitled=first.reply,
        branches=frozenset().union(*map(branches_of, {piece.tag for piece in members})),
        change_ids=frozenset(piece.change_id for piece in members if piece.change_id),
        hashes=frozenset(piece.hash for piece in patches if piece.hash) - {EMPTY_HASH},
        titles=frozenset(titles - {""}),
        files=frozenset(files),
        lines=frozenset(lines),
        messages=frozenset(messages),
        runs=frozenset(run for piece in members if (run := run_of(piece.msgid)) is not None),
        linked=frozenset(linked - messages),
        answered=frozenset(answered - messages),
        labelled=frozenset(labelled - messages),
        superseded=frozenset(superseded - messages),
        replaced=frozenset({*first.supersedes} - messages),
    )


# Shared by threads: the cache has a lock of its own. A title is compared several times.
@lru_cache(maxsize=4096)
def normalise_title(title: str) -> str:
    """Return a title as revisions are compared: letters and digits, without a final version."""
    words = _NO_WORD.split(title.lower())
    while words and (not words[-1] or _VERSION_WORD.fullmatch(words[-1])):
        words.pop()
    return " ".join(word for word in words if word)[:_MAX_TITLE]


def _bare_title(title: str) -> str:
    """Return a title in the same form without the subsystems that it begins with."""
    subsystems = _SUBSYSTEMS.match(title)
    return normalise_title(title[subsystems.end() :] if subsystems else title)


# --- traces ---------------------------------------------------------------------------------
#
# Two series may be revisions of each other only if they share a trace. The letter in front of
# the text keeps the kinds apart. A change of the text or of its letter needs `ingest reparse`.


def traces(posting: Posting) -> frozenset[int]:
    """Return the traces of a series, as 63-bit numbers."""
    return frozenset(
        (
            *(change_id_trace(change_id) for change_id in posting.change_ids),
            *_message_traces((*posting.messages, *posting.linked, *posting.answered)),
            *(_hash_trace(hash_) for hash_ in posting.hashes),
            *(_title_trace(title) for title in {*posting.titles, posting.title} if title),
            *(digest63(f"w {posting.sender} {word}") for word in _telling_words(posting)),
        )
    )


def patch_traces(facts: Facts) -> frozenset[int]:
    """Return the traces that one more patch, after others, adds to those of its series."""
    title = normalise_title(facts.title)
    return frozenset(
        (
            *_message_traces((facts.msgid, *facts.earlier)),
            *((change_id_trace(facts.change_id),) if facts.change_id else ()),
            *((_hash_trace(facts.hash),) if facts.hash not in (None, EMPTY_HASH) else ()),
            *((_title_trace(title),) if title else ()),
        )
    )


def change_id_trace(change_id: str) -> int:
    """Return the trace of a change-id, by which the store finds the series that have it."""
    return digest63(f"c {change_id}")


def _message_traces(msgids: Iterable[str]) -> Iterator[int]:
    return (digest63(f"m {msgid}") for msgid in msgids)


def _hash_trace(hash_: str | None) -> int:
    return digest63(f"h {hash_}")


def _title_trace(title: str) -> int:
    """Return the trace of a title by anybody: people write from several addresses."""
    return digest63(f"t {title}")


def _telling_words(posting: Posting) -> list[str]:
    """Return the three longest words of a title, which do not name its subsystem.

    Similar titles share one of these words, and few other titles by the same sender do.
    """
    words = set(posting.bare_title.split())
    return sorted(words, key=lambda word: (-len(word), word))[:3]
