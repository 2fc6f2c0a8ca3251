"""Test Patchwork's hash and git's patch-id, bit for bit."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.patch.diffs.patch_id import patch_id
from ingest.patch.diffs.patchwork_hash import patchwork_hash
from tests.patch.test_diff import DAMAGED, GIT, HUNK, NAMES, OTHER, PROSE, WHOLE, texts
from tests.support.diffs import split_diff

needs_git = pytest.mark.usefixtures("git_program")

NOTHING = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def hash_by_the_rule(diff: str) -> str:
    """Compute the hash by its rule, line by line, independently of the code."""
    digest = hashlib.sha1()
    for line in (diff.replace("\r", "").strip() + "\n").split("\n"):
        names = re.match(r"(---|\+\+\+) (\S+)", line)
        counts = re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", line, re.ASCII)
        if names:
            rest = "/".join(names[2].split("/")[1:])
            line = f"{names[1]} {'a' if names[1] == '---' else 'b'}/{rest}"
        elif counts:
            line = "@@ -{} +{} @@".format(*(int(count) for count in counts.groups("1")))
        elif line[:1] not in ("-", "+", " ") or not line:
            continue
        digest.update((line + "\n").encode("utf-8", "replace"))
    return digest.hexdigest()


def git_patch_ids(diff: str) -> list[str]:
    ran = subprocess.run(
        ["git", "patch-id", "--stable"],
        cwd="/",
        input=diff.encode("utf-8", "replace"),
        check=True,
        capture_output=True,
    )
    return [line.split()[0] for line in ran.stdout.decode().splitlines()]


def test_seed(seed: Path) -> None:
    record = json.loads((seed / "patch-2226024.json").read_text())
    assert patchwork_hash(record["diff"]) == record["hash"]
    assert patchwork_hash(record["diff"].replace("\n", "\r\n")) == record["hash"]


@pytest.mark.parametrize("diff", ["", "\n", WHOLE["rename"][0], WHOLE["mode"][0]])
def test_hash_of_nothing(diff: str) -> None:
    assert patchwork_hash(diff) == NOTHING


def test_hash_leaves_out() -> None:
    bare = "--- a/x.c\n+++ b/x.c\n@@ -3 +3 @@\n one\n-two\n+TWO\n three\n"
    assert patchwork_hash(GIT) == hashlib.sha1(bare.encode()).hexdigest()
    assert patchwork_hash(GIT) == patchwork_hash(GIT.replace(" main", "").replace("-1,", "-7,"))
    assert patchwork_hash(GIT) == patchwork_hash(GIT.replace("a/x.c", "linux.orig/x.c\t2004"))
    assert patchwork_hash(GIT) != patchwork_hash(GIT.replace("TWO", "2"))


SHAPES = [diff for diff, _, _ in WHOLE.values()]
SHAPES += [NAMES + text for text, _ in DAMAGED.values() if len(text) < 2000]
SHAPES += PROSE.values()
SHAPES += [
    "--- /dev/null\n+++ x\n",
    "---  x\n+++ \n",
    "@@ -1,007 +1,000 @@\n",
    " \n-\n\n+\n",
    "\x0b-a\x0b\n+\x85b",
]


@pytest.mark.parametrize("diff", SHAPES)
def test_hash_of_shapes(diff: str) -> None:
    assert patchwork_hash(diff) == hash_by_the_rule(diff)


LINES = sorted({line for shape in SHAPES for line in shape.split("\n")})
LINES += [
    "@@ -1,2 +1,2 @@",
    "@@ -0,0 +1 @@",
    "@@ -1,-1 +1",
    "@@ -1, 3 +1 @@",
    "@@ -1,4294967297 +1",
]
LINES += [
    "@@ -1,99999999999999999999999 +1 @@",
    "-- ",
    "\\ short",
    "1abc",
    "é",
    "\x0b",
    "\x0c+",
    "zabc",
]
LINES += [prefix + "a1" * 20 for prefix in ("commit ", "From ", "", " ")]
ANY = st.one_of(
    st.text(),
    st.lists(st.sampled_from(LINES)).map("\n".join),
    st.tuples(
        st.sampled_from([GIT, NAMES, "diff --git a/x b/x\n" + NAMES, GIT + OTHER]),
        st.lists(st.sampled_from([*LINES, "-a", "+b", " c", "@@ -1,2 +1,2 @@"])).map("\n".join),
    ).map("".join),
)


@given(ANY)
def test_hash_of_anything(diff: str) -> None:
    assert patchwork_hash(diff) == hash_by_the_rule(diff)


@needs_git
@pytest.mark.parametrize("diff", SHAPES)
def test_patch_id_of_shapes(diff: str) -> None:
    assert patch_id(diff) == next(iter(git_patch_ids(diff)), None)
    assert patch_id(diff.replace("\n", "\r\n")) == next(
        iter(git_patch_ids(diff.replace("\n", "\r\n"))), None
    )


@needs_git
@settings(max_examples=200, deadline=None)
@given(ANY)
def test_patch_id_of_anything(diff: str) -> None:
    diff = diff.replace("\0", "")  # the text of a mail has none
    assert patch_id(diff) == next(iter(git_patch_ids(diff)), None)
    assert patch_id(diff) == patch_id(diff.encode("utf-8", "replace"))


def test_patch_id_ignores_place_and_white_space() -> None:
    assert patch_id(GIT) == patch_id(GIT.replace("@@ -1,3 +1,3 @@ main", "@@ -8,3 +9,3 @@"))
    assert patch_id(GIT) == patch_id(GIT.replace("TWO", " T\tWO "))
    assert patch_id(GIT + OTHER) == patch_id(OTHER + GIT)
    assert patch_id(GIT) != patch_id(GIT + OTHER)


def test_patch_id_tells_renames_apart() -> None:
    rename = WHOLE["rename"][0]
    assert patchwork_hash(rename) == patchwork_hash(rename.replace("new", "newer")) == NOTHING
    assert patch_id(rename) != patch_id(rename.replace("new", "newer"))


def test_no_patch_id_without_a_diff_line() -> None:
    assert patch_id(NAMES + HUNK) is None
    assert patch_id("") is None


def test_first_of_several_patch_ids() -> None:
    assert patch_id(f"{GIT}\n{OTHER}") == patch_id(GIT)


@needs_git
def test_corpus(corpus: list[tuple[str, bytes]]) -> None:
    """Compare every diff of the archive with git and with the rule."""
    diffs: dict[str, str] = {}
    for commit, raw in corpus:
        if b"@@ -" in raw or b"base64" in raw or b"diff" in raw:
            found = next((split for split in map(split_diff, texts(raw)) if split.diff), None)
            if found:
                diffs[commit] = found.diff
    ids: dict[str, str] = {}
    current = ""
    feed = "".join(f"From {commit}\n{diff}" for commit, diff in diffs.items())
    ran = subprocess.run(
        ["git", "patch-id", "--stable"],
        cwd="/",
        input=feed.encode(),
        check=True,
        capture_output=True,
    )
    for line in ran.stdout.decode().splitlines():
        # git prints later patches of a mail with the null object name.
        found_id, commit = line.split()
        current = commit if commit.strip("0") else current
        ids.setdefault(current, found_id)
    assert len(diffs) > 4000
    for commit, diff in diffs.items():
        assert patch_id(diff) == ids.get(commit), commit
        assert patchwork_hash(diff) == hash_by_the_rule(diff), commit
