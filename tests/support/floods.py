"""Build floods: mail that one sender can make for free, to measure the cost of the last mail.

Each kind has mails that would all have to be compared with each other if there were no limits.
`plain` and `chain` are yardsticks: their mails have nothing, or only their parent, to do with
each other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime

from tests.support.mails import diff

START = datetime(2024, 1, 1)


def _mail(
    number: int,
    subject: str,
    *,
    msgid: str | None = None,
    references: tuple[str, ...] = (),
    sender: str = "ann",
    seconds: int | None = None,
) -> bytes:
    date = START + timedelta(seconds=number if seconds is None else seconds)
    lines = [
        f"From: Ann Author <{sender}@example.org>",
        f"Subject: {subject}",
        f"Message-ID: <{msgid or f'm{number}'}@example.org>",
        "List-Id: <flood.example.org>",
        f"Date: {format_datetime(date)[:-5]}+0000",
        "To: flood@example.org",
    ]
    if references:
        lines.append(f"In-Reply-To: <{references[-1]}@example.org>")
        lines.append(
            "References: " + " ".join(f"<{reference}@example.org>" for reference in references)
        )
    body = f"Text {number}.\n\nSigned-off-by: Ann Author <ann@example.org>\n"
    if "PATCH" in subject:
        body += "---\n" + diff(word=f"new {number}")
    return ("\n".join(lines) + "\n\n" + body).encode()


def _plain(number: int) -> bytes:
    return _mail(number, f"[PATCH] part {number}", sender=f"ann{number}")


def _chain(number: int) -> bytes:
    above = (f"m{number - 1}",) if number else ()
    return _mail(number, "Re: on and on", references=above)


def _same_id(number: int) -> bytes:
    return _mail(number, f"[PATCH] part {number}", msgid="same")


def _same_id_reply(number: int) -> bytes:
    return _mail(number, "Re: part", msgid="same", references=("never",))


def _unseen_parent(number: int) -> bytes:
    return _mail(number, "Re: lost", references=("never",))


def _unseen_parents(number: int) -> bytes:
    return _mail(number, "Re: lost", references=("top", "never"))


def _unseen_patches(number: int) -> bytes:
    return _mail(number, f"[PATCH] part {number}", references=("never",))


def _unnumbered_pairs(number: int) -> bytes:
    return _mail(number, f"[PATCH 1/2] part {number}")


def _pairs(number: int) -> bytes:
    return _mail(number, f"[PATCH {number % 2 + 1}/2] part {number}")


def _slow_pairs(number: int) -> bytes:
    return _mail(number, f"[PATCH {number % 2 + 1}/2] part {number}", seconds=number * 3600)


def _one_number(number: int) -> bytes:
    return _mail(number, f"[PATCH 1/2000] part {number}", references=("cover",))


def _one_number_below_cover(number: int) -> bytes:
    if number == 0:
        return _mail(number, "[PATCH 0/2000] all", msgid="cover")
    return _one_number(number)


KINDS: dict[str, Callable[[int], bytes]] = {
    "plain": _plain,
    "chain": _chain,
    "same-id": _same_id,
    "same-id-reply": _same_id_reply,
    "unseen-parent": _unseen_parent,
    "unseen-parents": _unseen_parents,
    "unseen-patches": _unseen_patches,
    "unnumbered-pairs": _unnumbered_pairs,
    "pairs": _pairs,
    "slow-pairs": _slow_pairs,
    "one-number": _one_number,
    "one-number-below-cover": _one_number_below_cover,
}


def flood(kind: str, count: int) -> list[bytes]:
    """Return the mails of a flood, in the order in which they are dated."""
    make = KINDS[kind]
    return [make(number) for number in range(count)]
