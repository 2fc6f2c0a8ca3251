"""Who maintains the files of a patch, by a MAINTAINERS file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.lifecycle.delegation import (
    Maintainers,
    MaintainersError,
    dump_sections,
    load_sections,
    parse_maintainers,
)

TEXT = """\
List of maintainers
===================

Descriptions of section entries

	M: *Mail* patches to: FullName <address@domain>
	F: *Files* and directories wildcard patterns.

Maintainers List
----------------
# a comment

EXT4 FILE SYSTEM
M:	"Theodore Ts'o" <Tytso@mit.edu>
M:	Andreas Dilger <adilger@example.org>
R:	Rita Viewer <rita@example.org>
L:	linux-ext4@vger.kernel.org
S:	Maintained
K:	ext4
F:	Documentation/filesystems/ext4/
F:	fs/ext4/
X:	fs/ext4/crypto*

FILESYSTEMS (VFS)
M:	Al <viro@example.org>

S:	Supported
F:	fs/*
F:	include/linux/fs.h

FSCRYPT
M:	Eric <ebiggers@example.org>
S:	Odd Fixes
F:	fs/crypto
F:	fs/*/crypto?.c
N:	ext4

ALL CRYPTO TESTS
M:	Tess <tess@example.org>
S:	Supported
F:	tools/**/*crypto*.c

ORPHAN FS
M:	Nobody <nobody@example.org>
S:	Orphan
F:	fs/orphan/

NO STATUS
M:	Nobody <nobody@example.org>
F:	fs/nostatus/

NO MAINTAINER
R:	Nobody <nobody@example.org>
S:	Maintained
F:	fs/reviewed/

THE REST
M:	Linus <linus@example.org>
S:	Buried alive in reporters
F:	*
F:	*/
"""
TYTSO, ADILGER, VIRO = "tytso@mit.edu", "adilger@example.org", "viro@example.org"
ERIC, TESS, LINUS = "ebiggers@example.org", "tess@example.org", "linus@example.org"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["fs/ext4/inode.c"], [TYTSO, ADILGER, LINUS]),
        (["fs/ext4/sub/deep/inode.c"], [TYTSO, ADILGER, LINUS]),
        (["fs/ext4x/inode.c"], [LINUS]),
        (["fs/inode.c"], [VIRO, LINUS]),  # `*` does not cross `/`
        (["fs/ext4/cryptox.c"], [ERIC, LINUS]),  # X: excludes it; `?` is one character
        (["fs/ext4/crypto/x.c"], [TYTSO, ADILGER, LINUS]),
        (["fs/crypto/a/b.c"], [ERIC, LINUS]),  # a directory without a slash
        (["fs/crypto"], [VIRO, ERIC, LINUS]),  # or a file, which both patterns name
        (["tools/a/b/my-crypto.c"], [TESS, LINUS]),
        (["tools/my-crypto.c"], [LINUS]),
        (["fs/orphan/a.c", "fs/nostatus/a.c", "fs/reviewed/a.c"], [LINUS]),
        (["README"], [LINUS]),
        # The most specific pattern of all files decides.
        (["fs/inode.c", "include/linux/fs.h", "fs/ext4/inode.c"], [VIRO, TYTSO, ADILGER, LINUS]),
        # Of sections that are as specific, the one of more files.
        (["fs/inode.c", "fs/crypto/a.c", "fs/crypto/b.c"], [ERIC, VIRO, LINUS]),
        ([], []),
        (["/".join("x" * 100)], []),
    ],
)
def test_the_most_specific_section_comes_first(files: list[str], found: list[str]) -> None:
    sections = parse_maintainers(TEXT)
    assert list(Maintainers(sections).find(files)) == found
    assert list(Maintainers(sections).find(files[::-1])) == found
    assert load_sections(dump_sections(sections)) == sections


def test_what_does_not_count_does_not_change_what_is_stored() -> None:
    other = TEXT.replace("Rita Viewer", "Rita").replace("K:\text4\n", "").replace("a comment", "b")
    assert other != TEXT
    assert dump_sections(parse_maintainers(other)) == dump_sections(parse_maintainers(TEXT))


@pytest.mark.parametrize("text", ["", "prose\n", "M: a@b.org\nF: x\n", "\0" * 10, "F:\nM:\nS:\n"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(MaintainersError, match="no section has M:, S: and F: lines"):
        parse_maintainers(text)


@given(st.text(alphabet="MFXSa/*?[]\n: @.", max_size=300), st.text(alphabet="a/*", max_size=30))
def test_any_text_is_accepted(text: str, name: str) -> None:
    try:
        sections = parse_maintainers(f"M: a@example.org\nS: Maintained\nF: a\n{text}")
    except MaintainersError:
        return
    Maintainers(sections).find([name])
