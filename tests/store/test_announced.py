"""Test states that mail announces: by whom, for which patches, in any order of arrival."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from ingest.config.settings import Config, ConfiguredList
from ingest.model import Delivery
from ingest.pipeline.derive import derive
from ingest.pipeline.store import store_mail
from ingest.reports.export import export_records
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.states.targets import MAX_TARGETS
from tests.support import announcing, mails
from tests.support.announcing import (
    B4_TY,
    COMMITS,
    CONFIG,
    EVE,
    PATCHWORK,
    PATCHWORK_BOT,
    PR_TRACKER,
    PULLED,
    STABLE,
    TIP,
    TIP_BOT,
    answer,
)
from tests.support.signing import RSA, SIGNERS, Signer, sign, zone

SERIES = mails.series("fs", 2)


def states(
    engine: Engine, given: Sequence[bytes], config: Config = CONFIG, *, at_once: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the patches of a store that receives these mails, by id. Leave it empty."""
    deliveries = [mails.delivery(raw) for raw in given]
    return deliver(engine, deliveries, config, at_once=at_once)


def deliver(
    engine: Engine, deliveries: Sequence[Delivery], config: Config, *, at_once: bool = False
) -> dict[str, dict[str, Any]]:
    items = [(delivery, derive(delivery, config)) for delivery in deliveries]
    with engine.connect() as connection:
        for batch in [items] if at_once else [[item] for item in items]:
            store_mail(connection, batch, config, now=mails.NOW)
        records = [json.loads(line) for line in export_records(connection)]
        connection.rollback()
    return {record["msgid"]: record for record in records if record["type"] == "patch"}


