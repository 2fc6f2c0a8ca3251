"""Test that the message of a mail depends on the set of its copies alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ingest.store.write.copies import VARIANT_LENGTH, Copy, CopyGroup, group_copies

NOON = datetime(2026, 3, 2, 12)
HOURS = [NOON + timedelta(hours=hour) for hour in range(4)]

COPIES = st.lists(
    st.builds(
        Copy,
        mail_id=st.integers(1, 99),
        fingerprint=st.sampled_from("abcd").map(lambda letter: letter * 40),
        rank=st.sampled_from(["0", "1", "2"]),
        received_at=st.sampled_from([None, *HOURS]),
        message_id=st.sampled_from([None, None, 1, 2, 3]),
    ),
    unique_by=lambda copy: copy.mail_id,
    min_size=1,
    max_size=8,
)


def _copy(
    mail_id: int, fingerprint: str, *, rank: str = "0", received_at: datetime | None = NOON,
    row: int | None = None,
) -> Copy:  # fmt: skip
    return Copy(mail_id, fingerprint * 40, rank, received_at, row)


def _mails(settled: list[CopyGroup]) -> list[list[int]]:
    return [[copy.mail_id for copy in group.copies] for group in settled]


def test_equal_fingerprints_are_one_message_with_the_best_copy_first() -> None:
    (one,) = group_copies(
        [_copy(1, "a", rank="2"), _copy(2, "a", rank="1"), _copy(3, "a", rank="3")]
    )
    assert [copy.mail_id for copy in one.copies] == [2, 1, 3]
    assert (one.variant, one.message_id) == ("", None)


def test_the_id_belongs_to_the_mail_received_first() -> None:
    settled = group_copies(
        [_copy(1, "a", received_at=HOURS[2]), _copy(2, "b", received_at=HOURS[1])]
    )
    assert _mails(settled) == [[2], [1]]
    assert [group.variant for group in settled] == ["", "a" * VARIANT_LENGTH]


def test_a_mail_without_time_of_receipt_is_last() -> None:
    settled = group_copies([_copy(1, "a", received_at=None), _copy(2, "b", received_at=HOURS[3])])
    assert _mails(settled) == [[2], [1]]


def test_the_earliest_copy_determines_the_time_of_receipt() -> None:
    copies = [
        _copy(1, "a", received_at=HOURS[2], rank="0"),
        _copy(2, "b", received_at=HOURS[1]),
        _copy(3, "a", received_at=HOURS[0], rank="9"),
    ]
    assert _mails(group_copies(copies)) == [[1, 3], [2]]


def test_of_two_mails_received_at_once_the_better_has_the_id() -> None:
    """The last mail of an archive was truncated, and the whole mail was stored later. It has the
    better rank, and both were received at the same time."""
    settled = group_copies([_copy(1, "a", rank="01"), _copy(2, "b", rank="00")])
    assert _mails(settled) == [[2], [1]]


def test_a_row_stays_with_its_message() -> None:
    settled = group_copies(
        [_copy(1, "a", row=7), _copy(2, "a"), _copy(3, "b", received_at=HOURS[2])]
    )
    assert [group.message_id for group in settled] == [7, None]


def test_copies_that_separate_do_not_share_a_row() -> None:
    """Another parser computes other fingerprints, so that one message becomes two."""
    settled = group_copies([_copy(1, "a", row=7), _copy(2, "b", row=7)])
    assert sorted(str(group.message_id) for group in settled) == ["7", "None"]


def test_copies_that_merge_share_the_lesser_row() -> None:
    (one,) = group_copies([_copy(1, "a", row=9), _copy(2, "a", row=7)])
    assert one.message_id == 7


@given(COPIES, st.randoms())
def test_order_makes_no_difference(copies: list[Copy], random: Random) -> None:
    shuffled = list(copies)
    random.shuffle(shuffled)
    assert group_copies(shuffled) == group_copies(copies)


@given(COPIES)
def test_every_copy_is_of_one_message(copies: list[Copy]) -> None:
    settled = group_copies(copies)
    assert sorted(copy.mail_id for group in settled for copy in group.copies) == sorted(
        copy.mail_id for copy in copies
    )
    variants = [group.variant for group in settled]
    assert variants.count("") == 1
    assert len(set(variants)) == len(variants)
    rows = [group.message_id for group in settled if group.message_id is not None]
    assert len(set(rows)) == len(rows)
