"""Test precedence between overrides and evidence: each line of the table in the documentation."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.lifecycle.evidence import (
    ChosenState,
    CurrentState,
    Evidence,
    EvidenceKind,
    combine_states,
    derive_state,
    format_evidence,
    label_state,
    sort_evidence,
)

DAY = timedelta(days=1)
START = datetime(2026, 3, 2)


def piece(kind: str, state: str, day: int, *, source: str = "<s@example.org>") -> Evidence:
    commit = "c0ffee" if kind == "landed" else None
    return Evidence(
        kind=EvidenceKind(kind), state=state, date=START + day * DAY, source=source,
        commit_ref=commit, detail="how",
    )  # fmt: skip


SUPERSEDED = piece("superseded", "superseded", 3)
DROPPED = piece("dropped", "superseded", 4)
LANDED = piece("landed", "accepted", 5)
NEXT = piece("landed", "awaiting-upstream", 2)
CHANGES = piece("announced", "changes-requested", 2)
APPLIED = piece("announced", "accepted", 2)
CLAIM = piece("claimed", "accepted", 9)


@pytest.mark.parametrize(
    ("evidence", "state"),
    [
        ([], None),
        ([CLAIM], None),
        ([SUPERSEDED], "superseded"),
        ([DROPPED], "superseded"),
        ([LANDED, SUPERSEDED], "accepted"),
        ([NEXT, SUPERSEDED], "awaiting-upstream"),
        ([NEXT, LANDED], "accepted"),
        ([APPLIED, SUPERSEDED], "accepted"),
        ([CHANGES, SUPERSEDED], "superseded"),
        ([SUPERSEDED, piece("announced", "under-review", 6)], "under-review"),
        ([APPLIED, piece("announced", "changes-requested", 3)], "changes-requested"),
        ([APPLIED, piece("announced", "changes-requested", 3), DROPPED], "superseded"),
        ([LANDED, piece("announced", "rejected", 9)], "accepted"),
    ],
)
def test_evidence_shows_one_state(evidence: list[Evidence], state: str | None) -> None:
    derived = derive_state(evidence)
    assert (derived.state if derived is not None else None) == state


def test_the_nearest_revision_that_carries_a_patch_decides() -> None:
    later = piece("superseded", "superseded", 8, source="<later@example.org>")
    derived = derive_state([later, DROPPED, SUPERSEDED])
    assert derived is not None
    assert derived.evidence == SUPERSEDED


def test_the_first_commit_in_the_strongest_state_is_the_commit() -> None:
    again = piece("landed", "accepted", 8, source="stable")
    derived = derive_state([again, NEXT, LANDED])
    assert derived is not None
    assert (derived.evidence, derived.commit_ref) == (LANDED, "c0ffee")


@pytest.mark.parametrize(
    ("chosen", "day", "evidence", "state"),
    [
        # An override, and no evidence of another state.
        ("under-review", 0, [], "under-review"),
        # The later one decides.
        ("under-review", 1, [SUPERSEDED], "superseded"),
        ("under-review", 4, [SUPERSEDED], "under-review"),
        ("changes-requested", 1, [SUPERSEDED], "superseded"),
        ("awaiting-upstream", 1, [LANDED], "accepted"),
        ("new", 6, [LANDED], "new"),
        # Only evidence later than the override decides.
        ("new", 6, [LANDED, piece("superseded", "superseded", 7)], "superseded"),
        # What needs no further action remains.
        ("accepted", 1, [SUPERSEDED], "accepted"),
        ("rejected", 1, [LANDED], "rejected"),
        ("not-applicable", 1, [SUPERSEDED], "not-applicable"),
        ("superseded", 1, [LANDED], "superseded"),
        ("handled-elsewhere", 1, [SUPERSEDED], "handled-elsewhere"),
        # A claim changes nothing.
        ("new", 1, [CLAIM], "new"),
    ],
)
def test_the_later_one_decides(chosen: str, day: int, evidence: list[Evidence], state: str) -> None:
    choice = ChosenState(state=chosen, date=START + day * DAY)
    assert combine_states("new", choice, evidence).state == state


def test_the_commit_is_shown_below_the_same_state_that_a_person_set() -> None:
    choice = ChosenState(state="accepted", date=START)
    assert combine_states("new", choice, [LANDED]).commit_ref == "c0ffee"
    other = ChosenState(state="rejected", date=START)
    assert combine_states("new", other, [LANDED]).commit_ref is None
    own = ChosenState(state="accepted", commit_ref="beef", date=START)
    assert combine_states("new", own, [LANDED]).commit_ref == "beef"


def test_a_state_set_at_an_unknown_time_is_later_than_all_evidence() -> None:
    choice = ChosenState(state="under-review")
    assert combine_states("new", choice, [LANDED]).state == "under-review"


def test_without_any_other_the_mail_decides() -> None:
    assert combine_states("rfc", ChosenState(), []) == CurrentState("rfc", None, None)


_pieces = st.lists(
    st.builds(
        piece,
        st.sampled_from([str(kind) for kind in EvidenceKind]),
        st.sampled_from(["accepted", "superseded", "under-review", "rejected"]),
        st.integers(0, 5),
        source=st.sampled_from(["a", "b", "c"]),
    ),
    max_size=6,
)


@given(_pieces, st.randoms(use_true_random=False))
def test_the_order_of_evidence_does_not_matter(pieces: list[Evidence], random: object) -> None:
    shuffled = list(pieces)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    choice = ChosenState(state="under-review", date=START + 2 * DAY)
    assert derive_state(shuffled) == derive_state(pieces)
    assert combine_states("new", choice, shuffled) == combine_states("new", choice, pieces)


@given(_pieces)
def test_superseded_never_replaces_accepted(pieces: list[Evidence]) -> None:
    derived = derive_state([*pieces, LANDED])
    assert derived is not None
    assert derived.state == "accepted"


def test_evidence_is_shown_as_people_read_it() -> None:
    landed = Evidence(
        kind=EvidenceKind.LANDED, state="accepted", date=START, source="demo.git refs/heads/main",
        commit_ref="1a2b3c", detail="same patch-id; author date",
    )  # fmt: skip
    assert format_evidence(landed) == (
        "commit 1a2b3c in demo.git refs/heads/main (same patch-id; author date)"
    )
    dropped = Evidence(
        kind=EvidenceKind.DROPPED, state="superseded", date=START, source="<v3@example.org>",
        detail="dropped in v3",
    )  # fmt: skip
    assert format_evidence(dropped) == "dropped in v3: <v3@example.org>"
    assert format_evidence(SUPERSEDED) == "by <s@example.org> (how)"
    assert format_evidence(CLAIM) == "claimed in <s@example.org> (how)"
    assert format_evidence(APPLIED) == "announced in <s@example.org> (how)"
    assert label_state("superseded", [dropped]) == "superseded, dropped in v3"
    assert label_state("superseded", [SUPERSEDED]) == "superseded"
    assert label_state("new", [dropped]) == "new"
    assert sort_evidence([CLAIM, DROPPED, LANDED, NEXT]) == [NEXT, LANDED, DROPPED, CLAIM]
