"""Test which markers are read from a subject, form by form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.patch.subjects.subject import parse_subject

# subject, name, number, total, version
MARKERS = [
    ("[PATCH v3 15/22] zfoo: add x", "[v3,15/22] zfoo: add x", 15, 22, 3),
    ("[RFC PATCH net-next v2 0/3] x", "[RFC,net-next,v2,0/3] x", 0, 3, 2),
    ("[PATCH] x", "x", None, None, 1),
    ("[PATCH1/8] x", "[PATCH1/8] x", 1, 8, 1),
    ("[PATCHv2] x", "[PATCHv2] x", None, None, 2),
    ("[PATCHv2 3/7] x", "[PATCHv2,3/7] x", 3, 7, 2),
    ("[PATCHv2-3/7] x", "[PATCHv2-3/7] x", 3, 7, 2),
    ("[PATCH-v2] x", "[PATCH-v2] x", None, None, 2),
    ("[PATCH -v2] x", "[-v2] x", None, None, 2),
    ("[RFC-v2 PATCH] x", "[RFC-v2] x", None, None, 2),
    ("[RFCv4 1/1] x", "[RFCv4,1/1] x", 1, 1, 4),
    ("[RFC_v2 PATCH] x", "[RFC_v2] x", None, None, 2),
    ("[RFC/PATCHv2 3/7] x", "[RFC/PATCHv2,3/7] x", 3, 7, 2),
    ("[PATCH/RFCv2 3/7] x", "[PATCH/RFCv2,3/7] x", 3, 7, 2),
    ("[PATCH-RFC-v2] x", "[PATCH-RFC-v2] x", None, None, 2),
    ("[RE-SENDv2] x", "[RE-SENDv2] x", None, None, 2),
    ("[PATCHv3-RESEND] x", "[PATCHv3-RESEND] x", None, None, 3),
    ("[PATCH v3/RFC] x", "[v3/RFC] x", None, None, 3),
    ("[v2,3/7] x", "[v2,3/7] x", 3, 7, 2),
    ("[PATCH 1 of 8] x", "[1 of 8] x", 1, 8, 1),
    ("[PATCH 1 of 8 V2] x", "[1 of 8,V2] x", 1, 8, 2),
    ("[PATCH -next] x", "[-next] x", None, None, 1),
    ("[patch 2/4] x", "[2/4] x", 2, 4, 1),
    ("[zlist] [PATCH v2 2/4] x", "[zlist,v2,2/4] x", 2, 4, 2),
    ("[linux-zfoo] [PATCH 2/4] x", "[2/4] x", 2, 4, 1),
    ("[Linux-Zfoo] x", "x", None, None, 1),
    ("[PATCH] [0/3] x", "[0/3] x", 0, 3, 1),
    ("[PATCH][next] x", "[next] x", None, None, 1),
    ("[PATCH][for stable [4.14, 5.10] 0/3] x", "[for,stable,4.14,5.10,0/3] x", 0, 3, 1),
    ("[RFC[RAP] V2] x", "[RFC,RAP,V2] x", None, None, 2),
    ("[[PATCH 1/2] x", "[1/2] x", 1, 2, 1),
    ("[0001/0012] x", "[0001/0012] x", 1, 12, 1),
    ("[PATCH x/19] x", "[x/19] x", None, None, 1),
    ("[PATCH 6/5] x", "[6/5] x", 6, 5, 1),
    ("[PATCH 40000/50000] x", "[40000/50000] x", 40000, 50000, 1),
    ("[PATCH 1/99999999] x", "[1/99999999] x", 1, 99999999, 1),
    ("[PATCH 3/5 v2] x", "[3/5,v2] x", 3, 5, 2),
    ("[PATCH] [v2] x", "[v2] x", None, None, 2),
    ("[PATCH v2 RESEND 1/2] x", "[v2,RESEND,1/2] x", 1, 2, 2),
    ("[PATCH v2-RESEND 1/2] x", "[v2-RESEND,1/2] x", 1, 2, 2),
    ("[PATCH v2: 1/2] x", "[v2:,1/2] x", 1, 2, 2),
    ("[PATCH 1/2: v2] x", "[1/2:,v2] x", 1, 2, 2),
    ("[PATCH: 1/2] x", "[PATCH:,1/2] x", 1, 2, 1),
    ("[PATCH 1 / 2] x", "[1,/,2] x", 1, 2, 1),
    ("[PATCH v3 1 /2] x", "[v3,1,/2] x", 1, 2, 3),
    ("[PATCHv3 1/ 2] x", "[PATCHv3,1/,2] x", 1, 2, 3),
    ("[1 / 2] x", "[1,/,2] x", 1, 2, 1),
    ("[PATCH a/ 2] x", "[a/,2] x", None, None, 1),
    ("[PATCH, v2, 1/2] x", "[v2,1/2] x", 1, 2, 2),
    ("[1/2 PATCH] x", "[1/2] x", 1, 2, 1),
    # tags of mail filters: Patchwork reads no bracket after them
    ("***SPAM*** [PATCH 1/2] x", "***SPAM*** [PATCH 1/2] x", 1, 2, 1),
    ("*** SPAM *** [PATCH v2 1/2] x", "*** SPAM *** [PATCH v2 1/2] x", 1, 2, 2),
    ("{Spam?} [PATCH v2 1/2] x", "{Spam?} [PATCH v2 1/2] x", 1, 2, 2),
    ("EXTERNAL: [PATCH 1/2] x", "EXTERNAL: [PATCH 1/2] x", 1, 2, 1),
    ("[EXT]: [PATCH 1/2] x", "[EXT] : [PATCH 1/2] x", 1, 2, 1),
    ("(SPAM) [linux-zfoo] [PATCH 1/2] x", "(SPAM) [linux-zfoo] [PATCH 1/2] x", 1, 2, 1),
    ("[zlist] ***SPAM*** [PATCH 1/2] x", "[zlist] ***SPAM*** [PATCH 1/2] x", 1, 2, 1),
    ("[SPAM] [PATCH v2 1/2] x", "[SPAM,v2,1/2] x", 1, 2, 2),
    ("[EXTERNAL] [PATCH v2 1/2] x", "[EXTERNAL,v2,1/2] x", 1, 2, 2),
    ("***x*** [1.2] y", "***x*** [1.2] y", None, None, 1),
    ("[PATCH (v2) 1/2] x", "[(v2),1/2] x", 1, 2, 2),
    ("[PATCH net-next-v2 1/2] x", "[net-next-v2,1/2] x", 1, 2, 2),
    ("[PATCH v99999999999 1/2] x", "[v99999999999,1/2] x", 1, 2, 99999999999),
    # kernels and other words with a v and a digit are no version
    ("[PATCH 2/3 v6.1.y] x", "[2/3,v6.1.y] x", 2, 3, 1),
    ("[PATCH v5.10.y v2 2/3] x", "[v5.10.y,v2,2/3] x", 2, 3, 2),
    ("[PATCH v5.10] x", "[v5.10] x", None, None, 1),
    ("[PATCH 6.1.y 2/3] x", "[6.1.y,2/3] x", 2, 3, 1),
    ("[PATCH AUTOSEL 6.18-5.15] x", "[AUTOSEL,6.18-5.15] x", None, None, 1),
    ("[PATCH 6.6/6.12] x", "[6.6/6.12] x", None, None, 1),
    ("[PATCH 5.10/5.15 1/1] x", "[5.10/5.15,1/1] x", 1, 1, 1),
    ("[GIT PULL FOR v6.3] x", "[GIT,PULL,FOR,v6.3] x", None, None, 1),
    ("[PATCH cgroup-v2] x", "[cgroup-v2] x", None, None, 1),
    ("[PATCH ipv6] x", "[ipv6] x", None, None, 1),
    ("[PATCH v6.1-rc1] x", "[v6.1-rc1] x", None, None, 1),
    # beyond what a column holds, or not ASCII: words, no numbers
    ("[PATCH v1234567890123456789 1/2] x", "[v1234567890123456789,1/2] x", 1, 2, 1),
    ("[PATCH 1/1234567890123456789] x", "[1/1234567890123456789] x", None, None, 1),
    ("[PATCH ２/３] x", "[２/３] x", None, None, 1),
    # no markers: prefixes and name as in Patchwork
    ("[BUG] x", "[BUG] x", None, None, 1),
    ("[Bug 417] New: x", "[Bug,417] New: x", None, None, 1),
    ("[robot] [zfoo?] x", "[robot,zfoo?] x", None, None, 1),
    ("[PATCH 1/2 x", "[PATCH 1/2 x", None, None, 1),
    ("[PATCH]", "", None, None, 1),
    ("[v2]", "[v2]", None, None, 2),
    ("[] x", "x", None, None, 1),
    ("", "", None, None, 1),
    # version in the title
    ("[PATCH] x (v2)", "x (v2)", None, None, 2),
    ("[PATCH v3] x (v2)", "[v3] x (v2)", None, None, 3),
    ("[PATCH 0/4] x, v3", "[0/4] x, v3", 0, 4, 3),
    ("[PATCH 1/4] x v3", "[1/4] x v3", 1, 4, 1),
    ("zfoo API cleanups v3", "zfoo API cleanups v3", None, None, 3),
    ("[PATCHSET] x V4", "[PATCHSET] x V4", None, None, 4),
    ("[PATCH] use the protocol v3", "use the protocol v3", None, None, 1),
    ("[PATCH 0/2] changes for v6", "[0/2] changes for v6", 0, 2, 1),
    ("[GIT PULL] x for v7.0-rc1", "[GIT,PULL] x for v7.0-rc1", None, None, 1),
    ("Linux v6.1", "Linux v6.1", None, None, 1),
    ("zfoo ipv6", "zfoo ipv6", None, None, 1),
]


@pytest.mark.parametrize(("text", "name", "number", "total", "version"), MARKERS)
def test_markers(text: str, name: str, number: int, total: int, version: int) -> None:
    subject = parse_subject(text, list_names=("linux-zfoo",))
    assert (subject.name, subject.number, subject.total, subject.version) == (
        name,
        number,
        total,
        version,
    )


@pytest.mark.parametrize(
    ("text", "number", "minor", "version", "version_minor"),
    [
        ("[PATCH v5.1 10/12] x", 10, 0, 5, 1),
        ("[PATCH v1.1 1/3] x", 1, 0, 1, 1),
        ("[PATCH 0.5/5] x", 0, 5, 1, 0),
        ("[PATCH v6.1 RFC 02.1/12] x", 2, 1, 6, 1),
        ("[PATCH v6.1 v2 1/3] x", 1, 0, 2, 0),
        ("[PATCH 2 of 5] x", 2, 0, 1, 0),
        ("[PATCH 10.55/60] x", 10, 55, 1, 0),
        ("[PATCH_0.5/3] x", 0, 5, 1, 0),
        ("[PATCH v1.2/5] x", 2, 0, 1, 0),
        ("[PATCH V1.2/5] x", 2, 0, 1, 0),
        ("[PATCH] x (v3)", None, 0, 3, 0),
        ("x cleanups v3", None, 0, 3, 0),
    ],
)
def test_minor_parts(
    text: str, number: int | None, minor: int, version: int, version_minor: int
) -> None:
    subject = parse_subject(text)
    assert (subject.number, subject.minor) == (number, minor)
    assert (subject.version, subject.version_minor) == (version, version_minor)


@pytest.mark.parametrize(
    "text",
    [
        "Re: [PATCH] x",
        "RE: [PATCH] x",
        "re:[PATCH] x",
        "Re : [PATCH] x",
        "RE : [PATCH] x",
        "Re[2]: [PATCH] x",
        "Re (3): [PATCH] x",
        "Re: Re: [PATCH] x",
        "Re: 回复： [PATCH] x",
        "回复: [PATCH] x",
        "回复：[PATCH] x",
        "答复: [PATCH] x",
        "AW: [PATCH] x",
        "Aw: Re: [PATCH] x",
        "SV: [PATCH] x",
        "VS: [PATCH] x",
        "Antw: [PATCH] x",
        "R: [PATCH] x",
        "Odp: [PATCH] x",
        "Vá: [PATCH] x",
        "YNT: [PATCH] x",
        "ATB: [PATCH] x",
        "Rif: [PATCH] x",
        "[linux-zfoo] Re: [PATCH] x",
    ],
)
def test_answers(text: str) -> None:
    subject = parse_subject(text, list_names=("linux-zfoo",))
    assert subject.reply
    assert not subject.forward
    assert subject.patch_marked
    assert subject.name == subject.title == "x"


@pytest.mark.parametrize("word", ["Fwd", "FW", "Fw", "WG", "TR", "RV", "ENC", "转发"])
def test_forwards(word: str) -> None:
    subject = parse_subject(f"{word}: [PATCH] x")
    assert subject.forward
    assert not subject.reply
    assert subject.name == "x"


@pytest.mark.parametrize("text", ["reset: x", "sv: fix x", "rework: x", "Report: x", "refs: x"])
def test_a_subsystem_is_no_answer_word(text: str) -> None:
    subject = parse_subject(text)
    assert not subject.reply
    assert not subject.forward
    assert subject.name == text


def test_an_answer_word_after_a_marker_is_title() -> None:
    subject = parse_subject("[PATCH v3 0/1] Re: Re: [PATCH 1/1] x")
    assert not subject.reply
    assert (subject.number, subject.total, subject.version) == (0, 1, 3)
    assert subject.title == "Re: Re: [PATCH 1/1] x"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("[PATCH] x", "patch"),
        ("[RFC] x", "patch rfc"),
        ("[RFT v2] x", "patch"),
        ("[PATCH-RFC] x", "patch rfc"),
        ("[RFCv2 1/3] x", "patch rfc"),
        ("[RFC/PATCH 1/3] x", "patch rfc"),
        ("[RESEND v2] x", "patch resend"),
        ("[Resend PATCHv3 1/1] x", "patch resend"),
        ("[PATCH v2-RESEND] x", "patch resend"),
        ("[REPOST] x", "patch resend"),
        ("[RE-SEND] x", "patch resend"),
        ("[RE_SEND PATCH] x", "patch resend"),
        ("[RE-POST v2] x", "patch resend"),
        ("[PATCH RESENT 1/2] x", "patch resend"),
        ("[RESENDv2] x", "patch resend"),
        ("[PATCHv3-RESEND] x", "patch resend"),
        ("[PATCH v3RESEND] x", "patch resend"),
        ("[PATCH/RESEND] x", "patch resend"),
        ("[prepost] x", ""),
        ("[PATCH/RFC 1/3] x", "patch rfc"),
        ("[RFCv2 PATCH] x", "patch rfc"),
        ("[RFC-v2 PATCH] x", "patch rfc"),
        ("[RFC_v2 PATCH] x", "patch rfc"),
        ("[RFC2 PATCH] x", "patch rfc"),
        ("[RFCPATCH 1/3] x", "patch rfc"),
        ("[PATCH v2/RFC] x", "patch rfc"),
        ("[PATCH RFC-RESEND] x", "patch rfc resend"),
        ("[PATCH rfc2822] x", "patch"),
        ("[PATCHSET v7 4/9] x", "patch patchset"),
        ("[PATCHBOMB v6] x", "patch patchset"),
        ("[v2,1/4] x", "patch"),
        ("[0001/0012] x", "patch"),
        ("[GIT PULL] x", "pull"),
        ("[git pull] x", "pull"),
        ("[PULL v2] x", "pull"),
        ("[PULL REQUEST] x", "pull"),
        ("GIT PULL: x", "pull"),
        ("pull-request: x", "pull"),
        ("[ANNOUNCE v2] x", ""),
        ("[zfoo:dev 35/37] x", ""),
        ("[TEXT 3/3] x", ""),
        ("[dispatch] x", ""),
        ("[PROBLEM] x", ""),
        ("[5.10.y] x", ""),
        ("pullback: x", ""),
    ],
)
def test_kinds(text: str, flags: str) -> None:
    subject = parse_subject(text)
    found = {
        "patch": subject.patch_marked,
        "pull": subject.pull_marked,
        "rfc": subject.rfc,
        "resend": subject.resend,
        "patchset": subject.patchset,
    }
    assert {name for name, set_ in found.items() if set_} == set(flags.split())


@pytest.mark.parametrize(
    "text",
    [
        "***SPAM*** Re: [PATCH 1/2] x",
        "Re: ***SPAM*** Re: [PATCH 1/2] x",
        "Re: ***SPAM*** [PATCH 1/2] x",
        "[EXT] Re: [PATCH 1/2] x",
        "{Disarmed} RE: [linux-zfoo] [PATCH 1/2] x",
        "External: Re: [PATCH 1/2] x",
    ],
)
def test_a_filters_tag_hides_no_reply(text: str) -> None:
    subject = parse_subject(text, list_names=("linux-zfoo",))
    assert subject.reply
    assert (subject.number, subject.total, subject.title) == (1, 2, "x")


@pytest.mark.parametrize(
    "text", ["***SPAM*** x", "{a} b: [c] x", "*a* Re", "Warning: x", "spam: x"]
)
def test_a_title_keeps_what_looks_like_a_filters_tag(text: str) -> None:
    subject = parse_subject(text)
    assert (subject.name, subject.title, subject.prefixes) == (text, text, ())
    assert not subject.patch_marked


def test_prefixes_keep_every_word_as_written() -> None:
    assert parse_subject("[PATCH v2, RFC 1/3] x").prefixes == ("v2", "RFC", "1/3")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("[PATCH v2 1/3] x", ""),
        ("[PATCHv2-1/3] x", ""),
        ("[PATCH-1/3] x", ""),
        ("[PATCH_0.5/3] x", ""),
        ("[net-next-1/3] x", "net-next"),
        ("[net_0.5/3] x", "net"),
        ("[PATCH 1 of 3 V2] x", ""),
        ("[PATCH v2 RESEND 1/3] x", ""),
        ("[PATCH RE-SEND] x", ""),
        ("[PATCHv3-RESEND] x", ""),
        ("[linux-zfoo] [PATCH] x", ""),
        ("[RFC PATCH net-next v2 0/3] x", "rfc net-next"),
        ("[RFCv2 PATCH net-next 0/3] x", "rfc net-next"),
        ("[RFC-v2 PATCH] x", "rfc"),
        ("[RFC/PATCH 1/3] x", "rfc"),
        ("[PATCH/RFC 1/3] x", "rfc"),
        ("[PATCH v2-rfc] x", "rfc"),
        ("[RFC1/3] x", "rfc"),
        ("[PATCH net-next-v3 1/3] x", "net-next"),
        ("[PATCH AUTOSEL 6.18-5.15 1/3] x", "autosel 6.18-5.15"),
        ("[PATCH v5.10.y v2 2/3] x", "v5.10.y"),
        ("[PATCH ipv6 1/3] x", "ipv6"),
        ("[SPAM] [PATCH net 1/3] x", "net"),
        ("[EXTERNAL] [PATCH net: 1 / 3] x", "net"),
        ("***SPAM*** [PATCH net 1/3] x", "net"),
    ],
)
def test_target_says_what_the_posting_is_for(text: str, target: str) -> None:
    assert parse_subject(text, list_names=("linux-zfoo",)).target == target


def test_title_version_is_told_where_it_does_not_count() -> None:
    subject = parse_subject("[PATCH 1/4] x v3")
    assert subject.title_version == 3
    assert not subject.version_given


@pytest.mark.parametrize(
    "text",
    [
        "[" * 65_536,
        "[" + "a" * 65_536 + "] x",
        "[]" * 30_000,
        "[[" + "[] " * 20_000 + "] x",
        "[PATCH " + "1" * 65_536 + "/3] x",
        "[PATCH " + "1 of " * 10_000 + "] x",
        "[PATCH " + "1/" * 10_000 + "] x",
        "[v" + "1." * 10_000 + "] x",
        "Re: " * 20_000,
        "( v1" * 20_000,
        "***SPAM*** " * 10_000,
        "*" * 60_000 + "[PATCH] x",
        "{" * 60_000,
        "suspected spam:" * 5_000,
        "[PATCH" + " 1 /" * 10_000 + "] x",
    ],
)
def test_hostile_subjects_are_read_in_part(text: str) -> None:
    assert text.strip().endswith(parse_subject(text).title)


def test_only_the_first_thousand_characters_hold_markers() -> None:
    far = "[" + "a " * 600 + "] [PATCH 1/2] x"
    subject = parse_subject(far)
    assert subject.number is None
    assert subject.title == far


@given(st.text(alphabet=st.sampled_from("[]()vV123456789/.,: RePATCH回复：-\x00é")))
def test_any_text_is_a_subject(text: str) -> None:
    subject = parse_subject(text)
    assert text.strip().endswith(subject.title)
    assert subject.version >= 0
    assert not any(char in word for word in subject.prefixes for char in "[],")


@given(st.text(), st.sets(st.text(max_size=4), max_size=2))
def test_any_unicode_is_a_subject(text: str, names: set[str]) -> None:
    assert text.strip().endswith(parse_subject(text, list_names=names).title)