def shown(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {msgid[1:].partition("@")[0]: record["state"] for msgid, record in found.items()}


def in_any_order(
    engine: Engine, given: Sequence[bytes], config: Config = CONFIG
) -> dict[str, dict[str, Any]]:
    """Return what `states` returns, after a check that every order gives the same."""
    orders = list(permutations(given))
    most = 6 if engine.dialect.name == "sqlite" else 2
    if len(orders) > most:
        orders = random.Random(7).sample(orders, most)
    wanted = states(engine, given, config, at_once=True)
    for order in orders:
        assert states(engine, order, config) == wanted
    return wanted


def kinds(found: dict[str, dict[str, Any]], msgid: str) -> list[tuple[str, str]]:
    pieces = found[f"<{msgid}@example.org>"].get("state_evidence", [])
    return [(evidence["kind"], evidence["state"]) for evidence in pieces]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_b4_ty_of_a_maintainer(engine: Engine, end: bytes) -> None:
    given = [raw.replace(b"\n", end) for raw in (*SERIES, answer(B4_TY))]
    found = in_any_order(engine, given)
    assert shown(found) == {"fs-1": "accepted", "fs-2": "accepted"}
    assert [record["commit_ref"] for record in found.values()] == [COMMITS[0], COMMITS[1][:12]]


def test_a_part_of_a_series(engine: Engine) -> None:
    text = B4_TY.partition("[2/2]")[0]
    assert shown(in_any_order(engine, [*SERIES, answer(text)])) == {
        "fs-1": "accepted",
        "fs-2": "new",
    }


def test_an_answer_to_a_patch_or_to_a_review_of_it(engine: Engine) -> None:
    review = mails.reply("review@example.org", "fs-2@example.org")
    for to in ("fs-2@example.org", "review@example.org"):
        raw = answer(B4_TY, to=to).replace(b"References: ", b"References: <fs-2@example.org> ")
        found = in_any_order(engine, [*SERIES, review, raw])
        assert shown(found) == {"fs-1": "accepted", "fs-2": "accepted"}


def answer_review(text: str, **more: Any) -> bytes:
    """An announcement that names nothing but a review: it has no References."""
    raw = answer(text, to="review@example.org", **more)
    return re.sub(rb"(?m)^References: .*\n", b"", raw)


@pytest.mark.parametrize(
    ("text", "reviewed", "wanted"),
    [
        (B4_TY, "fs-2", {"fs-1": "accepted", "fs-2": "accepted"}),
        (B4_TY, "fs-0", {"fs-1": "accepted", "fs-2": "accepted"}),
        (f"Applied as {COMMITS[0][:12]}, thanks.\n", "fs-2", {"fs-1": "new", "fs-2": "accepted"}),
        ("pw-bot: under-review\n", "fs-1", {"fs-1": "under-review", "fs-2": "under-review"}),
    ],
)
def test_an_answer_to_nothing_but_a_review_reaches_the_patch(
    engine: Engine, text: str, reviewed: str, wanted: dict[str, str]
) -> None:
    review = mails.reply("review@example.org", f"{reviewed}@example.org")
    found = in_any_order(engine, [*SERIES, review, answer_review(text)])
    assert shown(found) == wanted


def test_an_answer_to_an_answer_to_a_review_reaches_the_patch(engine: Engine) -> None:
    first = mails.reply("first@example.org", "fs-2@example.org")
    review = mails.reply("review@example.org", "first@example.org")
    review = re.sub(rb"(?m)^References: .*\n", b"", review)
    text = f"Applied as {COMMITS[0][:12]}, thanks.\n"
    found = in_any_order(engine, [*SERIES, first, review, answer_review(text)])
    assert shown(found) == {"fs-1": "new", "fs-2": "accepted"}
    # Without the mail between them, nothing says which patch the review is of.
    found = in_any_order(engine, [*SERIES, review, answer_review(text)])
    assert shown(found) == {"fs-1": "new", "fs-2": "new"}


def test_a_review_that_is_withdrawn_leads_nowhere(engine: Engine) -> None:
    review = mails.delivery(mails.reply("review@example.org", "fs-2@example.org"))
    announcement = mails.delivery(answer_review(B4_TY))
    given = [*map(mails.delivery, SERIES), review, announcement]
    assert shown(deliver(engine, given, CONFIG))["fs-1"] == "accepted"
    withdrawn = [*given, replace(review, withdrawn=True)]
    assert shown(deliver(engine, withdrawn, CONFIG))["fs-1"] == "new"


def test_an_announcement_of_a_stranger_is_a_claim(engine: Engine) -> None:
    found = in_any_order(engine, [*SERIES, answer(B4_TY, sender=EVE)])
    assert shown(found) == {"fs-1": "new", "fs-2": "new"}
    assert kinds(found, "fs-1") == [("claimed", "accepted")]


def test_a_bare_statement_is_a_claim(engine: Engine) -> None:
    found = in_any_order(engine, [*SERIES, answer("Applied, thanks.\n", to="fs-1@example.org")])
    assert shown(found) == {"fs-1": "new", "fs-2": "new"}
    assert kinds(found, "fs-1") == [("claimed", "accepted")]
    assert kinds(found, "fs-2") == []


def test_a_commit_alone_is_of_the_answered_patch_and_of_no_series(engine: Engine) -> None:
    text = f"Applied as {COMMITS[0][:12]}, thanks.\n"
    found = states(engine, [*SERIES, answer(text, to="fs-2@example.org")])
    assert shown(found) == {"fs-1": "new", "fs-2": "accepted"}
    found = states(engine, [*SERIES, answer(text)])
    assert shown(found) == {"fs-1": "new", "fs-2": "new"}
    assert kinds(found, "fs-1") == [("claimed", "accepted")]


def test_a_pattern_of_maintainers_and_the_known_bots(engine: Engine) -> None:
    for sender in ("Kim <kim@keepers.example>", PATCHWORK_BOT):
        assert shown(states(engine, [*SERIES, answer(B4_TY, sender=sender)]))["fs-1"] == "accepted"
    for sender in ("Kim <kim@keepers.example.net>", "patchwork-bot+x@kernel.org.example"):
        assert shown(states(engine, [*SERIES, answer(B4_TY, sender=sender)]))["fs-1"] == "new"


def test_a_list_has_its_own_maintainers_and_may_have_no_bots(engine: Engine) -> None:
    other = Config(
        lists=(
            ConfiguredList("dev", mails.LIST, bots=()),
            ConfiguredList("other", "other.lists.example.org", maintainers=("tina@example.org",)),
        )
    )
    for sender in (announcing.TINA, PATCHWORK_BOT):
        found = in_any_order(engine, [*SERIES, answer(B4_TY, sender=sender)], other)
        assert shown(found) == {"fs-1": "new", "fs-2": "new"}


def test_patchwork_bot_without_configured_lists(engine: Engine) -> None:
    found = in_any_order(engine, [*SERIES, answer(PATCHWORK, sender=PATCHWORK_BOT)], Config())
    assert shown(found) == {"fs-1": "accepted", "fs-2": "new"}


def test_tip_bot_names_the_mail_even_without_in_reply_to(engine: Engine) -> None:
    for to in ("fs-1@example.org", None):
        raw = answer(TIP, sender=TIP_BOT, to=to, subject="[tip: fs/urgent] fs: Step 1")
        found = in_any_order(engine, [*SERIES, raw])
        assert shown(found) == {"fs-1": "accepted", "fs-2": "new"}
        assert found["<fs-1@example.org>"]["commit_ref"] == COMMITS[0]


def test_the_stable_queue_names_the_backport_and_not_the_original(engine: Engine) -> None:
    original = mails.patch("original@example.org", "[PATCH] fs: step 1", name="o")
    raw = answer(
        STABLE, to=None, subject='Patch "fs: step 1" has been added to the 6.6-stable tree'
    )
    found = in_any_order(engine, [*SERIES, original, raw])
    assert shown(found) == {"fs-1": "accepted", "fs-2": "new", "original": "new"}


def test_pr_tracker(engine: Engine) -> None:
    body = (
        "The following changes since commit 1111111111111111111111111111111111111111:\n\n"
        "  Linux 6.9 (2026-02-01 10:00:00 -0700)\n\nare available in the Git repository at:\n\n"
        "  https://git.example.org/ada/fs.git tags/fs-1\n\n"
        f"for you to fetch changes up to {COMMITS[1]}:\n\n  fs: change\n\n"
        "----------------------------------------------------------------\n"
        "Ada Byron (1):\n      fs: change\n\n f.c | 2 +-\n 1 file changed\n"
    )
    pull = mails.mail("pull@example.org", "[GIT PULL] fs for 6.9", body)
    raw = answer(PULLED, sender=PR_TRACKER, to="pull@example.org", subject="Re: [GIT PULL] fs")
    found = in_any_order(engine, [pull, raw])
    assert shown(found) == {"pull": "accepted"}
    # A patch is no pull request.
    assert shown(
        in_any_order(engine, [SERIES[1], answer(PULLED, sender=PR_TRACKER, to="fs-1@example.org")])
    ) == {"fs-1": "new"}


def test_commands_apply_to_the_whole_series(engine: Engine) -> None:
    raw = answer("Please split it.\n\npw-bot: cr\n", to="fs-2@example.org")
    found = in_any_order(engine, [*SERIES, raw])
    assert shown(found) == {"fs-1": "changes-requested", "fs-2": "changes-requested"}


def test_the_latest_command_counts(engine: Engine) -> None:
    first = answer("pw-bot: cr\n", msgid="a@example.org", minutes=100)
    second = answer("pw-bot: under-review\n", msgid="b@example.org", minutes=200)
    found = in_any_order(engine, [SERIES[0], SERIES[1], first, second])
    assert shown(found) == {"fs-1": "under-review"}


def test_the_author_may_withdraw_the_series_and_nothing_else(engine: Engine) -> None:
    found = in_any_order(engine, [*SERIES, answer("pw-bot: rejected\n", sender=mails.ADA)])
    assert shown(found) == {"fs-1": "rejected", "fs-2": "rejected"}
    for text in ("pw-bot: accepted\n", "pw-bot: under-review\n", "pw-bot: cr\npw-bot: rejected\n"):
        found = states(engine, [*SERIES, answer(text, sender=mails.ADA)])
        assert shown(found) == {"fs-1": "new", "fs-2": "new"}
        assert kinds(found, "fs-1")[0][0] == "claimed"
    found = states(engine, [*SERIES, answer("pw-bot: rejected\n", sender=mails.BOB)])
    assert shown(found) == {"fs-1": "new", "fs-2": "new"}


def test_an_announcement_applies_to_one_version_only(engine: Engine) -> None:
    later = mails.series("next", 2, version=2, start=mails.START + mails.timedelta(days=1))
    later = [raw.replace(b"next: ", b"fs: ") for raw in later]
    # The second version was sent below the first, and its cover is not known.
    below = [
        raw.replace(b"References: <next-0", b"References: <fs-0@example.org> <next-0")
        for raw in later[1:]
    ]
    raw = answer(B4_TY, to="next-0@example.org", subject="Re: [PATCH v2 0/2] fs: improve all")
    raw = raw.replace(b"References: ", b"References: <fs-0@example.org> ")
    found = in_any_order(engine, [SERIES[0], SERIES[1], *below, raw])
    assert found["<fs-1@example.org>"]["state"] != "accepted"
    found = states(engine, [*SERIES, *later, raw], at_once=True)
    assert shown(found) == {
        "fs-1": "superseded", "fs-2": "superseded", "next-1": "accepted", "next-2": "accepted",
    }  # fmt: skip


def test_a_title_that_two_patches_have_names_neither(engine: Engine) -> None:
    twice = [raw.replace(b"fs: step 2", b"fs: step 1") for raw in SERIES]
    text = f"Applied:\n\n  fs: step 1\n  commit {COMMITS[0]}\n"
    assert "accepted" not in shown(states(engine, [*twice, answer(text)])).values()


def signed_by(raw: bytes, signer: Signer) -> Delivery:
    keys = tuple((signer.name, zone()(signer.name)) for signer in SIGNERS)
    return mails.delivery(sign(raw, signer), arrived=mails.NOW, keys=keys)


def test_a_valid_signature_agrees_with_the_sender(engine: Engine) -> None:
    given = [mails.delivery(raw) for raw in SERIES]
    found = deliver(engine, [*given, signed_by(answer(B4_TY), RSA)], CONFIG)
    assert shown(found) == {"fs-1": "accepted", "fs-2": "accepted"}


def test_a_forged_announcement_sets_nothing(engine: Engine) -> None:
    given = [mails.delivery(raw) for raw in SERIES]
    broken = signed_by(answer(B4_TY), RSA)
    broken = mails.delivery(
        broken.raw.replace(b"Best regards", b"With regards"), arrived=mails.NOW, keys=broken.keys
    )
    foreign = signed_by(answer(B4_TY), Signer("example.net", "s1"))
    for delivery in (broken, foreign):
        found = deliver(engine, [delivery, *given], CONFIG)
        assert shown(found) == {"fs-1": "new", "fs-2": "new"}
        assert kinds(found, "fs-1") == [("claimed", "accepted")]


def test_an_unsigned_announcement_is_by_its_sender(engine: Engine) -> None:
    given = [mails.delivery(raw) for raw in SERIES]
    unsigned = mails.delivery(answer(B4_TY), arrived=mails.NOW, keys=())
    unverified = mails.delivery(sign(answer(B4_TY)), arrived=mails.NOW, keys=())
    for delivery in (unsigned, unverified):
        assert shown(deliver(engine, [*given, delivery], CONFIG))["fs-1"] == "accepted"


def test_withdrawing_a_mail_withdraws_its_announcement(engine: Engine) -> None:
    config = CONFIG
    delivery = mails.delivery(answer(B4_TY))
    withdrawn = replace(delivery, withdrawn=True)
    given = [*map(mails.delivery, SERIES)]
    assert shown(deliver(engine, [*given, delivery], config))["fs-1"] == "accepted"
    assert shown(deliver(engine, [*given, withdrawn], config))["fs-1"] == "new"


def test_many_claims_do_not_displace_an_announcement_of_a_maintainer(engine: Engine) -> None:
    claims = [
        answer("pw-bot: cr\n", sender=EVE, msgid=f"eve-{number}@example.net")
        for number in range(MAX_TARGETS + 1)
    ]
    last = answer(B4_TY)
    found = states(engine, [*SERIES, *claims, last], at_once=True)
    assert shown(found) == {"fs-1": "accepted", "fs-2": "accepted"}
    assert kinds(found, "fs-1") == [("announced", "accepted")]
    for order in ([*claims, *SERIES, last], [*SERIES, *claims[:50], last, *claims[50:]]):
        assert states(engine, order) == found


def test_a_reparse_with_other_maintainers_changes_the_states(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        for raw in (*SERIES, answer(B4_TY)):
            delivery = mails.delivery(raw)
            store_mail(connection, [(delivery, derive(delivery, CONFIG))], CONFIG, now=mails.NOW)
    with engine.connect() as connection:
        ids = list(connection.execute(select(schema.mail.c.id)).scalars())
        assert set(read_states(connection)) == {"accepted"}
        mails.rederive(connection, ids, Config())
        assert set(read_states(connection)) == {None}
        mails.rederive(connection, ids, CONFIG)
        assert set(read_states(connection)) == {"accepted"}


def read_states(connection: Connection) -> list[str | None]:
    return list(connection.execute(select(schema.patch.c.current_state)).scalars())
