"""Test which lines of patches and of replies are trailers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.patch.trailers.blocks import message_trailers, reply_trailers
from ingest.patch.trailers.trailer import Trailer

ADA = "Ada Example <ada@example.org>"
BOB = "Bob Example <bob@example.com>"


def pairs(found: tuple[Trailer, ...]) -> list[tuple[str, str]]:
    return [(trailer.key, trailer.value) for trailer in found]


MESSAGES = [
    ("last paragraph", f"Why.\n\nSigned-off-by: {ADA}\n", [("Signed-off-by", ADA)]),
    ("nothing", "Why.\n\nNote: this is prose\n", []),
    (
        "above the dashes only",
        f"Why.\n\nSigned-off-by: {ADA}\n---\nReviewed-by: {BOB}\n",
        [("Signed-off-by", ADA)],
    ),
    (
        "above the diff only",
        f"Signed-off-by: {ADA}\ndiff --git a/x b/x\n--- a/x\n+++ b/x\nReviewed-by: {BOB}\n",
        [("Signed-off-by", ADA)],
    ),
    (
        "below dashes, which separate the results of checkpatch and grep",
        f"WARNING: x\n--\nWARNING: y\n\nAcked-by: {ADA}\n---\nAcked-by: {BOB}\n",
        [("Acked-by", ADA)],
    ),
    (
        "a quoted diff of a test's output does not end the message",
        f"It fails with\n--- a.out\n+++ a.bad\n\nSigned-off-by: {ADA}\n---\n",
        [("Signed-off-by", ADA)],
    ),
    (
        "several blocks, remarks between",
        (
            "Why.\n\nLink: https://example.org/1\n\n"
            f"Reviewed-by: {BOB}\n[ada: fixed a typo]\nSigned-off-by: {ADA}\n"
        ),
        [
            ("Link", "https://example.org/1"),
            ("Reviewed-by", BOB),
            ("Signed-off-by", ADA),
        ],
    ),
    (
        "capitals are unified",
        f"signed-off-By: {ADA}\nCC: {BOB}\nREVIEWED-BY: {BOB}\n",
        [("Signed-off-by", ADA), ("Cc", BOB), ("Reviewed-by", BOB)],
    ),
    (
        "stable's remark",
        f"Cc: stable@example.org # v5.4+\nSigned-off-by: {ADA}\n",
        [("Cc", "stable@example.org # v5.4+"), ("Signed-off-by", ADA)],
    ),
    (
        "bare and angle addresses",
        "Reported-by: bot+1f@example.com\nTested-by: <ada@example.org>\n",
        [("Reported-by", "bot+1f@example.com"), ("Tested-by", "<ada@example.org>")],
    ),
    (
        "fixes needs a commit or a link",
        (
            "Fixes: the crash of last week\n\n"
            'Fixes: 0123456789ab ("zfoo: add x")\nFixes: https://example.org/bug/1\n'
        ),
        [
            ("Fixes", '0123456789ab ("zfoo: add x")'),
            ("Fixes", "https://example.org/bug/1"),
        ],
    ),
    (
        "folded by white space",
        f"Reviewed-by: Ada\n Example <ada@example.org>\nSigned-off-by: {BOB}\n",
        [("Reviewed-by", ADA), ("Signed-off-by", BOB)],
    ),
    (
        "wrapped by a mail program",
        (
            'Fixes: 0123456789ab ("zfoo: add a very long\nsubject to it")\n'
            "Reviewed-by: Ada Example\n<ada@example.org>\nLink:\nhttps://example.org/1\n"
        ),
        [
            ("Fixes", '0123456789ab ("zfoo: add a very long subject to it")'),
            ("Reviewed-by", ADA),
            ("Link", "https://example.org/1"),
        ],
    ),
    ("a person without address", "Reviewed-by: me, if you change it\n", []),
    (
        "a machine without address, among others",
        f"Assisted-by: Tool:model-1\nSigned-off-by: {ADA}\n",
        [("Assisted-by", "Tool:model-1"), ("Signed-off-by", ADA)],
    ),
    (
        "an unknown key, among others, with a hyphen",
        f"Ticket-no: 7\nNote: x\nSigned-off-by: {ADA}\n",
        [("Signed-off-by", ADA)],
    ),
    (
        "an unknown key next to a sign-off",
        f"Ticket-no: 7\nSigned-off-by: {ADA}\n",
        [("Ticket-no", "7"), ("Signed-off-by", ADA)],
    ),
    ("a link within prose", "As seen in\nLink: https://example.org/1\nthis fails.\n", []),
    ("quoted", f"> Reviewed-by: {ADA}\n", []),
    ("git log within the message", f"Reverts this:\n\n    Signed-off-by: {ADA}\n", []),
    (
        "in-body headers",
        f"From: {ADA}\nTo: {BOB}\n\nWhy.\n\nAcked-by: {BOB}\n",
        [("Acked-by", BOB)],
    ),
    ("repeated", f"Acked-by: {ADA}\nAcked-by: {ADA}\n", [("Acked-by", ADA)]),
    (
        "no blank after the colon",
        "Acked-by:Ada<ada@example.org>\n",
        [("Acked-by", "Ada<ada@example.org>")],
    ),
    (
        "a footnote and a header within the block",
        f"Cc: a@example.org\nLink: https://x/1\n[1]: https://x/2\nTo: {BOB}\nAcked-by: {ADA}\n",
        [("Cc", "a@example.org"), ("Link", "https://x/1"), ("Acked-by", ADA)],
    ),
    (
        "a sign-off below prose makes no trailers of what is above it",
        (
            "This paragraph is\nprose on\nseveral lines.\nCc: a@example.org\nis one of them,\nas "
            f"are\nthese and\nthese and\nthose.\nAcked-by: {ADA}\n"
        ),
        [("Acked-by", ADA)],
    ),
    (
        "several ids",
        f"Change-Id: I0123\nMessage-ID: <1@example.org>\nSigned-off-by: {ADA}\n",
        [("Change-Id", "I0123"), ("Message-ID", "<1@example.org>"), ("Signed-off-by", ADA)],
    ),
]


@pytest.mark.parametrize(("text", "expected"), [pytest.param(*c[1:], id=c[0]) for c in MESSAGES])
def test_message_trailers(text: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(message_trailers(text)) == expected


REPLIES = [
    ("on its own", f"> x\n\nReviewed-by: {ADA}\n\nThanks\n", [("Reviewed-by", ADA)]),
    ("right below the praise", f"Looks good,\nReviewed-by: {ADA}\n\n--A\n", [("Reviewed-by", ADA)]),
    ("right above the thanks", f"> x\nAcked-by: {ADA}\nThanks!\n", [("Acked-by", ADA)]),
    ("with a condition before it", f"With that fixed:\n\nAcked-by: {ADA}\n", [("Acked-by", ADA)]),
    ("with a condition after it", f"Acked-by: {ADA} if you rename x\n", []),
    ("without address", "Reviewed-by: me, if you change it\n", []),
    ("quoted", f"> Reviewed-by: {ADA}\n> > Acked-by: {BOB}\n| Tested-by: {BOB}\n", []),
    ("below the signature", f"No.\n\n-- \nReviewed-by: {ADA}\n", []),
    (
        "with a remark",
        f"Acked-by: {ADA} # zfoo\nTested-by: {ADA} (on z80)\n",
        [("Acked-by", f"{ADA} # zfoo"), ("Tested-by", f"{ADA} (on z80)")],
    ),
    ("indented a little", f"Feel free to add:\n     Reviewed-by: {ADA}\n", [("Reviewed-by", ADA)]),
    ("in an indented git log", f"This one:\n\n    zfoo: x\n\n    Reviewed-by: {ADA}\n", []),
    (
        "in prose",
        f"There should be a\nSigned-off-by: {ADA}\nunderneath this line.\n",
        [],
    ),
    (
        "with a fix and a link",
        f'Fixes: 0123456789ab ("zfoo")\nReviewed-by: {ADA}\nLink: https://example.org/1\n',
        [
            ("Fixes", '0123456789ab ("zfoo")'),
            ("Reviewed-by", ADA),
            ("Link", "https://example.org/1"),
        ],
    ),
    ("a link alone", "Link: https://example.org/1\n", []),
    ("a person drawn in", f"Cc: {BOB}\n\nDo you know?\n", []),
    (
        "of a patch proposed within the reply",
        (
            f"Reviewed-by: {ADA}\n\nOr rather:\n\nzfoo: x\n\nSigned-off-by: {BOB}\n---\n"
            " zfoo.c | 2 +-\n 1 file changed\n\ndiff --git a/z b/z\n"
        ),
        [("Reviewed-by", ADA)],
    ),
    ("below a diff", f"Try:\n\ndiff --git a/z b/z\n@@ -1 +1 @@\nAcked-by: {ADA}\n", []),
    (
        "below an unmarked quotation",
        f"Acked-by: {ADA}\n\n-----Original Message-----\nReviewed-by: {BOB}\n",
        [("Acked-by", ADA)],
    ),
    (
        "below an unmarked header block",
        f"No.\n\nFrom: {ADA}\nSent: Monday\nTo: {BOB}\nSubject: x\n\nReviewed-by: {BOB}\n",
        [],
    ),
    (
        "below a rule that is followed by marked quotations",
        f"----- Original Message -----\n> x\n\nAcked-by: {ADA}\n",
        [("Acked-by", ADA)],
    ),
    (
        "as one mail program writes links",
        "Reviewed-by: Ada <ada@example.org <mailto:ada@example.org>>\n",
        [("Reviewed-by", "Ada <ada@example.org>")],
    ),
    ("two kinds in one", f"Reviewed-and-tested-by: {ADA}\n", [("Reviewed-and-tested-by", ADA)]),
]


MANGLED = [
    "Tom Ferr <tom@example.com<mailto:tom@example.com>>",
    "Tom Ferr <tom@example.com <mailto:tom@example.com>>",
    "Tom Ferr <tom@example.com\n<mailto:tom@example.com>>",
    "Tom Ferr <tom@example.com\n  <mailto:tom@example.com>>",
    "Tom Ferr\n<tom@example.com<mailto:tom@example.com>>",
    "Tom Ferr <tom@example.com> <mailto:tom@example.com>",
    "Tom Ferr <tom@example.com><mailto:tom@example.com>",
    "Tom Ferr <tom@example.com> [mailto:tom@example.com]",
    "Tom Ferr <mailto:tom@example.com>",
    "Tom Ferr <MAILTO:tom@example.com>",
    "Tom Ferr [mailto:tom@example.com]",
    "Tom Ferr <[mailto:tom@example.com]>",
    "Tom Ferr &lt;tom@example.com&gt;",
    "Tom Ferr &lt;tom@example.com&lt;mailto:tom@example.com&gt;&gt;",
    "Tom\u00a0Ferr\u00a0<tom@example.com>",
    "\u200bTom Ferr <tom@example.com>\ufeff",
    "Tom Ferr \uff1ctom@example.com\uff1e",
]


@pytest.mark.parametrize("value", MANGLED)
def test_what_mail_programs_make_of_an_address(value: str) -> None:
    expected = [("Reviewed-by", "Tom Ferr <tom@example.com>")]
    assert pairs(reply_trailers(f"Fine.\n\nReviewed-by: {value}\n")) == expected
    assert pairs(message_trailers(f"Fine.\n\nReviewed-by: {value}\n")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Reviewed\u2010by: a@b.c", ("Reviewed-by", "a@b.c")),
        ("\u00a0Reviewed-by\u00a0: a@b.c", ("Reviewed-by", "a@b.c")),
        ("Reviewed-by\uff1aa@b.c", ("Reviewed-by", "a@b.c")),
        ("Reviewed-by: a@b.c<mailto:a@b.c>", ("Reviewed-by", "a@b.c")),
        ("Acked-by: \u201cA\u201d <a@b.c>", ("Acked-by", '"A" <a@b.c>')),
        ("Fixes: 0123456789ab (\u201cx\u201d)", ("Fixes", '0123456789ab ("x")')),
        ("Acked-by: Miles O\u2019Brien <a@b.c>", ("Acked-by", "Miles O\u2019Brien <a@b.c>")),
    ],
)
def test_what_mail_programs_make_of_characters(text: str, expected: tuple[str, str]) -> None:
    assert pairs(reply_trailers(text)) == [expected]


@pytest.mark.parametrize(("text", "expected"), [pytest.param(*c[1:], id=c[0]) for c in REPLIES])
def test_reply_trailers(text: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(reply_trailers(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Acked-by: " + "a" * 1_000_000,
        "Acked-by: " + "a@" * 500_000,
        "Acked-by: x <a@b>\n" * 50_000,
        "Acked-by: x\n" + " y\n" * 300_000,
        "Acked-by: x\n\n" * 50_000,
        "---\n" * 100_000 + "Acked-by: x <a@b>\n",
        "a-by" * 200_000,
        "Acked-by: x <a@b>\n" + "--- x\n" * 100_000,
        "    Acked-by: x <a@b>\n\n" * 50_000,
    ],
)
def test_hostile_texts_cost_linear_time(text: str) -> None:
    start = time.perf_counter()
    message_trailers(text)
    reply_trailers(text)
    assert time.perf_counter() - start < 10


LINES = st.lists(
    st.sampled_from(
        [
            "",
            " ",
            "> q",
            "---",
            "-- ",
            "prose",
            f"Acked-by: {ADA}",
            "Cc: a@b.c",
            "  x",
            "[y]",
            "Fixes: 0123456",
            "Link:",
            "https://x/",
            "diff --git a b",
            "--- a",
            "+++ b",
            "Z-k: 1",
        ]
    )
)


@given(st.text() | LINES.map("\n".join))
def test_any_text_has_trailers_or_none(text: str) -> None:
    for trailer in (*message_trailers(text), *reply_trailers(text)):
        assert trailer.key
        assert trailer.value == trailer.value.strip() != ""
        assert "\n" not in trailer.value
