"""Build floods: mail that one sender can make for free, to measure the cost of the last mail.

Each kind has mails that would all have to be compared with each other if there were no limits.
`plain` and `chain` are yardsticks: their mails have nothing, or only their parent, to do with
each other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import cache

from ingest.series.facts import digest63
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
    text: str = "",
    word: str = "",
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
    if text:
        body += f"{text}\n"
    if "[PATCH" in subject and " 0/" not in subject and not subject.startswith("Re:"):
        body += "---\n" + diff(word=word or f"new {number}")
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


def _reversed(number: int) -> bytes:
    return _mail(-number, "Re: on and on", references=(f"m{-number - 1}",))


def _reversed_with_references(number: int) -> bytes:
    above = tuple(f"m{-number - step}" for step in range(10, 0, -1))
    return _mail(-number, "Re: on and on", references=above)


def _reversed_patches(number: int) -> bytes:
    return _mail(-number, f"[PATCH] part {number}", references=(f"m{-number - 1}",))


def _reversed_patches_with_references(number: int) -> bytes:
    above = tuple(f"m{-number - step}" for step in range(10, 0, -1))
    return _mail(-number, f"[PATCH] part {number}", references=above)


def _patch_chain(number: int) -> bytes:
    above = (f"m{number - 1}",) if number else ()
    return _mail(number, f"[PATCH] part {number}", references=above)


def _joined(number: int) -> bytes:
    """Every other mail joins the thread of the one before with a large one."""
    if number % 2 == 0:
        return _mail(number, "about something")
    return _mail(number, "Re: about something", references=("hub", f"m{number - 1}"))


def _joined_in_turn(number: int) -> bytes:
    """Each names another mail above the one that all of them answer."""
    return _mail(number, "Re: lost", references=(f"other{number}", "hub"))


def _joined_to_patch(number: int) -> bytes:
    """Every other mail joins the thread of the one before with that of a patch."""
    if number == 0:
        return _mail(number, "[PATCH] part", msgid="hub")
    return _joined(number)


def _joined_by_unseen(number: int) -> bytes:
    """Each names another unseen mail between itself and a patch."""
    if number == 0:
        return _mail(number, "[PATCH] part", msgid="hub")
    return _mail(number, "Re: part", references=("hub", f"other{number}"))


def _comments_downwards(number: int) -> bytes:
    """Comments on a patch in reverse order, each of which answers the one that follows."""
    if number == 0:
        return _mail(number, "[PATCH] part", msgid="hub")
    return _mail(-number, "Re: part", references=("hub", f"m{-number - 1}"))


def _comments_downwards_with_references(number: int) -> bytes:
    """The same, with the mails between in the References."""
    if number == 0:
        return _mail(number, "[PATCH] part", msgid="hub")
    above = tuple(f"m{-number - step}" for step in range(10, 0, -1))
    return _mail(-number, "Re: part", references=("hub", *above))


def _comments_around_unseen(number: int) -> bytes:
    """Comments on a patch, each of which names two unseen mails, one of them as the one before."""
    if number == 0:
        return _mail(number, "[PATCH] part", msgid="hub")
    return _mail(number, "Re: part", references=("hub", f"x{number}", f"x{number - 1}"))


def _comments_on_comments_downwards(number: int) -> bytes:
    """Comments on the second of two patches, in reverse order, that do not name it."""
    if number < 3:
        part = f"[PATCH {number}/2] part"
        return _mail(number, part, msgid=f"p{number}", references=("p0",) if number else ())
    if number == 3:
        return _mail(number, "Re: part", msgid="first", references=("p0", "p2"))
    return _mail(-number, "Re: part", references=("first", f"m{-number - 1}"))


def _joined_around(number: int) -> bytes:
    """Each names earlier mails of the thread in another order, one of them unseen."""
    above = (f"m{number // 2}", f"x{number % 97}", f"m{number // 3}") if number else ()
    return _mail(number, "Re: about something", references=above)


@cache
def _ids_by_node() -> list[str]:
    """Return ids in the descending order of their nodes (`store.schema.thread_node`)."""
    ids = [f"d{number}" for number in range(20_000)]
    return sorted(ids, key=lambda name: -digest63(f"<{name}@example.org>"))


def _joined_downwards(number: int) -> bytes:
    """Every other mail joins a thread to a large one, all whose nodes are greater."""
    hub, before, name = (_ids_by_node()[index] for index in (0, number, number + 1))
    if number % 2 == 0:
        return _mail(number, "about something", msgid=name)
    return _mail(number, "Re: about something", msgid=name, references=(before, hub))


def _numbered(number: int) -> bytes:
    return _mail(number, f"[PATCH {number + 1}/5000] part {number}", references=("cover",))


def _numbered_downwards(number: int) -> bytes:
    subject = f"[PATCH {5000 - number}/5000] part {number}"
    return _mail(number, subject, references=("cover",), seconds=5000 - number)


def _numbered_unthreaded(number: int) -> bytes:
    return _mail(number, f"[PATCH {number + 1}/5000] part {number}")


def _numbered_below_cover(number: int) -> bytes:
    if number == 0:
        return _mail(number, "[PATCH 0/5000] all", msgid="cover")
    return _mail(number, f"[PATCH {number}/5000] part {number}", references=("cover",))


def _versions(number: int) -> bytes:
    return _mail(number, f"[PATCH v{number + 1}] part", references=("never",))


def _versions_of_covers(number: int) -> bytes:
    return _mail(number, f"[PATCH v{number + 1} 0/2] part", references=("never",))


def _versions_of_series(number: int) -> bytes:
    version = number // 3 + 1
    if number % 3 == 0:
        return _mail(number, f"[PATCH v{version} 0/2] part", references=("never",))
    subject = f"[PATCH v{version} {number % 3}/2] part {number}"
    return _mail(number, subject, references=("never", f"m{number - number % 3}"))


def _versions_in_a_chain(number: int) -> bytes:
    above = (f"m{number - 1}",) if number else ()
    return _mail(number, f"[PATCH v{number + 1}] part", references=above)


def _versions_with_diff(number: int) -> bytes:
    """Versions whose covers have a diff, so that they are patches with the number 0."""
    raw = _versions_of_series(number)
    return raw if number % 3 else raw + b"---\n" + diff(word=f"new {number}").encode()


def _linked(number: int) -> bytes:
    """All name one earlier posting."""
    text = "v1: https://lore.kernel.org/r/m0@example.org/"
    return _mail(number, f"[PATCH v2] fs: work number{number}", sender=f"ann{number}", text=text)


def _announced(number: int) -> bytes:
    """All say of one patch that it is applied."""
    if number == 0:
        return _mail(number, "[PATCH] part")
    return _mail(number, "Re: [PATCH] part", references=("m0",), text="Applied, thanks!")


def _reviewed(number: int) -> bytes:
    """All give one patch a trailer."""
    if number == 0:
        return _mail(number, "[PATCH] part")
    text = f"Reviewed-by: Bob {number} <bob{number}@example.org>"
    return _mail(number, "Re: [PATCH] part", references=("m0",), text=text)


def _dependent(number: int) -> bytes:
    """All depend on one mail."""
    text = "Depends-on: <m0@example.org>\n\nprerequisite-message-id: <m0@example.org>"
    return _mail(number, f"[PATCH] part {number}", sender=f"ann{number}", text=text)


def _change_id(number: int) -> bytes:
    """All have one change-id."""
    text = "change-id: 20240101-part-0123456789ab"
    return _mail(number, f"[PATCH v{number + 1}] part", sender=f"ann{number}", text=text)


def _same_diff(number: int) -> bytes:
    """All have one diff and one title."""
    return _mail(number, f"[PATCH v{number + 1}] part", word="the same")


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
    "reversed": _reversed,
    "reversed-with-references": _reversed_with_references,
    "reversed-patches": _reversed_patches,
    "reversed-patches-with-references": _reversed_patches_with_references,
    "patch-chain": _patch_chain,
    "joined": _joined,
    "joined-in-turn": _joined_in_turn,
    "joined-to-patch": _joined_to_patch,
    "joined-by-unseen": _joined_by_unseen,
    "comments-downwards": _comments_downwards,
    "comments-downwards-with-references": _comments_downwards_with_references,
    "comments-around-unseen": _comments_around_unseen,
    "comments-on-comments-downwards": _comments_on_comments_downwards,
    "joined-around": _joined_around,
    "joined-downwards": _joined_downwards,
    "numbered": _numbered,
    "numbered-downwards": _numbered_downwards,
    "numbered-unthreaded": _numbered_unthreaded,
    "numbered-below-cover": _numbered_below_cover,
    "versions": _versions,
    "versions-of-covers": _versions_of_covers,
    "versions-of-series": _versions_of_series,
    "versions-with-diff": _versions_with_diff,
    "versions-in-a-chain": _versions_in_a_chain,
    "linked": _linked,
    "announced": _announced,
    "reviewed": _reviewed,
    "dependent": _dependent,
    "change-id": _change_id,
    "same-diff": _same_diff,
}


def flood(kind: str, count: int) -> list[bytes]:
    """Return the mails of a flood, in the order in which they are dated."""
    make = KINDS[kind]
    return [make(number) for number in range(count)]
