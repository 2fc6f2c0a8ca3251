"""Decide to whom a patch is assigned: by a header of its mail, else by the files that it changes.

Rules by path are Patchwork's: of all that match a file of the patch, the one with the highest
priority decides. After them comes a MAINTAINERS file, in the format of the Linux kernel and by the
rules of its scripts/get_maintainer.pl: F: and X: are patterns of paths, and of the sections that
match a file, the one whose pattern names the most directories is the most specific. N: and K:,
reviewers (R:) and lists are ignored. Any text is accepted.

Accounts are named as they are stored here; whether there is such an account is the store's to know.
Pure.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from ingest.frozen import frozen
from ingest.mail.address import parse_addresses

_MAX_FILES = 2_000  # of a patch that are compared
_MAX_NAME = 500  # characters of the value of a header


@frozen(kw_only=True)
class DelegationRule:
    """Patches that change a file with this path are assigned to an account.

    `path`: a shell pattern, whose `*` also matches `/`, as in Patchwork.
    """

    path: str
    account: str
    priority: int = 0


def find_delegate(
    header: str | None, files: Collection[str], rules: Iterable[DelegationRule]
) -> str | None:
    """Return the account to which a patch is assigned, or None.

    `header`: the value of X-Patchwork-Delegate, an address. Of rules with the same priority, the
    first by path and account decides.
    """
    named = " ".join((header or "").split())
    if named:
        return named[:_MAX_NAME] if named.isprintable() else None
    ordered = sorted(rules, key=lambda rule: (-rule.priority, rule.path, rule.account))
    compared = sorted(files)[:_MAX_FILES] if ordered else []
    for rule in ordered:
        if any(fnmatchcase(name, rule.path) for name in compared):
            return rule.account
    return None


def list_delegates(named: str | None, maintainers: str | None) -> tuple[str, ...]:
    """Return who may be assigned a patch, in order: the first who has an account is.

    `named`: by its header or a rule; `maintainers`: of its files, one a line.
    """
    names = [named] if named else []
    return (*names, *(maintainers.split("\n") if maintainers else ()))


# --- a MAINTAINERS file ---

MAX_MAINTAINERS_FILE = 8 << 20  # bytes; that of Linux has less than one million
MAX_CANDIDATES = 20  # maintainers of one patch
_MAX_LINE = 1_000  # characters
_MAX_DEPTH = 40  # directories of a file
_UNMAINTAINED = ("orphan", "obsolete")


class MaintainersError(ValueError):
    """The text is no MAINTAINERS file. The message is one line."""


@frozen(kw_only=True)
class MaintainersSection:
    """A section that somebody maintains.

    `maintainers`: the addresses of M:, in lower case; `files`, `excluded`: the patterns of F: and
    X:.
    """

    maintainers: tuple[str, ...]
    files: tuple[str, ...]
    excluded: tuple[str, ...] = ()


def parse_maintainers(text: str) -> tuple[MaintainersSection, ...]:
    """Return the sections that name maintainers, a status and files, in the order of the text.

    Sections that nobody maintains, by their S:, are left out. Raises `MaintainersError` if no
    section remains.
    """
    sections = []
    for fields in _split_sections(text):
        status = " ".join(fields.get("S", ())).casefold()
        emails = [
            address.email.lower()
            for value in fields.get("M", ())
            for address in parse_addresses(value)
        ]
        if status and not status.startswith(_UNMAINTAINED) and emails and "F" in fields:
            section = MaintainersSection(
                maintainers=tuple(dict.fromkeys(emails)),
                files=tuple(fields["F"]),
                excluded=tuple(fields.get("X", ())),
            )
            sections.append(section)
    if not sections:
        raise MaintainersError("no section has M:, S: and F: lines")
    return tuple(sections)


_FIELD = re.compile(r"([A-Z]):[ \t]*(.*)")


def _split_sections(text: str) -> Iterator[dict[str, list[str]]]:
    """Yield the fields of each section, which blank lines and comments do not end."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _FIELD.match(line) if len(line) <= _MAX_LINE else None
        if match is None:
            if fields:
                yield fields
            fields = {}
        elif value := match[2].strip():
            fields.setdefault(match[1], []).append(value)
    if fields:
        yield fields


def dump_sections(sections: Iterable[MaintainersSection]) -> str:
    """Return sections as JSON: the same for files that differ in nothing that counts."""
    stored = [[item.maintainers, item.files, item.excluded] for item in sections]
    return json.dumps(stored, ensure_ascii=False, separators=(",", ":"))


