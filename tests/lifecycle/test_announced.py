"""Test which states the text of a mail announces, in each form, quoted or not."""

from __future__ import annotations

import pytest

from ingest.lifecycle.announced import find_announcements
from ingest.lifecycle.announcement import (
    Announcement,
    AnnouncementForm,
    Announcements,
    Scope,
    dump_announcements,
    load_announcements,
)
from ingest.mail.parse import parse_message
from ingest.patch.classify import classify
from ingest.trust.person import find_submitter
from tests.support import announcing, mails
from tests.support.announcing import COMMITS

HASH = "1a2b3c4d5e6f"


def announced(raw: bytes) -> tuple[Announcement, ...]:
    message = parse_message(raw)
    return find_announcements(message, classify(message, find_submitter(message).person))


def by_text(text: str) -> list[tuple[str, int | None, str | None]]:
    """Return title, number and commit of what a reply with this text announces as applied."""
    return [
        (item.title, item.number, item.commit_ref)
        for item in announced(announcing.answer(text))
        if item.form is not AnnouncementForm.BARE
    ]


def is_claim(text: str) -> bool:
    return [item.form for item in announced(announcing.answer(text))] == [AnnouncementForm.BARE]


def test_b4_ty_lists_titles_and_commits() -> None:
    assert by_text(announcing.B4_TY) == [
        ("fs: step 1", 1, COMMITS[0]),
        ("fs: step 2", 2, COMMITS[1][:12]),
    ]


def test_patchwork_bot_lists_what_has_a_commit() -> None:
    (item,) = announced(announcing.answer(announcing.PATCHWORK))
    assert (item.form, item.title, item.commit_ref) == (
        AnnouncementForm.PATCHWORK, "fs: step 1", COMMITS[0][:12],
    )  # fmt: skip


def test_patchwork_bot_names_versions_and_lists_in_its_brackets() -> None:
    text = announcing.PATCHWORK.replace("[1/2]", "[net-next,RESEND,v12,1/2]")
    (item,) = announced(announcing.answer(text))
    assert (item.number, item.total, item.version) == (1, 2, 12)


def test_tip_bot_names_a_commit_and_the_mail() -> None:
    raw = announcing.answer(announcing.TIP, subject="[tip: fs/urgent] fs: Step 1")
    (item,) = announced(raw)
    assert item.scope is Scope.NAMED
    assert item.title == "fs: Step 1"
    assert item.commit_ref == COMMITS[0]
    assert item.msgids == ("<fs-1@example.org>",)


def test_the_stable_queue_names_the_backport_and_not_the_original() -> None:
    subject = 'Patch "fs: step 1" has been added to the 6.6-stable tree'
    (item,) = announced(announcing.answer(announcing.STABLE, to=None, subject=subject))
    assert (item.form, item.title) == (AnnouncementForm.QUEUE, "fs: step 1")
    assert item.msgids == ("<fs-1@example.org>",)
    assert item.state == "accepted"


def test_another_queue_is_not_final() -> None:
    text = (
        "The patch titled\n     Subject: fs: step 1\nhas been added to the -mm mm-unstable branch."
        "  Its filename is\n     fs-step-1.patch\n\nLink: https://lkml.kernel.org/r/a@example.org\n"
    )
    raw = announcing.answer(text, to=None, subject="+ fs-step-1.patch added to mm-unstable branch")
    (item,) = announced(raw)
    assert (item.title, item.state) == ("fs: step 1", "awaiting-upstream")
    assert item.msgids == ("<a@example.org>",)


def test_pr_tracker_names_the_merge() -> None:
    (item,) = announced(announcing.answer(announcing.PULLED))
    assert (item.scope, item.commit_ref) == (Scope.PULL, COMMITS[0])


@pytest.mark.parametrize(
    ("written", "state"),
    [
        ("pw-bot: cr", "changes-requested"),
        ("pw-bot: changes-requested", "changes-requested"),
        ("pw-bot: Under Review", "under-review"),
        ("pw-bot: not-applicable", "not-applicable"),
        ("pw-bot: rejected", "rejected"),
        ("pw-bot:accepted", "accepted"),
        ("pw-bot: au", "awaiting-upstream"),
    ],
)
def test_commands(written: str, state: str) -> None:
    for text in (f"Needs work.\n\n{written}\n", f"Needs work.\n-- \n{written}\n"):
        (item,) = announced(announcing.answer(text))
        assert (item.scope, item.state) == (Scope.SERIES, state)


@pytest.mark.parametrize(
    "line", ["pw-bot: frobnicate", "see pw-bot: cr", "> pw-bot: cr", "pw-bot:"]
)
def test_what_is_no_command(line: str) -> None:
    assert announced(announcing.answer(f"Hello.\n\n{line}\n")) == ()


@pytest.mark.parametrize(
    "text",
    [
        f"Applied to fs-next, thanks.\n\n[1/1] fs: change\n      commit: {HASH}\n",
        f"Applied.\n\n[PATCH] fs: change ({HASH})\n",
        f"Thanks, applied both:\n\n- [PATCH v2 1/1] fs: change\n  https://git.example.org/c/{HASH}\n",
        f"Series applied:\n  {HASH} fs: change\n",
        f'Queued up for 6.9.\n\n  commit {HASH} ("fs: change")\n',
        f"[1/1] fs: change\n      commit: {HASH}\n\nAll applied, thanks!\n",
        f"The second patch in this series was applied:\n\n[2/2] fs: change\n      commit: {HASH}\n",
    ],
)
def test_lists_by_hand(text: str) -> None:
    assert [(title, commit) for title, _, commit in by_text(text)] == [("fs: change", HASH)]


