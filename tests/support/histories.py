"""Draw histories of patch series as people make them: posted, resent, lost, copied and forged.

A history is a list of acts. Each act is a few small numbers, and `play` turns the acts into the
deliveries that they bring about; so Hypothesis can draw them, shrink them and print them, and a
seed gives the same history again. The people, lists and changes are invented.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TypeVar

from hypothesis import strategies as st

from ingest.mail.defect import Defect
from ingest.model import Delivery
from tests.support import mails

T = TypeVar("T")

START = datetime(2026, 3, 2, 10, 15)
# The fourth is the first by another name, the fifth is nobody whom a mail program knows.
PEOPLE = (
    "Ada Byron <ada@example.org>",
    "Bob Tester <bob@example.com>",
    "Cy Coder <cy@example.net>",
    "Augusta Ada Byron <ada@EXAMPLE.org>",
    "undisclosed",
)
# Whose announcements set states where no list is configured.
BOT = "patchwork-bot+fs@kernel.org"
LISTS = ("dev.lists.example.org", "fs.lists.example.com")
TITLES = ("fs: tidy the cache", "net: speed up", "fs: tidy the cache again")


@dataclass(frozen=True, slots=True)
class Act:
    """`who` does what (`kind`) to the `at`-th of what is there; `shape` decides the rest."""

    kind: str
    who: int = 0
    at: int = 0
    shape: int = 0


@dataclass(slots=True)
class _Turn:
    """An act as its method sees it. Choices are made by one number: 0 is always the first."""

    who: str
    at: int
    left: int

    def pick(self, *options: T) -> T:
        self.left, index = divmod(self.left, len(options))
        return options[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    """`msgid` and `parents` (nearest first) without angle brackets; `received`: when the list's
    server had it. `where`: place in a posting."""

    msgid: str
    subject: str
    body: str
    sender: str
    date: datetime | None
    parents: tuple[str, ...] = ()
    list_id: str = LISTS[0]
    received: datetime | None = None
    headers: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    container_errors: tuple[Defect, ...] = ()
    withdrawn: bool = False
    where: tuple[_Posting, int] | None = None


@dataclass(slots=True, eq=False)
class _Posting:
    title: str
    sender: str
    version: int
    total: int
    tag: str
    change_id: str
    letters: list[_Letter] = field(default_factory=list)


def play(acts: Sequence[Act]) -> list[Delivery]:
    """The deliveries of a history, in the order in which they were sent."""
    story = _Story()
    for act in acts:
        turn = _Turn(PEOPLE[act.who % len(PEOPLE)], act.at, act.shape)
        story.now += turn.pick(*map(_minutes, (10, 0, 100, 130, 5000)))
        getattr(story, act.kind)(turn)
    return [_delivery(letter) for letter in story.letters]


def histories(least: int, most: int) -> st.SearchStrategy[list[Act]]:
    """Histories of so many acts, of which the first is a posting. An act makes four mails at
    most, mostly one."""
    who, at, shape = st.integers(0, len(PEOPLE) - 1), st.integers(0, 7), st.integers(0, 2**30)
    first = st.builds(Act, st.just("post"), who, at, shape)
    act = st.builds(Act, st.sampled_from(KINDS), who, at, shape)
    rest = st.lists(act, min_size=least - 1, max_size=most - 1)
    return st.builds(lambda one, others: [one, *others], first, rest)


def history(seed: int, mail_count: int, *, crowd: bool = False) -> list[Delivery]:
    """Return a history of that many mails. `crowd`: all of it is in a few threads, so that parallel
    deliveries conflict."""
    chance = random.Random(seed)
    acts: list[Act] = []
    made: list[Delivery] = []
    while len(made) < mail_count:
        for _ in range(20):
            kind = chance.choice(KINDS)
            at = chance.randrange(8 if crowd else 1 + 2 * len(acts))
            acts.append(Act(kind, chance.randrange(len(PEOPLE)), at, chance.randrange(2**30)))
        made = play(acts)
    return made[:mail_count]


def _minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


class _Story:
    """The mail sent so far. Each public method is a kind of act."""

    def __init__(self) -> None:
        self.now = START
        self.letters: list[_Letter] = []
        self.postings: list[_Posting] = []
        self._count = 0

    # --- postings ---

    def post(self, turn: _Turn) -> None:
        """A new series: with and without cover, shallow, deep, or not threaded at all."""
        total = turn.pick(2, 1, 3)
        tag = turn.pick("", "RFC", "net-next", "RESEND")
        posting = _Posting(
            TITLES[turn.at % len(TITLES)], turn.who, 1, total, tag, self._new_id("change")
        )
        self._send(posting, turn, below=None)

    def reroll(self, turn: _Turn) -> None:
        """The next version, in a thread of its own or in the old one."""
        if (old := self._posting(turn.at)) is None:
            return
        total = max(old.total + turn.pick(0, 1, -1), 1)
        title = turn.pick(old.title, f"{old.title} (v{old.version + 1})", TITLES[1])
        below = turn.pick(None, old.letters[0], old.letters[-1])
        change_id = turn.pick(old.change_id, "")
        new = _Posting(title, old.sender, old.version + 1, total, old.tag, change_id)
        self._send(new, turn, below=below, link=turn.pick("", old.letters[0].msgid))

    def resend(self, turn: _Turn) -> None:
        """The same version again, as RESEND or without a word."""
        if (old := self._posting(turn.at)) is None:
            return
        tag = turn.pick("RESEND", old.tag)
        below = turn.pick(None, old.letters[0])
        new = replace(old, tag=tag, letters=[])
        self._send(new, turn, below=below)

    def partial(self, turn: _Turn) -> None:
        """One patch as its next version, or one inserted or appended, in reply to the old."""
        if (old := self._posting(turn.at)) is None:
            return
        above = old.letters[turn.left % len(old.letters)]
        number = above.where[1] if above.where else 1
        mark = turn.pick(
            f"PATCH v{old.version + 1} {number}/{old.total}",
            f"PATCH v{old.version + 1}",
            f"PATCH v{old.version} {number}.5/{old.total}",
            f"PATCH {old.total + 1}/{old.total}",
            f"PATCH v{old.version}.1 {number}/{old.total}",
        )
        subject = f"{turn.pick('', 'Re: ')}[{mark}] {old.title}: step {number}"
        self._add(subject, _change(old, number, "again"), old.sender, self._below(above))

    def foreign(self, turn: _Turn) -> None:
        """Somebody's patch in another's thread, whose number fits, or does not."""
        if (old := self._posting(turn.at)) is None:
            return
        number = turn.pick(1, 2, 3)
        mark = turn.pick(f"{number}/{old.total}", "1/1", "", f"v2 {number}/{old.total}", "0/1")
        body = _change(old, number, "theirs") if mark != "0/1" else "All of it.\n"
        above = old.letters[turn.left % len(old.letters)]
        self._add(f"[PATCH {mark}] {old.title}: mine", body, turn.who, self._below(above))

    def pull(self, turn: _Turn) -> None:
        """A pull request, alone or in the place of a cover."""
        mark = turn.pick("GIT PULL", "PULL 0/1")
        body = (
            "The following changes since commit 1111111111111111111111111111111111111111:\n\n"
            "  Last one (2026-03-01)\n\nare available in the Git repository at:\n\n"
            "  https://git.example.org/tree.git tags/now\n\nfor you to fetch.\n"
        )
        letter = self._add(f"[{mark}] changes", body, turn.who)
        if mark == "PULL 0/1":
            patch = mails.patch_body(name="pulled")
            self._add("[PULL 1/1] one change", patch, turn.who, (letter.msgid,))

    def torn(self, turn: _Turn) -> None:
        """A series whose ids a provider replaced: the patches answer one that never came."""
        total, cover = turn.pick(2, 3), turn.pick(True, False)
        version, everywhere = turn.pick("", "v2"), turn.pick(False, True)
        step = turn.pick(*map(_minutes, (0.1, 4, 11)))
        keeps, deep = turn.pick(False, True), turn.pick(False, True)
        title = TITLES[turn.at % len(TITLES)]
        run = f"20260302101500.9{turn.at}"
        first = 0 if cover else 1
        for number in range(first, total + 1):
            said = version if everywhere or number == first else ""
            mark = " ".join(filter(None, ("PATCH", said, f"{number}/{total}")))
            parents = [f"{run}-{index}-ada@example.org" for index in range(first, number)]
            original = f"X-OQ-MSGID: <{run}-{number}-ada@example.org>"
            self._add(
                f"[{mark}] {title}: torn {number}",
                mails.patch_body(name=f"torn{number}") if number else "Why all of it.\n",
                turn.who,
                tuple(reversed(parents)) if deep else tuple(parents[:1]),
                msgid=f"{self._new_id('p')}@provider.example.com",
                headers=(original,) if keeps else (),
            )
            self.now += step

    def false_start(self, turn: _Turn) -> None:
        """1/2 alone; then one run that sends 2/2 and 1/2, or all of it below the first."""
        stem = self._new_id("f")[1:]
        title = TITLES[turn.at % len(TITLES)]
        cover = turn.pick(False, True)
        top = f"20260302101500.8{stem}-1-ada@example.org"
        if cover:
            self._add(f"[PATCH 0/2] {title}", "Why.\n", turn.who, msgid=top)
        false = f"20260302101500.8{stem}-2-ada@example.org" if cover else top
        self._send_one(title, 1, turn.who, false, (top,) if cover else ())
        self.now += _minutes(1)
        last = f"20260302101600.7{stem}-1-ada@example.org"
        self._send_one(title, 2, turn.who, last, (top,) if cover else ())
        again = f"20260302101600.7{stem}-2-ada@example.org"
        self._send_one(title, 1, turn.who, again, (top,) if cover else (last,))

    def _send_one(
        self, title: str, number: int, who: str, msgid: str, parents: tuple[str, ...]
    ) -> None:
        body = mails.patch_body(name=f"start{number}")
        self._add(f"[PATCH {number}/2] {title}: {number}", body, who, parents, msgid=msgid)

    def _send(self, new: _Posting, turn: _Turn, *, below: _Letter | None, link: str = "") -> None:
        cover = turn.pick(True, False)
        threading = turn.pick("shallow", "deep", "none")
        step = turn.pick(*map(_minutes, (0.1, 0, 40, 119, 121)))
        forgetful = turn.pick(False, False, True)  # the version is on the first mail only
        style = turn.pick("{0}.{1}@example.org", "20260302101500.{0}-{1}-ada@example.org")
        footer = self._footer(new, turn)
        stem = self._new_id("s")[1:]
        numbered = new.total > 1 or cover or turn.pick(True, False)
        cover_mark = turn.pick("0/N", "", "PATCHSET 1/2", "0/M") if cover else ""
        first = True
        for number in range(0 if cover else 1, new.total + 1):
            words = ["PATCHSET" if not number and "SET" in cover_mark else "PATCH", new.tag]
            if new.version > 1 and (first or not forgetful):
                words.append(f"v{new.version}")
            if number and numbered:
                words.append(f"{number}/{new.total}")
            elif not number:
                words.append(
                    {"0/N": f"0/{new.total}", "0/M": f"0/{new.total + 1}"}.get(
                        cover_mark, cover_mark.rpartition(" ")[2]
                    )
                )
            mark = f"[{' '.join(filter(None, words))}] " if number or cover_mark else ""
            subject = f"{mark}{new.title}{f': step {number}' if number else ''}"
            body = _change(new, number, turn.pick("", "next")) if number else "Why all of it.\n"
            if first:
                body += footer + (f"\nv1: https://lore.example.org/{link}\n" if link else "")
            above = below if first or not new.letters else new.letters[-(threading == "deep")]
            if threading == "none" and not first:
                above = None
            letter = self._add(
                subject, body, new.sender, self._below(above) if above else (),
                msgid=style.format(stem, number + 1), where=(new, number),
            )  # fmt: skip
            new.letters.append(letter)
            first = False
            self.now += step
        self.postings.append(new)

    def _footer(self, new: _Posting, turn: _Turn) -> str:
        other = (
            self.letters[turn.at % len(self.letters)].msgid if self.letters else "gone@example.org"
        )
        return "\n" + turn.pick(
            "",
            f"change-id: {new.change_id}\n" if new.change_id else "",
            f"Depends-on: <{other}>\n",
            f"base-commit: {'b' * 40}\nprerequisite-patch-id: {'c' * 40}\n",
            f"prerequisite-change-id: {self.postings[0].change_id}:v1\n" if self.postings else "",
        )

    # --- talk ---

    def reply(self, turn: _Turn) -> None:
        """An answer, with all references or the nearest alone, sometimes under a new subject."""
        if (above := self._letter(turn.at)) is None:
            return
        subject = turn.pick(f"Re: {above.subject}", "A new subject", above.subject)
        body = turn.pick("Fine.\n", f"> quoted\n\nReviewed-by: {turn.who}\n", mails.diff("r"))
        parents = self._below(above)
        self._add(subject, body, turn.who, turn.pick(parents, parents[:1], parents[::-1]))

    def orphan(self, turn: _Turn) -> None:
        """An answer to mail that nobody has; by its References it may still be placed."""
        unseen = turn.pick("gone@example.net", f"gone-{turn.at}@example.net")
        above = self._letter(turn.at)
        known = turn.pick((), (above.msgid,) if above is not None else ())
        between = turn.pick((), ("lost-1@example.net",))
        body = turn.pick("As I said.\n", f"Acked-by: {turn.who}\n")
        self._add("Re: what was said", body, turn.who, (unseen, *between, *known))

    def talk(self, turn: _Turn) -> None:
        """A mail that is no patch; its sender may answer it with patches."""
        headers = turn.pick((), ("X-Patchwork-Hint: ignore",))
        letter = self._add(TITLES[turn.at % len(TITLES)], "Shall we?\n", turn.who, headers=headers)
        for number in range(1, turn.pick(1, 2, 3)):
            subject = f"[PATCH {number}/2] {letter.subject} {number}"
            self._add(subject, mails.patch_body(word=f"t{number}"), turn.who, (letter.msgid,))

    def cycle(self, turn: _Turn) -> None:
        """Two mails that each answer the other."""
        one, other = self._new_id("c")[1:], self._new_id("c")[1:]
        self._add("Re: first", "One.\n", turn.who, (other,), msgid=one)
        subject = turn.pick("Re: second", "[PATCH 1/2] second")
        self._add(subject, mails.patch_body(word="c"), turn.who, (one,), msgid=other)

    def announce(self, turn: _Turn) -> None:
        """What became of a patch, by a bot that may say so everywhere, or by anybody."""
        if (above := self._letter(turn.at)) is None:
            return
        sender = turn.pick(BOT, turn.who)
        title = above.subject.rpartition("] ")[2]
        commit = f"{self._count % 10}" * 12
        parents = self._below(above)
        parents = turn.pick(parents, parents[:1], ())
        text = turn.pick(
            f"Applied, thanks!\n\n[1/1] {title}\n      commit: {commit}\n",
            "pw-bot: under-review\n",
            f"Applied as {commit}, thanks.\n",
            "pw-bot: changes-requested\n\nPlease split it.\n",
            "Applied, thanks.\n",
            f"The following commit has been merged into the fs branch of tip:\n\n"
            f"Commit-ID:     {commit * 3}\n\n{title}\n\nSay why.\n\n"
            f"Link: https://lore.example.org/r/{above.msgid}\n",
        )
        self._add(f"Re: {above.subject}", text, sender, parents)

    # --- what becomes of mail ---

    def lose(self, turn: _Turn) -> None:
        """A mail that never comes."""
        if self.letters:
            del self.letters[turn.at % len(self.letters)]

    def cross(self, turn: _Turn) -> None:
        """The same mail through another list, which may have changed it."""
        if (letter := self._letter(turn.at)) is None:
            return
        received_at = turn.pick(self.now, None, letter.received, START)
        footer = turn.pick(
            "", "\n--\nTo unsubscribe: no@example.org\n", "\n" + "_" * 47 + "\ndev mailing list\n"
        )
        name = letter.sender.partition(" <")[0]
        sender, headers = turn.pick(
            (letter.sender, letter.headers),
            (
                f"{name} via Fs <fs@lists.example.com>",
                (*letter.headers, f"X-Original-From: {letter.sender}"),
            ),
        )
        self.letters.append(
            replace(
                letter, list_id=turn.pick(*reversed(LISTS)), received=received_at, sender=sender,
                body=letter.body + footer, subject=turn.pick("", "[fs] ") + letter.subject,
                headers=headers,
            )
        )  # fmt: skip

    def forge(self, turn: _Turn) -> None:
        """Other content under a known Message-ID."""
        if (letter := self._letter(turn.at)) is None:
            return
        received_at = turn.pick(self.now, None, START - _minutes(60), letter.received)
        body = turn.pick(mails.patch_body(word="forged"), "No.\n", letter.body + "More.\n")
        subject = turn.pick(letter.subject, "[PATCH 1/2] forged", "[PATCH 0/2] forged", "forged")
        parents = turn.pick(letter.parents, (), ("else@example.net",))
        self.letters.append(
            replace(
                letter, sender=turn.pick(turn.who, letter.sender), body=body, subject=subject,
                received=received_at, parents=parents,
            )
        )  # fmt: skip

    def trim(self, turn: _Turn) -> None:
        """The same mail again under its id, without the first line of its text."""
        if (letter := self._letter(turn.at)) is None:
            return
        received_at = turn.pick(self.now, None, START - _minutes(60))
        body = letter.body.partition("\n")[2]
        self.letters.append(replace(letter, body=body, received=received_at, date=self.now))

    def again(self, turn: _Turn) -> None:
        """Deliver the same bytes again, with more: a list, a defect, a withdrawal."""
        if (letter := self._letter(turn.at)) is None:
            return
        self.letters.append(
            turn.pick(
                replace(letter, route=(*letter.route, "third.lists.example.org")),
                replace(letter, withdrawn=True),
                replace(letter, container_errors=(Defect.TRUNCATED,)),
                letter,
            )
        )

    def spoil(self, turn: _Turn) -> None:
        """A mail that lacks its id or its date, or has a date that cannot be."""
        if not self.letters:
            return
        index = turn.at % len(self.letters)
        letter = self.letters[index]
        self.letters[index] = turn.pick(
            replace(letter, date=None),
            replace(letter, msgid=""),
            replace(letter, date=None, received=self.now),
            replace(letter, date=None, headers=(*letter.headers, "Date: Mon, 32 May 2026 9:99")),
        )

    # --- pieces ---

    def _add(
        self,
        subject: str,
        body: str,
        sender: str,
        parents: tuple[str, ...] = (),
        *,
        msgid: str = "",
        headers: tuple[str, ...] = (),
        where: tuple[_Posting, int] | None = None,
    ) -> _Letter:
        letter = _Letter(
            msgid=msgid or self._new_id("m")[1:],
            subject=subject, body=body, sender=sender, date=self.now, parents=parents,
            headers=headers, received=self.now, where=where,
        )  # fmt: skip
        self.letters.append(letter)
        return letter

    def _new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}@example.org" if kind == "m" else f"{kind}{self._count}"

    def _letter(self, at: int) -> _Letter | None:
        return self.letters[at % len(self.letters)] if self.letters else None

    def _posting(self, at: int) -> _Posting | None:
        return self.postings[at % len(self.postings)] if self.postings else None

    @staticmethod
    def _below(above: _Letter) -> tuple[str, ...]:
        return (above.msgid or "nobody@example.net", *above.parents)[:10]


KINDS: tuple[str, ...] = tuple(
    name
    for name, value in vars(_Story).items()
    if isinstance(value, Callable) and not name.startswith("_")  # type: ignore[arg-type]
)


def _change(posting: _Posting, number: int, word: str) -> str:
    """A patch. Without a word, the change is the same in all versions."""
    return mails.patch_body(name=f"{posting.title[:2]}{number}", word=word or "same")


def _delivery(letter: _Letter) -> Delivery:
    lines = []
    if letter.received is not None:
        stamp = format_datetime(letter.received.replace(tzinfo=UTC))
        lines.append(f"Received: from mx.example.org by lists.example.org with SMTP; {stamp}")
    lines += [f"From: {letter.sender}", f"Subject: {letter.subject}"]
    if letter.date is not None:
        lines.append(f"Date: {format_datetime(letter.date.replace(tzinfo=UTC))}")
    if letter.msgid:
        lines.append(f"Message-ID: <{letter.msgid}>")
    lines += [f"List-Id: <{letter.list_id}>", *letter.headers]
    if letter.list_id == LISTS[1]:
        lines.append("List-Post: <mailto:fs@lists.example.com>")
    if letter.parents:
        lines.append(f"In-Reply-To: <{letter.parents[0]}>")
        lines.append(
            "References: " + " ".join(f"<{parent}>" for parent in reversed(letter.parents))
        )
    raw = ("\n".join((*lines, "", letter.body)) + "\n").encode()
    return mails.delivery(
        raw,
        route=letter.route,
        container_errors=letter.container_errors,
        withdrawn=letter.withdrawn,
    )
