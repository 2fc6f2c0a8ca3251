"""Test that every regular expression matches the same on each supported Python.

The `re` of Python 3.11.0 to 3.11.4, which Debian 12 has, matches a possessive quantifier over a
group wrongly (CPython gh-100061 and gh-106052), and up to 3.13.0 one with captures in it raises
SystemError (gh-101955). An atomic group, `(?>(?:…)*)`, says the same and is right everywhere, and
so is a possessive quantifier over one character or set.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import ingest
from ingest.mail import address, encoded_word, msgid
from ingest.mail.mime import param
from ingest.patch.diffs import filename

FOLDER = Path(ingest.__file__).parent
GUARD = 10  # seconds of processor time: some fifty times what the slowest takes

_ONE_CHARACTER = {codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN, codes.CATEGORY}


def possessive_groups(pattern: str | bytes, flags: int = 0) -> list[str]:
    """Return what possessive quantifiers in `pattern` repeat, if not one character or set."""
    return list(_groups(parser.parse(pattern, flags)))


def _groups(part: Any) -> Iterator[str]:
    if isinstance(part, parser.SubPattern):
        for code, argument in part:
            if code is codes.POSSESSIVE_REPEAT:
                repeated = argument[2]
                if len(repeated) != 1 or repeated[0][0] not in _ONE_CHARACTER:
                    yield str(repeated)
            yield from _groups(argument)
    elif isinstance(part, tuple | list):
        for inner in part:
            yield from _groups(inner)


def written() -> Iterator[tuple[str, str | bytes]]:
    """Yield each literal in the source that reads as a regular expression, and its place."""
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                yield f"{path.relative_to(FOLDER)}:{node.lineno}", node.value


def compiled() -> Iterator[tuple[str, re.Pattern[str] | re.Pattern[bytes]]]:
    """Yield each compiled pattern that a module or a class holds: some are put together."""
    for module in pkgutil.walk_packages(ingest.__path__, "ingest."):
        if module.name.endswith(("__main__", "migrations.env")):  # they run when imported
            continue
        try:
            space = vars(importlib.import_module(module.name))
        except ModuleNotFoundError as error:  # a package that is not installed: patatt
            if str(error.name).startswith("ingest"):
                raise
            continue
        classes = [thing for thing in space.values() if isinstance(thing, type)]
        for holder in [space, *map(vars, classes)]:
            for name, value in list(holder.items()):
                for pattern in _patterns(value):
                    yield f"{module.name}.{name}", pattern


def _patterns(value: object) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from _patterns([*value, *value.values()])
    elif isinstance(value, tuple | list | set | frozenset):
        for inner in value:
            yield from _patterns(inner)


def test_no_possessive_quantifier_repeats_a_group() -> None:
    wrong, seen = [], 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # most literals are not meant as patterns
        for place, literal in written():
            try:
                groups = possessive_groups(literal)
            except (re.error, OverflowError):
                continue
            wrong += [f"{place}: {literal!r}" for _ in groups]
    for place, pattern in compiled():
        seen += 1
        wrong += [f"{place}: {pattern.pattern!r}" for _ in possessive_groups(pattern.pattern)]
    assert not wrong, "\n".join(wrong)
    assert seen > 100


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        (r"((?:[^?=]++|\?(?!=))*+)\?=", 1),
        (r"(?:ab?c)*+", 1),
        (r"((x)|y|z)++", 1),
        (r"(?=(?:ab){1,3}+)", 1),
        (rb"a|(?:b(?:cd)?+)*", 1),
        (r"(?>(?:ab?c)*)", 0),
        (r"[^?=]++a*+.?+\s{1,3}+", 0),
        (rb"\s*+[a-z]++", 0),
    ],
)
def test_the_test_finds_them(pattern: str | bytes, wrong: int) -> None:
    assert len(possessive_groups(pattern)) == wrong


# What these patterns match on Python 3.11.7, with their possessive quantifiers over groups. Each
# of the inputs is one that Python 3.11.2 then read otherwise, or the nearest to it.
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: encoded_word.decode_words("=?utf-8?q?caf=C3=A9?=").text, "café"),
        (lambda: encoded_word.decode_words("=?utf-8?q?a?b=?=").text, "a?b="),
        (lambda: encoded_word.WORD.findall("=?a?q?b=?c?q?d?="), [("c", "q", "d")]),
        (lambda: encoded_word.WORD.findall("=?a?q?b??="), [("a", "q", "b?")]),
        (
            lambda: param._PARAMETER.findall(r'; a="b\"c"; d=e'),
            [("a", r"b\"c", ""), ("d", "", "e")],
        ),
        (lambda: param._PARAMETER.findall('; a="b\\'), [("a", "", '"b\\')]),
        (lambda: msgid.parse_ids("<a@b> <c@d>"), ("<a@b>", "<c@d>")),
        (lambda: bool(msgid._ID_LIST.fullmatch("<a@b> <c@")), False),
        (lambda: bool(msgid._ID_LIST.fullmatch("<a@b><c@d>")), False),
        (lambda: address._QUOTED.match(r'"a\"b" <c@d>')[1], r"a\"b"),
        (lambda: address._QUOTED.match('"a\\'), None),
        (
            lambda: filename._QUOTED_PAIR.match(r'"a/\"b" "b/\"b"').groups(),
            (r'"a/\"b"', r'"b/\"b"'),
        ),
        (lambda: filename._QUOTED_PAIR.match(r'"a/b\" b/b').groups(), (r'"a/b\"', "b/b")),
    ],
)
def test_patterns_match_the_same_on_each_python(found: Callable[[], Any], expected: object) -> None:
    assert found() == expected


@pytest.mark.parametrize(
    ("pattern", "begin", "unit", "end"),
    [
        (encoded_word.WORD, "=?a?q?", "b", ""),
        (encoded_word.WORD, "=?a?q?", "b?", ""),
        (encoded_word.WORD, "=?a?q?", "b=", ""),
        (encoded_word.WORD, "", "=?a?q?b", ""),
        (encoded_word.WORD, "", "=?", ""),
        (encoded_word.WORD, "=?a?q?", "=", "?"),
        (param._PARAMETER, ";a=", '"', ""),
        (param._PARAMETER, ';a="', "b", ""),
        (param._PARAMETER, ';a="', "\\b", ""),
        (param._PARAMETER, ';a="', "\\", ""),
        (param._PARAMETER, "", ';a="', ""),
        (param._PARAMETER, "", ';a="\\"', ""),
        (msgid._ID_LIST, "", "<a@b> ", "<"),
        (msgid._ID_LIST, "<a@b>", " ", "<"),
        (msgid._ID_LIST, "", "<a@", ""),
        (address._QUOTED, '"', "a", ""),
        (address._QUOTED, '"', "\\a", ""),
        (address._QUOTED, '"', "\\", ""),
        (filename._QUOTED_PAIR, '"', "a", ""),
        (filename._QUOTED_PAIR, '"', "\\a", '" "'),
        (filename._QUOTED_PAIR, '"', "\\a", '" x y'),
        (filename._QUOTED_PAIR, '"', "\\", '" "'),
    ],
)
def test_atomic_groups_cost_linear_time(
    pattern: re.Pattern[str], begin: str, unit: str, end: str
) -> None:
    """A quadratic one takes minutes. Callers bound what they match; the pattern is tried alone.

    `findall` of a pattern that is only ever matched at one place would be quadratic for another
    reason, so that is tried at its place.
    """
    text = begin + unit * (200_000 // len(unit)) + end
    start = time.process_time()
    if pattern in (encoded_word.WORD, param._PARAMETER):
        pattern.findall(text)
    else:
        pattern.match(text)
        pattern.fullmatch(text)
    assert time.process_time() - start < GUARD
