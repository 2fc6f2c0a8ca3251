"""Draw crowds: few mails that share senders, ids, numbers and times, and limits so low that they
exceed them.

`histories` draws what people do; this module draws what a flood looks like to the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from unittest import mock

from hypothesis import strategies as st
from sqlalchemy import Connection, select

from ingest.model import Delivery
from ingest.series import comments as too_many_comments
from ingest.series import crowd, unthreaded
from ingest.series.facts import key_of
from ingest.store import reachable, schema
from ingest.store.write import copies, grouping, threads
from ingest.store.write.fast_path import direct_comments
from tests.support import mails
from tests.support.floods import START

SENDERS = ("Ann Author <ann@example.org>", "Bob Author <bob@example.org>")
SUBJECTS = (
    "Re: lost",
    "[PATCH 1/2] one",
    "[PATCH 2/2] two",
    "[PATCH] alone",
    "[PATCH 0/2] cover",
    "[PATCH v2 1/2] one",
    "about something",
    "Re: [PATCH 1/2] one",
    "[PATCH v3] alone",
    "[PATCH v2 0/2] cover",
    "[PATCH 0/2] cover",
)
PARENTS = (
    (), (), ("gone",), ("gone",), ("top", "gone"), ("m0",), ("m1", "gone"), ("m0", "m1"), ("m2",),
    ("m3",), ("m4", "gone"), ("gone", "m1"),
    ("m1", "NEW"), ("NEW", "m0"), ("m3", "gone", "NEW"), ("NEW", "m2", "m4"), ("gone", "NEW"),
    ("NEXT",), ("NEXT",), ("LATER", "NEXT"), ("NEXT", "LATER"), ("m0", "NEXT"), ("LAST",),
)  # fmt: skip
# Seconds between the mails: at once, within a minute, ten minutes, two hours, more.
STEPS = (0, 1, 70, 700, 7_300)


@contextmanager
def little_room(
    *,
    same: int = 2,
    loose: int = 3,
    all_loose: int = 6,
    group: int = 4,
    variants: int = 2,
    comments: int = 8,
) -> Iterator[None]:
    """Lower the limits, so that a dozen mails exceed them."""
    with ExitStack() as stack:
        for module, name, bound in (
            (crowd, "MAX_SAME_NUMBER", same),
            (crowd, "MAX_LOOSE_NUMBER", loose),
            (crowd, "MAX_LOOSE", all_loose),
            (unthreaded, "MAX_SAME_NUMBER", same),
            (unthreaded, "MAX_GROUP", group),
            (reachable, "MAX_GROUP", group),
            (copies, "MAX_VARIANTS", variants),
            (grouping, "MAX_VARIANTS", variants),
            (too_many_comments, "MAX_COMMENTS", comments),
            (threads, "MAX_COMMENTS", comments),
            (direct_comments, "MAX_COMMENTS", comments),
        ):
            stack.enter_context(mock.patch.object(module, name, bound))
        yield


def crowds(least: int, most: int) -> st.SearchStrategy[list[Delivery]]:
    """Draw so many mails, in the order in which they are dated."""
    act = st.tuples(
        st.sampled_from(range(-4, 5)),  # the id: its own, or one of five
        st.sampled_from((0, 0, 0, 1)),
        st.sampled_from(range(len(SUBJECTS))),
        st.sampled_from(PARENTS),
        st.sampled_from(STEPS),
    )
    return st.lists(act, min_size=least, max_size=most).map(_play)


# Mostly patches without a number, each of which answers one that is sent after it.
LATE_SUBJECTS = (*(SUBJECTS.index("[PATCH] alone"),) * 12, *range(len(SUBJECTS)))
LATE_PARENTS = (
    *(("NEXT",),) * 10, ("LATER", "NEXT"), ("NEXT", "LATER"), ("m0", "NEXT"), ("NEXT", "m0"),
    ("NEW", "NEXT"), ("NEXT", "NEW"), ("LATER",), ("LAST",), ("LAST", "NEXT"), ("m0",), ("gone",),
    (),
)  # fmt: skip


def late_crowds(least: int, most: int) -> st.SearchStrategy[list[Delivery]]:
    """Draw so many mails of a thread in which most mails are named before they arrive."""
    act = st.tuples(
        st.sampled_from((*(-1,) * 12, 0, 1)),
        st.sampled_from((*(0,) * 6, 1)),
        st.sampled_from(LATE_SUBJECTS),
        st.sampled_from(LATE_PARENTS),
        st.sampled_from(STEPS),
    )
    return st.lists(act, min_size=least, max_size=most).map(_play)


# Mostly replies, which name one or two of few patches, each other, and unseen mails.
COMMENT_SUBJECTS = (
    *(SUBJECTS.index("Re: lost"),) * 9, *(SUBJECTS.index("about something"),) * 3,
    *range(len(SUBJECTS)),
)  # fmt: skip
COMMENT_PARENTS = (
    ("m0",), ("m0", "NEXT"), ("m0", "NEXT"), ("m0", "LATER", "NEXT"), ("m0", "NEXT", "LATER"),
    ("m0", "LAST"), ("m0", "gone"), ("m0", "gone", "LAST"), ("m0", "m1"), ("m1", "m0"),
    ("NEXT",), ("NEXT",), ("LAST",), ("LAST",), ("gone",), ("m0", "m2", "NEW"), ("m1", "NEXT"), (),
)  # fmt: skip


def comment_crowds(least: int, most: int) -> st.SearchStrategy[list[Delivery]]:
    """Draw so many mails of a thread with a patch or two, most of which are comments."""
    act = st.tuples(
        st.sampled_from((*(-1,) * 12, 0, 0, 1, 2)),
        st.sampled_from((0, 0, 1)),
        st.sampled_from(COMMENT_SUBJECTS),
        st.sampled_from(COMMENT_PARENTS),
        st.sampled_from(STEPS),
    )
    first = st.tuples(
        st.just(0),
        st.just(0),
        st.sampled_from([SUBJECTS.index("[PATCH] alone"), SUBJECTS.index("[PATCH 0/2] cover")]),
        st.just(()),
        st.just(0),
    )
    acts = st.tuples(first, st.lists(act, min_size=least - 1, max_size=most - 1))
    return acts.map(lambda drawn: _play([drawn[0], *drawn[1]]))


def _play(acts: list[tuple[int, int, int, tuple[str, ...], int]]) -> list[Delivery]:
    made, date = [], START
    for number, (msgid, who, subject, parents, step) in enumerate(acts):
        date += timedelta(seconds=step)
        # An unseen mail, those that are sent next, and that which was sent before.
        names = {
            "NEW": f"x{number}", "NEXT": f"n{number + 1}", "LATER": f"n{number + 2}",
            "LAST": f"n{number - 1}",
        }  # fmt: skip
        made.append(
            mail(
                number,
                SUBJECTS[subject],
                *(names.get(name, name) for name in parents),
                msgid=f"m{msgid}" if msgid >= 0 else None,
                sender=SENDERS[who],
                date=date,
            )
        )
    return made


def mail(
    number: int,
    subject: str,
    *parents: str,
    msgid: str | None = None,
    sender: str = SENDERS[0],
    date: datetime = START,
) -> Delivery:
    """Return one mail, a patch if its subject says so. Its id is `n` and the number by default."""
    lines = [
        f"From: {sender}",
        f"Subject: {subject}",
        f"Message-ID: <{msgid or f'n{number}'}@example.org>",
        "List-Id: <flood.example.org>",
        f"Date: {format_datetime(date)[:-5]}+0000",
    ]
    if parents:
        lines.append(f"In-Reply-To: <{parents[-1]}@example.org>")
        lines.append("References: " + " ".join(f"<{parent}@example.org>" for parent in parents))
    body = mails.patch_body(word=f"w{number}") if "PATCH" in subject else "Text.\n"
    return mails.delivery("\n".join((*lines, "", f"Say {number}.", body)).encode())


def arrangement(connection: Connection) -> list[str]:
    """Return how all messages are arranged, without row ids, including what an export omits."""
    message, series, member = schema.message, schema.series, schema.member
    key = {
        row.id: key_of(row.msgid, row.variant)
        for row in connection.execute(select(message.c.id, message.c.msgid, message.c.variant))
    }
    query = select(message, schema.comment.c.parent_id).outerjoin(
        schema.comment, schema.comment.c.message_id == message.c.id
    )
    lines = [
        f"message {key[row.id]} {row.outcome} {row.reason} {key.get(row.parent_id)}"
        for row in connection.execute(query)
    ]
    series_key = {}
    for row in connection.execute(select(series)):
        series_key[row.id] = row.key
        values = {
            name: value
            for name, value in row._mapping.items()
            if name not in ("id", "person_id", "cover_id", "thread_id")
        }
        lines.append(f"series {values} {key.get(row.cover_id)}")
    for row in connection.execute(select(member)):
        place = f"{row.number} {row.minor} {row.rule} {row.evidence}"
        lines.append(f"member {key[row.message_id]} {series_key[row.series_id]} {place}")
    lines += [
        f"trace {series_key[row.series_id]} {row.trace}"
        for row in connection.execute(select(schema.trace))
    ]
    return sorted(lines)
