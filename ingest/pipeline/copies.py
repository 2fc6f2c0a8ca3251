"""Compute the fingerprint by which copies of a message are recognised, and their rank.

A message may arrive several times, each time changed by what distributed it. `store.write.copies`
groups mails with one Message-ID by fingerprint, and takes the one with the least rank as the best.
"""

from __future__ import annotations

import hashlib

from ingest.mail.defect import Defect
from ingest.mail.message import Message
from ingest.model import PATCHWORK, SUBSTITUTE_RANK, Delivery
from ingest.patch.submission import Submission
from ingest.series.facts import Facts
from ingest.trust.person import Submitter

_MAX_FOOTER_LINES = 5


def compute_fingerprint(facts: Facts, submission: Submission, diff: str | None) -> str:
    """Return what copies of one message share: sender, number, title and text, without space.

    Lists append footers (removed as signatures are), wrap headers, change transfer encodings
    and put their name into the subject; none of that makes another message.
    """
    version = f"v{facts.version}.{facts.version_minor}"
    title = "".join(submission.subject.title.split()).lower()
    parts = (
        f"{facts.sender}\0{facts.kind}\0{facts.number}.{facts.minor}/{facts.total} {version}"
        f"\0{title}".encode("utf-8", "surrogatepass"),
        _without_space(_without_footer(submission.content)),
        _without_space(diff or ""),
    )
    return hashlib.sha1(b"\0".join(parts)).hexdigest()


# The white space of `str.split`, within US-ASCII.
_SPACE = bytes(code for code in range(0x80) if chr(code).isspace())


def _without_space(text: str) -> bytes:
    """Return `text` without white space, in UTF-8.

    White space of other scripts needs a look at each word, which takes three times as long.
    """
    if text.isascii():
        return text.encode().translate(None, _SPACE)
    return "".join(text.split()).encode("utf-8", "surrogatepass")


def _without_footer(content: str) -> str:
    """Remove Majordomo's footer: it follows a line `--` without the space of a signature's."""
    head, line, tail = content.rpartition("\n--\n")
    return head if line and tail.count("\n") <= _MAX_FOOTER_LINES else content


def compute_rank(message: Message, submitter: Submitter, delivery: Delivery) -> str:
    """Return a text by which copies of a message compare; the least is the best copy.

    That is one that is the mail itself and not made from a row of Patchwork, that is whole, with
    its From not rewritten, with few defects, and received early. The digest decides between equals.
    """
    received_at = message.received or message.date
    return "".join(
        (
            SUBSTITUTE_RANK if delivery.source == PATCHWORK else str(int(delivery.withdrawn)),
            str(int(Defect.TRUNCATED in delivery.container_errors)),
            str(int(submitter.person_source is not None)),
            f"{min(len(message.defects), 99):02}",
            received_at.isoformat() if received_at else "9",
            delivery.sha256.hex(),
        )
    )
