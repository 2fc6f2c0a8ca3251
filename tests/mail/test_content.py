"""Test parameters, transfer encodings and flowed text."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mail.defect import Defect
from ingest.mail.mime import flowed, param, transfer

PARAMETERS = [
    ("text/plain", "text/plain", {}),
    ("TEXT/Plain; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
    ('text/plain;charset="utf-8" ; x = y', "text/plain", {"charset": "utf-8", "x": "y"}),
    ("text/plain; charset=us-ascii (comment)", "text/plain", {"charset": "us-ascii"}),
    ('a/b; x="1;\\"2\\""', "a/b", {"x": '1;"2"'}),
    ('a/b; x="1\n 2"', "a/b", {"x": "1 2"}),
    ("a/b; x=1; x=2", "a/b", {"x": "1"}),
    ('a/b; x="open; y=1', "a/b", {"x": '"open', "y": "1"}),
    ("a/b; x*=utf-8'en'%C3%A9", "a/b", {"x": "é"}),
    ("a/b; x*0=one; x*1=two", "a/b", {"x": "onetwo"}),
    ("a/b; x*1=two; x*0*=iso-8859-1''%E9", "a/b", {"x": "étwo"}),
    ("a/b; x=plain; x*=utf-8''better", "a/b", {"x": "better"}),
    ("a/b; x*1=lonely", "a/b", {}),
    ("a/b; x*0=a; x*9=z", "a/b", {"x": "a"}),
    ("a/b; x*=zlib''%41", "a/b", {"x": "A"}),
    ("", "", {}),
    (";", "", {}),
    ("(x) a/b", "", {}),
]


@pytest.mark.parametrize(("value", "name", "values"), PARAMETERS)
def test_parameters(value: str, name: str, values: dict[str, str]) -> None:
    assert param.parse_parameters(value) == (name, values)


@pytest.mark.parametrize("piece", [";", "; ", ";a", ';a="', ';a="\\"', ";a*0", "a", ";a*=%41"])
def test_rows_of_parameters_end(piece: str) -> None:
    param.parse_parameters("a/b" + piece * (250_000 // len(piece)))


@pytest.mark.parametrize(
    ("disposition", "content_type", "name"),
    [
        ("attachment; filename=a.patch", "text/plain; name=b.patch", "a.patch"),
        ("inline", "text/plain; name=b.patch", "b.patch"),
        ("inline", "text/plain", None),
        ('inline; filename=""', "text/plain", None),
        ("a; filename=../../etc/x", "text/plain", "x"),
        ('a; filename="C:\\\\x\\\\y.diff"', "text/plain", "y.diff"),
        ("a; filename=x/", "text/plain", None),
        ('a; filename="=?utf-8?q?caf=C3=A9.patch?="', "text/plain", "café.patch"),
        ("a; filename*=utf-8''caf%C3%A9.patch", "text/plain", "café.patch"),
        ("a; filename*=utf-8''..%2Fx", "text/plain", "x"),
        ("a; filename=" + "n" * 5_000, "text/plain", "n" * 255),
    ],
)
def test_filename(disposition: str, content_type: str, name: str | None) -> None:
    assert (
        param.find_filename(
            param.parse_parameters(disposition), param.parse_parameters(content_type)
        )
        == name
    )


BAD = {Defect.BAD_TRANSFER_ENCODING}

TRANSFERS = {
    "identity": (b"a=41\n", "8bit", b"a=41\n", set()),
    "unknown": (b"a=41\n", "x-martian", b"a=41\n", BAD),
    "uuencode": (b"begin 644 x\n", "x-uuencode", b"begin 644 x\n", BAD),
    "qp": (b"caf=C3=a9 =3D\n", "quoted-printable", b"caf\xc3\xa9 =\n", set()),
    "qp-soft-break": (b"one=\n two\n", "quoted-printable", b"one two\n", set()),
    "qp-padded-break": (b"one= \t\ntwo\n", "quoted-printable", b"onetwo\n", set()),
    "qp-break-at-end": (b"one=", "quoted-printable", b"one", set()),
    "qp-bad-escape": (b"a=b =3D =zz ==\n", "quoted-printable", b"a=b = =zz =", BAD),
    "qp-8bit": (b"\xe9=41", "quoted-printable", b"\xe9A", set()),
    "base64": (b"Y2Fm\nw6k=\n", "base64", b"caf\xc3\xa9", set()),
    "base64-unpadded": (b"Y2Fmw6k\n", "base64", b"caf\xc3\xa9", BAD),
    "base64-footer": (b"Y2Fmw6k=\n____\nlist\n", "base64", b"caf\xc3\xa9", BAD),
    "base64-rubbish": (b"Y2Fm\n!w6k=\n", "base64", b"caf\xc3\xa9", BAD),
    "base64-one-over": (b"Y2FmY2Fm\nY\n", "base64", b"cafcaf", BAD),
    "base64-lie": (b"This is plain text.\n", "base64", b"This is plain text.\n", BAD),
    "base64-lie-in-words": (b"Hello\n\ntext.\n", "base64", b"Hello\n\ntext.\n", BAD),
    "base64-empty": (b"\n", "base64", b"", set()),
}


@pytest.mark.parametrize("name", TRANSFERS)
def test_transfer(name: str) -> None:
    data, encoding, octets, defects = TRANSFERS[name]
    assert transfer.decode_transfer(data, encoding) == (octets, frozenset(defects))


@given(st.binary())
def test_what_is_well_encoded_comes_back(data: bytes) -> None:
    assert transfer.decode_transfer(base64.encodebytes(data), "base64") == (data, frozenset())
    data = data.replace(b"\r", b"")
    assert transfer.decode_transfer(quopri.encodestring(data), "quoted-printable") == (
        data,
        frozenset(),
    )


@given(st.binary(), st.sampled_from(["base64", "quoted-printable", "7bit", "x"]))
def test_any_octets_are_taken(data: bytes, encoding: str) -> None:
    transfer.decode_transfer(data, encoding)


@pytest.mark.parametrize("piece", [b"=", b"= ", b"=4", b"A", b"=\n", b"A=", b" "])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_rows_of_one_mark_end(piece: bytes, encoding: str) -> None:
    transfer.decode_transfer(piece * 300_000 + b"!", encoding)


FLOWED = {
    "fixed": ("one\ntwo\n", "one\ntwo\n"),
    "soft": ("one \ntwo\n", "one two\n"),
    "three": ("one \ntwo \nthree\nfour\n", "one two three\nfour\n"),
    "stuffed": (" From here\n  indented\n", "From here\n indented\n"),
    "soft-then-stuffed": ("one \n two\n", "one two\n"),
    "signature": ("one \n-- \nJane\n", "one \n-- \nJane\n"),
    "signature-ends-no-line": ("-- \nJane\n", "-- \nJane\n"),
    "quoted": ("> one \n> two\n", "> one \n> two\n"),
    "quoted-without-space": (">one \n>two\n", ">one \n>two\n"),
    "quote-depth": (">> one \n> two\nthree\n", ">> one \n> two\nthree\n"),
    "quote-then-text": ("> one \ntwo\n", "> one \ntwo\n"),
    "quoted-signature": ("> one \n> -- \n> Jane\n", "> one \n> -- \n> Jane\n"),
    "at-the-end": ("one ", "one "),
    "soft-at-the-end": ("one \n", "one "),
    "diff-context": ("  context\n+added\n-- removed\n", " context\n+added\n-- removed\n"),
    "empty-context": (" \n+x\n", "\n+x\n"),
    "empty": ("", ""),
    "text-then-quote": ("one \n> two\n", "one \n> two\n"),
    "quoted-blank-context": (
        ">   int a;\n>   \n> +\tint b;\n\nWhy \nthat?\n",
        ">   int a;\n>   \n> +\tint b;\n\nWhy that?\n",
    ),
    "hunk": ("@@ -1,3 +1,4 @@ f\n  a\n  \n+b \n  c\n", "@@ -1,3 +1,4 @@ f\n a\n \n+b \n c\n"),
    "hunk-trimmed": ("@@ -1,2 +1,3 @@\n  a\n\n+b\n", "@@ -1,2 +1,3 @@\n a\n\n+b\n"),
    "hunk-not-stuffed": (
        "@@ -1,3 +1,4 @@\n a\n \n+b\n   c\n",
        "@@ -1,3 +1,4 @@\n a\n \n+b\n   c\n",
    ),
    "hunk-wrapped": (
        "@@ -1 +1,2 @@\n  a\n+b is \nlong\n",
        "@@ -1 +1,2 @@\n a\n+b is long\n",
    ),
    "hunk-wrapped-into-one": (
        "@@ -1,2 +1,2 @@\n  a \n  b\n  c\n",
        "@@ -1,2 +1,2 @@\n a  b\n c\n",
    ),
    "hunk-without-end": ("@@ -1,9 +1,9 @@\n  a \n  b\n", "@@ -1,9 +1,9 @@\n a  b\n"),
}


@pytest.mark.parametrize("name", FLOWED)
def test_flowed(name: str) -> None:
    text, unwrapped = FLOWED[name]
    assert flowed.unwrap_flowed(text) == unwrapped


def test_flowed_delsp() -> None:
    assert flowed.unwrap_flowed("one \ntwo  \nthree\n-- \n", delsp=True) == "onetwo three\n-- \n"


@given(st.text(alphabet="ab> -\n"))
def test_flowed_takes_any_text(text: str) -> None:
    unwrapped = flowed.unwrap_flowed(text)
    assert unwrapped.replace(" ", "").replace("\n", "").replace(">", "") == text.replace(
        " ", ""
    ).replace("\n", "").replace(">", "")
