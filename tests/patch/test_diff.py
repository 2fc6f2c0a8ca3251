"""Test the division of texts into commentary and diff, and the recognition of damaged diffs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from email import message_from_bytes
from email.message import Message as Mail
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.diffs import split_diff

needs_git = pytest.mark.usefixtures("git_program")

HUNK = "@@ -1,3 +1,3 @@ main\n one\n-two\n+TWO\n three\n"
NAMES = "--- a/x.c\n+++ b/x.c\n"
GIT = "diff --git a/x.c b/x.c\nindex 1111111..2222222 100644\n" + NAMES + HUNK
OTHER = GIT.replace("x.c", "dir/y.c")
SEED_SIGNATURE = "-- \n2.52.0\n\n"

# name: (diff, files, hunks)
WHOLE = {
    "git": (GIT, ("x.c",), 1),
    "two files": (GIT + OTHER, ("x.c", "dir/y.c"), 2),
    "two hunks": (GIT + HUNK, ("x.c",), 2),
    "plain": (NAMES + HUNK, ("x.c",), 1),
    "plain, two files": (NAMES + HUNK + NAMES.replace("x.c", "y.c") + HUNK, ("x.c", "y.c"), 2),
    "count of one left out": (NAMES + "@@ -1 +1 @@\n-a\n+b\n", ("x.c",), 1),
    "count of none": (NAMES + "@@ -0,0 +1 @@\n+b\n", ("x.c",), 1),
    "diff -urN": (
        "diff -urN old/src/x.c new/src/x.c\n"
        "--- old/src/x.c\t2004-02-03 10:00:00 +0000\n+++ new/src/x.c\t2004-02-03 11:00:00 +0000\n"
        + HUNK,
        ("src/x.c",),
        1,
    ),
    "dates behind spaces": (
        "--- a/x.c  2004-02-03 10:00:00 +0000\n+++ b/x.c  2004-02-03 11:00:00 +0000\n" + HUNK,
        ("x.c",),
        1,
    ),
    "quilt": (
        f"Index: linux/x.c\n{'=' * 67}\n--- linux.orig/x.c\n+++ linux/x.c\n" + HUNK,
        ("x.c",),
        1,
    ),
    "Subversion": (
        f"Index: src/x.c\n{'=' * 67}\n--- src/x.c\t(revision 3)\n+++ src/x.c\t(working copy)\n"
        + HUNK,
        ("src/x.c",),
        1,
    ),
    "Subversion, new empty file": (f"Index: empty.txt\n{'=' * 67}\n", ("empty.txt",), 0),
    "Subversion, binary": (
        (
            f"Index: p.png\n{'=' * 67}\nCannot display: file marked as a binary type.\n"
            "svn:mime-type = application/octet-stream\n"
        ),
        ("p.png",),
        0,
    ),
    "CVS": (
        f"Index: x.c\n{'=' * 67}\nRCS file: /cvs/x.c,v\nretrieving revision 1.1\n"
        "diff -u -r1.1 -r1.2\n--- x.c\t3 Feb 2004 10:00:00 -0000\t1.1\n"
        "+++ x.c\t3 Feb 2004 11:00:00 -0000\t1.2\n" + HUNK,
        ("x.c",),
        1,
    ),
    "Mercurial": (
        "diff -r 0123456789ab -r ba9876543210 x.c\n"
        "--- a/x.c\tTue Feb 03 10:00:00 2004 +0000\n+++ b/x.c\tTue Feb 03 11:00:00 2004 +0000\n"
        + HUNK,
        ("x.c",),
        1,
    ),
    "Mercurial, binary": ("diff -r 0123 p.png\nBinary file p.png has changed\n", ("p.png",), 0),
    "rename": (
        (
            "diff --git a/old name b/new name\nsimilarity index 100%\nrename from old name\n"
            "rename to new name\n"
        ),
        ("new name",),
        0,
    ),
    "copy": (
        "diff --git a/x b/y\nsimilarity index 90%\ncopy from x\ncopy to y\n"
        "index 1111111..2222222 100644\n--- a/x\n+++ b/y\n" + HUNK,
        ("y",),
        1,
    ),
    "mode": ("diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n", ("run.sh",), 0),
    "new empty file": (
        "diff --git a/e f b/e f\nnew file mode 100644\nindex 0000000..e69de29\n",
        ("e f",),
        0,
    ),
    "deleted": (
        (
            "diff --git a/x b/x\ndeleted file mode 100644\nindex 1111111..0000000\n--- a/x\n"
            "+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"
        ),
        ("x",),
        1,
    ),
    "binary": (
        "diff --git a/p b/p\nindex 1111111..2222222 100644\nGIT binary patch\nliteral 1\n"
        "IcmZPo000310RR91\n\ndelta 6\nNcmYdfU|?VZ00jU500aO400\n\n" + OTHER,
        ("p", "dir/y.c"),
        1,
    ),
    "binary files differ": (
        "diff --git a/p b/p\nindex 1111111..2222222 100644\nBinary files a/p and b/p differ\n",
        ("p",),
        0,
    ),
    "no newline at the end": (
        NAMES + "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n",
        ("x.c",),
        1,
    ),
    "names in the content": (
        NAMES + "@@ -1,2 +1,2 @@\n--- foo\n-- bar\n+++ foo\n+++ bar\n" + OTHER,
        ("x.c", "dir/y.c"),
        2,
    ),
    "signature in the content": (NAMES + "@@ -1,2 +1 @@\n--\n-- \n+x\n", ("x.c",), 1),
    "space stripped from an empty line": (NAMES + HUNK.replace(" one\n", "\n"), ("x.c",), 1),
    "odd line ends in the content": (
        NAMES + "@@ -1,2 +1,2 @@\n a\r\n-b\x0b\x0c\x85\u2028c\n+d\r\n",
        ("x.c",),
        1,
    ),
    "quoted name": (
        'diff --git "a/f\\303\\244\\t.c" "b/f\\303\\244\\t.c"\nnew file mode 100644\n',
        ("fä\t.c",),
        0,
    ),
    "no prefix": ("diff --git src/x.c src/x.c\n--- src/x.c\n+++ src/x.c\n" + HUNK, ("src/x.c",), 1),
    "mnemonic prefix": ("diff --git i/x.c w/x.c\n--- i/x.c\n+++ w/x.c\n" + HUNK, ("x.c",), 1),
    "combined": (
        (
            "diff --cc x.c\nindex 1111111,2222222..3333333\n--- a/x.c\n+++ b/x.c\n"
            "@@@ -1,2 -1,3 +1,3 @@@\n  one\n- two\n -three\n++four\n+ five\n"
        ),
        ("x.c",),
        1,
    ),
}

# Each with the reason why it is no diff.
PROSE = {
    "diff as a word": "diff between the two is small\n--- a\nand so on\n",
    "diff with names but no change": "diff -u old new\nshows nothing\n",
    "git's line alone": "diff --git a/x b/x\n\nis what git writes\n",
    "Index as a heading": "Index: of chapters\n=====\none\n",
    "separator": "text\n---\n x.c | 2 +-\n 1 file changed\n",
    "names alone": "--- a/x\n+++ b/x\nand no hunk\n",
    "dashes": "--- cut here ---\ntext\n",
    "hunk header alone": HUNK,
    "quoted": "".join(f"> {line}\n" for line in GIT.splitlines()),
    "quoted without space": "".join(f">{line}\n" for line in GIT.splitlines()),
    "indented": "".join(f"  {line}\n" for line in GIT.splitlines()),
    "huge parents": NAMES + "@" * 40 + " -1" * 39 + " +1 " + "@" * 40 + "\n",
}

# name: (text after the file names, its lines that belong to the diff)
WRAPPED = "@@ -1,3 +1,3 @@ main\n one of many\nwords\n-two\n+TWO\n three\n"
DAMAGED = {
    "wrapped line": (WRAPPED, WRAPPED),
    "wrapped header": (HUNK.replace(" main", " int\nmain"), HUNK.replace(" main", " int\nmain")),
    "too short": ("@@ -1,9 +1,9 @@\n a\n-b\n+c\n", "@@ -1,9 +1,9 @@\n a\n-b\n+c\n"),
    "too short, signed": (
        "@@ -1,9 +1,9 @@\n a\n-b\n+c\n-- \n2.52.0\n",
        "@@ -1,9 +1,9 @@\n a\n-b\n+c\n",
    ),
    "too short, prose behind": (
        "@@ -1,9 +1,9 @@\n a\n-b\n+c\n\nWhat do you think?\n",
        "@@ -1,9 +1,9 @@\n a\n-b\n+c\n",
    ),
    "too short, another file": ("@@ -1,9 +1,9 @@\n a\n" + OTHER, "@@ -1,9 +1,9 @@\n a\n" + OTHER),
    "too short, another plain file": (
        "@@ -1,9 +1,9 @@\n a\n" + NAMES + HUNK,
        "@@ -1,9 +1,9 @@\n a\n" + NAMES + HUNK,
    ),
    "too many of one side": ("@@ -1 +1,3 @@\n-a\n-b\n+c\n", "@@ -1 +1,3 @@\n-a\n-b\n+c\n"),
    "no-break spaces": (HUNK.replace("\n ", "\n\xa0"), HUNK.replace("\n ", "\n\xa0")),
    "space lost before a tab": (HUNK.replace(" one", "\tone"), HUNK.replace(" one", "\tone")),
    "space lost": (HUNK.replace(" one", "one"), HUNK.replace(" one", "one")),
    "enormous": ("@@ -1,999999999 +1,999999999 @@\n a\n", "@@ -1,999999999 +1,999999999 @@\n a\n"),
    "beyond any integer": (f"@@ -1,{'9' * 6000} +1 @@\n a\n", f"@@ -1,{'9' * 6000} +1 @@\n a\n"),
    "text between hunks": (HUNK + "and then\n" + HUNK, HUNK + HUNK),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole(name: str) -> None:
    diff, files, hunks = WHOLE[name]
    found = split_diff(
        f"Why.\n\nSigned-off-by: A <a@example.org>\n---\n x | 2 +-\n\n{diff}{SEED_SIGNATURE}"
    )
    assert found.diff == diff
    assert found.content == "Why.\n\nSigned-off-by: A <a@example.org>\n---\n x | 2 +-"
    assert (found.files, found.damaged) == (files, False)
    assert len(re.findall(r"^@@", found.diff, re.MULTILINE)) == hunks
    assert found.trailing == ""


@pytest.mark.parametrize("name", WHOLE)
def test_whole_and_nothing_else(name: str) -> None:
    diff = WHOLE[name][0]
    assert split_diff(diff).diff == diff
    assert split_diff(diff[:-1]).diff == diff or name == "binary"
    assert split_diff(diff).start == 0


@pytest.mark.parametrize("name", PROSE)
def test_prose(name: str) -> None:
    found = split_diff(PROSE[name])
    assert (found.diff, found.content, found.start) == ("", PROSE[name].strip(), -1)


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(name: str) -> None:
    text, diff = DAMAGED[name]
    found = split_diff("Why.\n\n" + NAMES + text)
    assert found.damaged
    assert found.diff == NAMES + diff


def test_damaged_git_line() -> None:
    wrapped = GIT.replace(" b/x.c\nindex", "\nb/x.c\nindex", 1)
    assert split_diff(wrapped) == split_diff(wrapped)
    assert (split_diff(wrapped).diff, split_diff(wrapped).damaged) == (wrapped, True)


def test_where_it_is() -> None:
    text = f"Why.\n\n{GIT}\nbase-commit: 0123\n{SEED_SIGNATURE}"
    found = split_diff(text)
    assert text[found.start :].startswith(GIT)
    assert found.trailing == "base-commit: 0123"
    assert found.content == "Why.\n\n\nbase-commit: 0123"


def test_text_between_diffs_is_content() -> None:
    found = split_diff(f"{GIT}\nand\n\n{OTHER}")
    assert (found.diff, found.content, found.damaged) == (GIT + OTHER, "and", False)


@pytest.mark.parametrize("line", ["-- ", "_" * 47, "_"])
def test_content_ends_at_the_signature(line: str) -> None:
    assert split_diff(f"text\n{line}\nname\n").content == "text"
    assert split_diff(f"text\n{line}").content == "text"
    assert split_diff(f"{line}\nname").content == ""
    assert split_diff(f"text\n{line}\nname\n\n{GIT}").diff == GIT
    assert split_diff(f"text\n{line}\nname\n\n{GIT}").content == "text"


@pytest.mark.parametrize("line", ["--", "---", " -- ", "-- x", "__init__"])
def test_what_is_no_signature(line: str) -> None:
    assert split_diff(f"text\n{line}\nname\n").content == f"text\n{line}\nname"


def test_seed(seed: Path) -> None:
    record = json.loads((seed / "patch-2226024.json").read_text())
    raw = subprocess.run(
        [sys.executable, seed / "make_eml.py"], check=True, capture_output=True
    ).stdout
    found = split_diff(next(texts(raw)))
    assert (found.content, found.diff) == (record["content"], record["diff"])


LINES = st.sampled_from(
    [line for diff, _, _ in WHOLE.values() for line in diff.split("\n")]
    + [line for text, _ in DAMAGED.values() for line in text.split("\n") if len(line) < 99]
    + ["", "prose", "-- ", "____", "---", "From: A <a@example.org>"]
)


@given(st.one_of(st.text(), st.lists(LINES).map("\n".join)))
def test_any_text(text: str) -> None:
    found = split_diff(text)
    lines = text.split("\n")
    given_lines = iter(lines)
    assert all(line in given_lines for line in found.diff.split("\n")[:-1])  # in order
    assert {*found.content.split("\n")[1:-1]} <= {*lines, ""}
    assert found.diff == "" or found.diff.endswith("\n")
    assert (found.start >= 0) == bool(found.diff)
    assert text[max(found.start, 0) :].startswith(found.diff.split("\n")[0])
    assert split_diff(found.diff).diff == found.diff or found.damaged


@pytest.mark.parametrize(
    "unit",
    [
        "@@ -1,999999999 +1,999999999 @@\n a\n",
        "@@ -1,999999999 +1,999999999 @@\nx\n",
        "diff --git a/x b/x\n",
        "diff --git a/x b/x\nnew file mode 100644\n",
        "Index: x\n",
        "--- x\n+++ x\n",
        "--- x\n+++ x\n@@ -1,9 +1,9 @@\n-- \n",
        "+\n-\n",
        "GIT binary patch\nliteral 1\n",
        " ",
        "_",
        "- ",
        '"',
        " differ",
        "diff --git a/x\n",
        "@@@ -1,999999999 -1,999999999 +1,999999999 @@@\n  a\n",
    ],
)
def test_linear(unit: str) -> None:
    def seconds(size: int) -> float:
        text = f"{GIT}@@ -1,999999999 +1,9999999 @@\n a\n" + "--- " + unit * (size // len(unit))
        start = time.process_time()
        split_diff(text)
        split_diff(unit * (size // len(unit)))
        return time.process_time() - start

    assert seconds(1_000_000) < 40 * max(seconds(50_000), 0.005)


def texts(raw: bytes):  # type: ignore[no-untyped-def]
    """Return the text parts of a mail, read with Python's parser: this package parses no mail."""
    for part in message_from_bytes(raw).walk():
        if part.get_content_type() in ("text/plain", "text/x-patch", "text/x-diff"):
            body = part.get_payload(decode=True) or b""
            assert isinstance(body, bytes)
            text = body.decode("utf-8", "replace")
            yield text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def is_patch(mail: Mail) -> bool:
    subject = str(mail["Subject"])
    return "PATCH" in subject.upper() and not re.match(r"\s*re:", subject, re.IGNORECASE)


@needs_git
def test_git_apply_agrees(corpus: list[tuple[str, bytes]], tmp_path: Path) -> None:
    """A diff that git applies is not damaged and names the same files as git; and vice versa."""
    other_names = 0
    refused = 0
    patches = [raw for _, raw in corpus if is_patch(message_from_bytes(raw))][::20]
    assert patches
    for raw in patches:
        found = next((split for split in map(split_diff, texts(raw)) if split.diff), None)
        if found is None:
            continue
        git = subprocess.run(
            ["git", "apply", "--numstat", "-z", "-"],
            check=False,
            cwd=tmp_path,
            input=found.diff.encode(),
            capture_output=True,
        )
        assert (git.returncode == 0) != found.damaged
        refused += found.damaged
        fields = iter(git.stdout.decode("utf-8", "replace").split("\0")[:-1])
        names = [field.split("\t")[2] or (next(fields), next(fields))[1] for field in fields]
        other_names += not found.damaged and tuple(dict.fromkeys(names)) != found.files
    # Test output pasted into a commit message names `x.out` and `x.out.bad`: git uses the
    # shorter name, we the new one.
    assert other_names <= 5
    assert refused <= len(patches) // 100
