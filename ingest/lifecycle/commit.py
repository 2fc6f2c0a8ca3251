"""Read what identifies a patch from a commit: its author, title, links and changed lines.

Input: a commit object as git stores it, and diffs. Output: `CommitFacts`, which are small, so that
the facts of all commits can be kept for patches that arrive later. Any bytes are accepted. Pure.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from datetime import datetime, timedelta
from zlib import crc32

from ingest.frozen import frozen
from ingest.mail.charset import decode_text
from ingest.mail.message import Address
from ingest.mail.msgid import bound_id
from ingest.patch.dependency import msgid_of_url

_MAX_MESSAGE = 256 * 1024  # bytes of a commit message that are read
_MAX_TITLE = 1_000  # characters
_MAX_NAME = 500
_MAX_LINKS = 50
_MAX_ORIGINALS = 50

# The values of these trailers name a mail. The key may be anywhere at the margin: committers add
# it above and below other trailers.
_LINK = re.compile(
    r"^(?:link|message-id)[ \t]?:[ \t]*(\S[^\n]{0,2000})$", re.IGNORECASE | re.MULTILINE
)
_URL = re.compile(r"<?(https?://[^\s<>]{1,2000})>?")
_MSGID = re.compile(r"<([^<>\s@]{1,500}@[^<>\s@]{1,498})>|([^<>\s@:/]{1,500}@[^<>\s@:/]{1,498})$")
# "Link: URL [1]", "Link: URL # [1]": by convention the text refers to it.
_FOOTNOTE = re.compile(r"[ \t](?:#[ \t]*)?\[?\[\d{1,3}\]\]?[ \t]*$", re.ASCII)

# How a backport names the commit that it was made from, each on a line of its own:
# Documentation/process/stable-kernel-rules, git cherry-pick -x, and the habits of distributions.
_ORIGINALS = tuple(
    re.compile(
        rf"^[ \t]{{0,8}}[(\[]?[ \t]{{0,8}}{before}commit[ \t:]{{1,4}}([0-9a-f]{{7,64}}){after}",
        re.IGNORECASE | re.MULTILINE,
    )
    for before, after in (
        (r"(?:mainline |upstream )?", r"[ \t](?:from )?upstream"),
        (r"(?:backport(?:ed)? (?:of|from) )?(?:upstream|mainline) ", ""),
        (r"(?:cherry[- ]picked|backported|ported|adapted) from (?:upstream )?", ""),
        (r"(?:this is a )?backport of (?:upstream )?", ""),
    )
)
_MESSAGE_END = re.compile(r"^---[ \t]*$", re.MULTILINE)

_PERSON = re.compile(rb"(.*?)[ \t]?<([^>\n]*)>[ \t]*(-?\d{1,18})(?:[ \t]+[-+]\d{4,6})?")
_EPOCH = datetime(1970, 1, 1)
_LAST_SECOND = 7_258_118_399  # the end of 2199

# Of each patch and commit, so many hashes of changed lines are kept: the smallest, so that any two
# samples can be compared.
SAMPLE_SIZE = 32
_MIN_LINE = 3  # characters: "}" and "*/" are in every patch


@frozen(kw_only=True)
class CommitFacts:
    """What a commit shows of the patch that it was made from.

    `id`: of the commit, hex. Dates are naive UTC. `title`: the first paragraph on one line.
    `links`: the mails that `Link:` and `Message-ID:` name, ids in angle brackets. `originals`: the
    commits that it was backported or cherry-picked from. `patch_id`: as git computes it by default;
    `other_patch_ids`: by other diff algorithms and sizes of context, where these were computed.
    `sample`: of the changed lines (`sample_lines`), None where they are unknown.
    """

    id: str
    author: Address
    author_date: datetime | None
    commit_date: datetime | None
    title: str
    links: tuple[str, ...] = ()
    originals: tuple[str, ...] = ()
    patch_id: str | None = None
    other_patch_ids: tuple[str, ...] = ()
    sample: bytes | None = None


def parse_commit(commit_id: str, content: bytes) -> CommitFacts:
    """Read a commit object. Its diff is not part of it, so there is no patch-id and no sample."""
    header, _, message = content.partition(b"\n\n")
    encoding = "utf-8"
    author, author_date, commit_date = Address("", ""), None, None
    for line in header.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"author" and author_date is None:
            author, author_date = _parse_person(value)
        elif key == b"committer" and commit_date is None:
            _, commit_date = _parse_person(value)
        elif key == b"encoding":
            encoding = value.decode("ascii", "replace")
    text = decode_text(message[:_MAX_MESSAGE], encoding).text
    return CommitFacts(
        id=commit_id,
        author=author,
        author_date=author_date,
        commit_date=commit_date,
        title=_find_title(text),
        links=find_links(text),
        originals=find_originals(text),
    )


def find_links(message: str) -> tuple[str, ...]:
    """Return the Message-IDs that the `Link:` and `Message-ID:` trailers of a message name.

    A link that a footnote mark follows is one that the text refers to, and does not count.
    """
    links: dict[str, None] = {}
    for match in _LINK.finditer(message):
        if len(links) >= _MAX_LINKS:
            break
        if link := find_link(match[1]):
            links[link] = None
    return tuple(links)


def find_link(value: str) -> str | None:
    """Return the Message-ID that the value of such a trailer names, in angle brackets, or None."""
    value = value.strip()
    if _FOOTNOTE.search(value):
        return None
    if url := _URL.match(value):
        return msgid_of_url(url[1])
    if msgid := _MSGID.match(value):
        return bound_id(f"<{msgid[1] or msgid[2]}>")
    return None


def find_originals(message: str) -> tuple[str, ...]:
    """Return the commits that a message says it was backported or cherry-picked from.

    `message`: of a commit, or of a mail, of which what follows `---` does not count.
    """
    if "commit" not in message and "Commit" not in message and "COMMIT" not in message:
        return ()
    end = _MESSAGE_END.search(message)
    text = message[: end.start()] if end else message
    found = (match[1].lower() for pattern in _ORIGINALS for match in pattern.finditer(text))
    return tuple(dict.fromkeys(found))[:_MAX_ORIGINALS]


def sample_lines(lines: Iterable[bytes]) -> bytes:
    """Return a sample of the changed lines of a diff: the smallest hashes, 4 bytes each.

    `lines`: of a diff, in any order. Lines that most patches have are left out, and white space at
    both ends does not count. The samples of two diffs show how much they have in common.
    """
    hashes = {
        crc32(line[:1] + text)
        for line in lines
        if line[:1] in (b"+", b"-")
        and line[:4] not in (b"+++ ", b"--- ")
        and len(text := line[1:].strip()) >= _MIN_LINE
    }
    smallest = sorted(hashes)[:SAMPLE_SIZE]
    return struct.pack(f">{len(smallest)}I", *smallest)


def common_share(first: bytes, second: bytes) -> float | None:
    """Return which part of the changed lines two diffs have in common, as their samples show it.

    0 is none and 1 all of them; up to `SAMPLE_SIZE` lines it is exact. None where neither has any.
    """
    hashes, others = _read_sample(first), _read_sample(second)
    union = sorted(hashes | others)[:SAMPLE_SIZE]
    return (
        sum(value in hashes and value in others for value in union) / len(union) if union else None
    )


def _read_sample(sample: bytes) -> set[int]:
    return set(struct.unpack(f">{len(sample) // 4}I", sample[: len(sample) // 4 * 4]))


def _parse_person(value: bytes) -> tuple[Address, datetime | None]:
    """Read the value of `author` or `committer`: name, address, seconds, zone."""
    match = _PERSON.match(value)
    if match is None:
        return Address("", ""), None
    name, email = (decode_text(part, "utf-8").text[:_MAX_NAME] for part in (match[1], match[2]))
    seconds = int(match[3])
    date = _EPOCH + timedelta(seconds=seconds) if 0 <= seconds <= _LAST_SECOND else None
    return Address(name.strip(), email.strip()), date


def _find_title(message: str) -> str:
    """Return the title as git has it: the lines of the first paragraph, joined by blanks."""
    paragraph = re.split(r"\n[ \t]*\n", message.lstrip()[: _MAX_TITLE * 4], maxsplit=1)[0]
    return " ".join(paragraph.split())[:_MAX_TITLE]
