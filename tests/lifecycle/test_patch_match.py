"""Test which later patch carries which earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ingest.lifecycle.patch_match import match_patches
from ingest.series.facts import Facts, MessageKind

_DIFF = """diff --git a/{file} b/{file}
--- a/{file}
+++ b/{file}
@@ -1,3 +1,3 @@
 start
-{old}
+{new}
 end
"""


def diff(file: str = "a.c", old: str = "return one;", new: str = "return two;") -> str:
    return _DIFF.format(file=file, old=old, new=new)


def patch(key: str, title: str, **more: object) -> Facts:
    facts = Facts(
        key=f"<{key}>", msgid=f"<{key}>", kind=MessageKind.PATCH, sender="ada", title=title
    )
    return replace(facts, **more)  # type: ignore[arg-type]


def matched(
    olds: list[Facts],
    news: list[Facts],
    diffs: Mapping[str, str] | None = None,
    *,
    partial: bool = False,
) -> dict[str, tuple[str, str]]:
    def read_diffs(keys: Iterable[str]) -> dict[str, str | None]:
        return {key: (diffs or {}).get(key.strip("<>")) for key in keys}

    found = match_patches(olds, news, is_partial=partial, read_diffs=read_diffs)
    return {
        key.strip("<>"): (match.patch.key.strip("<>"), match.how) for key, match in found.items()
    }


def test_the_same_diff_is_the_same_patch_under_another_title() -> None:
    olds = [patch("a", "fs: one", hash="1"), patch("b", "fs: two", hash="2")]
    news = [patch("c", "fs: two", hash="1"), patch("d", "fs: one", hash="3")]
    assert matched(olds, news) == {"a": ("c", "same diff")}, "and each title matches once"
    news = [patch("c", "fs: two", hash="1"), patch("d", "fs: two", hash="3")]
    assert matched(olds, news) == {"a": ("c", "same diff"), "b": ("d", "same title")}


def test_a_rename_has_no_diff_to_be_known_by() -> None:
    nothing = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
    assert not matched([patch("a", "x: one", hash=nothing)], [patch("b", "y: two", hash=nothing)])


def test_titles_are_the_same_without_case_punctuation_and_version() -> None:
    olds = [patch("a", "fs: Use the lock (v1)")]
    assert matched(olds, [patch("b", "fs: use the lock v2")]) == {"a": ("b", "same title")}


def test_a_change_id_of_the_whole_series_matches_no_patch() -> None:
    olds = [patch("a", "x: a", change_id="I1"), patch("b", "x: b", change_id="I1")]
    news = [patch("c", "y: c", change_id="I1")]
    assert not matched(olds, news)
    assert matched(olds[:1], news) == {"a": ("c", "same change-id")}


def test_a_statement_decides_before_all_else() -> None:
    olds = [patch("a", "fs: one", hash="1"), patch("b", "fs: two", hash="2")]
    news = [patch("c", "fs: one", hash="1", supersedes=("<b>",))]
    assert matched(olds, news) == {"b": ("c", "its text says so")}
    assert matched(olds, [replace(news[0], sender="bob")]) == {"a": ("c", "same diff")}
    both = replace(news[0], supersedes=("<a>", "<b>"))
    assert matched(olds, [both]) == {"a": ("c", "same diff")}, "it supersedes several"


def test_a_patch_id_is_looked_for_where_nothing_else_matches() -> None:
    olds = [patch("a", "fs: one", patch_id="7")]
    news = [patch("b", "net: another", patch_id="7")]
    assert matched(olds, news) == {"a": ("b", "same patch-id")}


def test_similar_titles_need_a_similar_change() -> None:
    olds, news = (
        [patch("a", "io: add caching to the manager")],
        [patch("b", "io: add locking to the manager")],
    )
    other = {"a": diff(new="cache();"), "b": diff(old="return zero;", new="lock_it();")}
    assert not matched(olds, news, other)
    alike = {"a": diff(new="cache();"), "b": diff(new="lock_it();")}
    assert matched(olds, news, alike) == {"a": ("b", "similar title, same file")}
    elsewhere = {"a": diff(new="cache();"), "b": diff("b.c", new="lock_it();")}
    assert not matched(olds, news, elsewhere)


def test_a_part_of_a_patch_does_not_carry_it() -> None:
    lines = "".join(f"-take_{number}();\n" for number in range(20))
    whole = diff().replace("-return one;\n", f"-return one;\n{lines}")
    olds, news = [patch("a", "fs: convert to accessors")], [patch("b", "ext: convert to accessors")]
    assert not matched(olds, news, {"a": whole, "b": diff()})
    assert matched(news, olds, {"a": whole, "b": diff()}) == {
        "b": ("a", "similar title, same file")
    }


def test_a_partial_reroll_is_known_by_number_and_answer() -> None:
    olds = [patch("a", "fs: one", number=2), patch("b", "fs: two", number=3)]
    news = [patch("c", "net: quite another", number=2, parents=("<a>",))]
    patches = {"a": diff(), "b": diff(), "c": diff(old="x", new="y")}
    assert matched(olds, news, patches, partial=True) == {
        "a": ("c", "same number, in answer to it")
    }
    assert not matched(olds, news, patches)


_titles = st.sampled_from(["fs: one", "fs: two", "fs: two and more", "net: one", ""])
_facts = st.builds(
    lambda title, hash_, change_id, number: patch(
        "x", title, hash=hash_, change_id=change_id, number=number
    ),
    _titles,
    st.sampled_from([None, "1", "2"]),
    st.sampled_from([None, "I1", "I2"]),
    st.integers(1, 3),
)


@given(st.lists(_facts, max_size=5), st.lists(_facts, max_size=5), st.booleans())
def test_each_patch_is_in_one_match_at_most(
    olds: list[Facts], news: list[Facts], partial: bool
) -> None:
    olds = [replace(old, key=f"<o{n}>", msgid=f"<o{n}>") for n, old in enumerate(olds)]
    news = [replace(new, key=f"<n{n}>", msgid=f"<n{n}>") for n, new in enumerate(news)]
    keys = [facts.key.strip("<>") for facts in (*olds, *news)]
    found = matched(olds, news, {key: diff() for key in keys}, partial=partial)
    assert set(found) <= {old.key.strip("<>") for old in olds}
    carriers = [carrier for carrier, _ in found.values()]
    assert len(carriers) == len(set(carriers))
    assert set(carriers) <= {new.key.strip("<>") for new in news}