def load_sections(text: str) -> tuple[MaintainersSection, ...]:
    """Read what `dump_sections` wrote."""
    return tuple(
        MaintainersSection(
            maintainers=tuple(maintainers), files=tuple(files), excluded=tuple(excluded)
        )
        for maintainers, files, excluded in json.loads(text)
    )


@frozen
class _Pattern:
    """A pattern of a section, by its number. `depth`: how specific it is."""

    section: int
    segments: tuple[str, ...]
    is_directory: bool
    depth: int


class Maintainers:
    """The sections of a file, for many searches. Patterns are found by the directory they name."""

    def __init__(self, sections: Sequence[MaintainersSection]) -> None:
        self._sections = sections
        self._excluded = [
            [_make_pattern(number, pattern) for pattern in section.excluded]
            for number, section in enumerate(sections)
        ]
        self._by_directory: dict[tuple[str, ...], list[_Pattern]] = defaultdict(list)
        for number, section in enumerate(sections):
            for text in section.files:
                pattern = _make_pattern(number, text)
                self._by_directory[_fixed_segments(pattern.segments)].append(pattern)

    def find(self, files: Collection[str]) -> tuple[str, ...]:
        """Return the maintainers of these files: those of the most specific section first.

        Of sections that are equally specific, the one of more files comes first, and then the first
        in the text.
        """
        depths: dict[int, int] = {}
        counts: dict[int, int] = defaultdict(int)
        for name in sorted(files)[:_MAX_FILES]:
            for section, depth in self._match(name).items():
                depths[section] = max(depth, depths.get(section, depth))
                counts[section] += 1
        ordered = sorted(depths, key=lambda number: (-depths[number], -counts[number], number))
        emails = (email for number in ordered for email in self._sections[number].maintainers)
        return tuple(dict.fromkeys(emails))[:MAX_CANDIDATES]

    def _match(self, name: str) -> dict[int, int]:
        """Return the sections that a file belongs to, with the depth of the best pattern."""
        segments = tuple(name.split("/"))
        if len(segments) > _MAX_DEPTH:
            return {}
        depths: dict[int, int] = {}
        for end in range(len(segments) + 1):
            for pattern in self._by_directory.get(segments[:end], ()):
                if pattern.depth > depths.get(pattern.section, -2) and _matches(segments, pattern):
                    depths[pattern.section] = pattern.depth
        return {
            number: depth
            for number, depth in depths.items()
            if not any(_matches(segments, pattern) for pattern in self._excluded[number])
        }


_WILDCARDS = re.compile(r"[*?\[]")


def _make_pattern(section: int, text: str) -> _Pattern:
    is_directory = text.endswith("/")
    segments = tuple(text.rstrip("/").split("/"))
    depth = -1 if text.startswith("*") else len(segments)
    return _Pattern(section, segments, is_directory, depth)


def _fixed_segments(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the segments before the first one with a wildcard."""
    for number, segment in enumerate(segments):
        if _WILDCARDS.search(segment):
            return segments[:number]
    return segments


def _matches(segments: tuple[str, ...], pattern: _Pattern) -> bool:
    """Tell whether a pattern matches a file.

    Without a slash at its end, a pattern without wildcards may name a directory: if the file has
    it among its directories, it is one.
    """
    wanted = pattern.segments
    is_plain = len(_fixed_segments(wanted)) == len(wanted)
    if is_plain:
        is_below = len(segments) > len(wanted) and segments[: len(wanted)] == wanted
        return is_below or (not pattern.is_directory and segments == wanted)
    return _matches_wildcards(segments, wanted, whole=not pattern.is_directory)


def _matches_wildcards(segments: tuple[str, ...], wanted: tuple[str, ...], *, whole: bool) -> bool:
    """Tell whether segments match the wanted ones, all of them or (not `whole`) the first.

    `**` matches one or more segments. The places in `wanted` that are reached are followed at the
    same time, so that the cost is the product of both lengths.
    """
    places = {0}
    for number, segment in enumerate(segments):
        reached = set()
        for place in places:
            if place == len(wanted):
                continue
            if wanted[place] == "**":
                reached |= {place, place + 1}
            elif fnmatchcase(segment, wanted[place]):
                reached.add(place + 1)
        places = reached
        if not places:
            return False
        if not whole and len(wanted) in places and number + 1 < len(segments):
            return True
    return whole and len(wanted) in places