def test_numbers_with_commits() -> None:
    assert by_text(f"Applied, thanks.\n\n1/2: {HASH}\n2/2: {HASH[::-1]}\n") == [
        ("", 1, HASH),
        ("", 2, HASH[::-1]),
    ]


def test_titles_without_commits() -> None:
    assert by_text(
        "Applied, thanks!\n\n[1/2] fs: one\n      (no commit info)\n[2/2] fs: two\n"
    ) == [
        ("fs: one", 1, None),
        ("fs: two", 2, None),
    ]
    assert by_text("Applied:\n\n  fs: one\n  fs: two\n") == [
        ("fs: one", None, None),
        ("fs: two", None, None),
    ]


def test_what_was_dropped_is_not_applied() -> None:
    text = (
        f"Applied, thanks!\n\n[1/3] fs: one\n      commit: {HASH}\n"
        "[2/3] fs: two\n      (dropped because it breaks ext4/026)\n\n"
        "Not applied:\n\n[3/3] fs: three\n"
    )
    assert by_text(text) == [("fs: one", 1, HASH)]


@pytest.mark.parametrize(
    "text",
    [
        f"Applied as {HASH}, thanks.",
        f"Applied, thanks.\n\ncommit {HASH}\n",
        f"Thanks, applied to fs.git:\n\n  https://git.example.org/fs/commit/?id={HASH}\n",
        f"Pushed: https://git.example.org/fs/c/{HASH}",
    ],
)
def test_a_commit_of_the_answered_patch(text: str) -> None:
    (item,) = announced(announcing.answer(text))
    assert (item.scope, item.form, item.commit_ref) == (
        Scope.ANSWERED,
        AnnouncementForm.APPLIED,
        HASH,
    )


@pytest.mark.parametrize(
    "text",
    ["Applied, thanks.", "Applied to for-next, thanks!", "Thanks, queued up.", "Both merged."],
)
def test_a_statement_without_title_or_commit_is_a_claim(text: str) -> None:
    assert is_claim(f"{announcing.QUOTED}\n{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "This is not applied yet.",
        "I have not applied it.",
        "If applied, this breaks the build.",
        "Applied cleanly here, and tested.",
        f'It was merged in the kernel via commit {HASH} ("fs: change").',
        f"I pushed an updated branch:\n\n  https://git.example.org/?id={HASH}\n",
        "I merged your feedback into v3.",
        "this happens when the patch is\napplied to an old tree.",
        f"Looks good.\n\n[1/2] fs: step 1\n      commit: {HASH}\n",
        "[1/2] fs: step 1\nThis needs work before it is merged.\n",
    ],
)
def test_other_text_announces_nothing(text: str) -> None:
    assert announced(announcing.answer(f"{announcing.QUOTED}\n{text}\n")) == ()


@pytest.mark.parametrize(
    "text",
    [announcing.B4_TY, announcing.PATCHWORK, announcing.TIP, announcing.PULLED, announcing.STABLE,
     "pw-bot: cr", "Applied, thanks.", f"Applied as {HASH}."],
)  # fmt: skip
@pytest.mark.parametrize("mark", ["> ", ">", "| ", " > > "])
def test_quoted_text_announces_nothing(text: str, mark: str) -> None:
    quoted = "".join(f"{mark}{line}\n" for line in text.splitlines())
    assert announced(announcing.answer(f"Tina Keeper wrote:\n{quoted}\nThank you!\n")) == ()


def test_text_below_a_rule_is_quoted() -> None:
    text = f"Thank you!\n\n-----Original Message-----\nFrom: Tina\n\n{announcing.B4_TY}"
    assert announced(announcing.answer(text)) == ()


def test_the_text_of_a_patch_tells_of_others() -> None:
    body = mails.patch_body(f"Applied as {HASH}.\n\n[1/1] fs: change\n      commit: {HASH}")
    assert announced(mails.mail("p@example.org", "[PATCH] fs: change", body)) == ()


def test_announcements_are_stored_as_they_are() -> None:
    items = announced(announcing.answer(announcing.B4_TY + "\npw-bot: accepted\n"))
    assert len(items) == 3
    whole = Announcements(items=items, entitled=("a", "b"), version=3)
    assert load_announcements(dump_announcements(whole)) == whole


@pytest.mark.parametrize(
    "text",
    ["Applied, thanks\n" * 20_000, "[1/2] x\n" * 20_000 + "Applied\n", "Applied " * 50_000,
     "Applied:\n" + "  a\n" * 50_000, "a" * 100_000 + "pplied",
     "\n".join(["1/2: " + "a" * 90] * 9_000),
     "Applied\n" + "0" * 60_000, "The pull request you sent on " + " \n" * 30_000,
     "patch titled\n" + " \n" * 30_000],
)  # fmt: skip
def test_hostile_text_gives_few(text: str) -> None:
    assert len(announced(announcing.answer(text))) <= 500
