"""Too many comments of one thread: which they are, and where each is placed by itself."""

from __future__ import annotations

from dataclasses import replace

from ingest.series.arrange import Arrangement, arrange
from ingest.series.comments import MAX_COMMENTS, find_direct
from ingest.series.facts import Facts
from ingest.series.outcome import Outcome, PlaceReason
from tests.series.test_arrange import piece, reply

PATCH, OTHER = piece("p1", 1, 2), piece("p2", 2, 2, parents=("<p1@example.org>",))
UNSEEN = piece("unseen")


def place(message: Facts, *others: Facts, direct: bool = True) -> tuple[str, str | None]:
    """Return the reason of a comment among other messages, and what it applies to."""
    everything = (PATCH, OTHER, *others, message)
    comments = [facts.key for facts in everything if not facts.piece]
    arranged: Arrangement = arrange(everything, direct=comments if direct else ())
    found = arranged.places[message.key]
    assert found.outcome is Outcome.COMMENT
    return str(found.reason), found.parent


def test_the_comments_of_a_thread_are_too_many_beyond_a_number() -> None:
    comments = [reply(f"r{number}", PATCH) for number in range(MAX_COMMENTS + 1)]
    thread = [(1, facts) for facts in (PATCH, *comments[:-1])]
    others = [(2, facts) for facts in (OTHER, reply("elsewhere", OTHER))]
    assert find_direct([*thread, *others]) == set()
    assert find_direct([*thread, (1, comments[-1]), *others]) == {facts.key for facts in comments}


def test_a_comment_is_below_the_nearest_patch_that_it_names() -> None:
    """Whatever is known of the mail that it answers."""
    above = reply("above", OTHER)
    assert place(reply("r", above, PATCH), above) == (PlaceReason.BELOW_PATCH, PATCH.key)
    assert place(reply("r", above, PATCH), above, direct=False)[1] == OTHER.key


def test_a_comment_that_names_no_patch_is_where_the_mail_is_that_it_answers() -> None:
    above = reply("above", OTHER)
    assert place(reply("r", above), above) == (PlaceReason.BELOW_PATCH, OTHER.key)
    chain = [above, reply("second", above)]
    assert place(reply("r", chain[-1]), *chain) == (PlaceReason.BELOW_PATCH, OTHER.key)


def test_comments_tell_nothing_of_unseen_mails() -> None:
    """Where most say that an unseen mail was below a patch, that is no evidence any more."""
    telling = [reply(f"t{number}", UNSEEN, PATCH) for number in range(3)]
    lost = reply("r", UNSEEN)
    assert place(lost, *telling, direct=False) == (PlaceReason.BELOW_PATCH, PATCH.key)
    assert place(lost, *telling) == (PlaceReason.PARENT_UNSEEN, None)


def test_patches_still_tell_of_unseen_mails_for_patches() -> None:
    third = replace(piece("p3", 3, 3), parents=(UNSEEN.msgid, PATCH.msgid))
    fourth = replace(piece("p4", 3, 3), parents=(UNSEEN.msgid,))
    assert place(reply("r", fourth), third, fourth) == (PlaceReason.BELOW_PATCH, fourth.key)


def test_a_circle_of_comments_is_below_nothing() -> None:
    one, two = reply("one"), reply("two")
    one, two = replace(one, parents=(two.msgid,)), replace(two, parents=(one.msgid,))
    assert place(one, two) == (PlaceReason.NO_PATCH_ABOVE, None)
