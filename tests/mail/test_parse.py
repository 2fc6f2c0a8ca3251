"""Test parsing of whole messages: each field, hostile mail, any bytes, the real archive."""

from __future__ import annotations

import base64
import email
import email.message
import hashlib
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mail.defect import Defect
from ingest.mail.message import Address, ListName, Message, Part
from ingest.mail.mime import tree
from ingest.mail.parse import parse_message

SIMPLE = b"""\
Received: from a by b; Tue, 2 Jan 2024 12:00:05 +0000
Received: from c by a; Tue, 2 Jan 2024 12:00:03 +0000
From: =?utf-8?q?Ren=C3=A9?= Doe <rene@example.org>
To: Development <dev@lists.example.org>
Subject: [PATCH 1/2] fix:\n the thing
Date: Tue, 2 Jan 2024 13:00:00 +0100
Message-ID: <1@example.org>
In-Reply-To: <0@example.org>
References: <z@example.org>\n <0@example.org>
List-Id: Development <dev.lists.example.org>
Content-Type: text/plain; charset=utf-8

caf\xc3\xa9
"""


def texts(message: Message) -> list[str | None]:
    return [part.text for part in message.parts]


def mail(header: bytes, body: bytes = b"body\n") -> bytes:
    """Return a mail without defects, with these additions."""
    base = b"From: a@example.org\nDate: 2 Jan 2024 12:00:00 +0000\nMessage-ID: <1@example.org>\n"
    return base + header + b"\n" + body


def test_simple() -> None:
    message = parse_message(SIMPLE)
    assert message.headers[0] == ("Received", "from a by b; Tue, 2 Jan 2024 12:00:05 +0000")
    assert message.header("subject") == "[PATCH 1/2] fix:\n the thing"
    assert message.msgid == "<1@example.org>"
    assert message.subject == "[PATCH 1/2] fix: the thing"
    assert message.sender == Address("René Doe", "rene@example.org")
    assert message.date == datetime(2024, 1, 2, 12)
    assert message.received == datetime(2024, 1, 2, 12, 0, 5)
    assert message.in_reply_to == ("<0@example.org>",)
    assert message.references == ("<z@example.org>", "<0@example.org>")
    assert message.lists == (ListName("dev.lists.example.org", "dev@lists.example.org"),)
    assert message.parts == (Part("text/plain", "café\n"),)
    assert message.defects == ()


def test_nothing_at_all() -> None:
    message = parse_message(b"")
    assert message.headers == ()
    assert message.msgid == f"<{hashlib.sha256(b'').hexdigest()}@message-id.invalid>"
    assert message.sender == Address("", "")
    assert (message.date, message.received, message.subject) == (None, None, "")
    assert message.parts == (Part("text/plain", ""),)
    assert message.defects == (
        Defect.BAD_DATE, Defect.NO_FROM, Defect.NO_HEADERS, Defect.NO_MESSAGE_ID,
    )  # fmt: skip


WIRE = {
    "bare-cr": (b"one\rtwo\n", ["one\rtwo\n"], [Defect.BARE_CR]),
    "nul": (b"a\0b\n", ["a\ufffdb\n"], [Defect.NUL]),
    "998": (b"x" * 998 + b"\n", ["x" * 998 + "\n"], []),
    "999": (b"x" * 999 + b"\n", ["x" * 999 + "\n"], [Defect.LONG_LINE]),
    "999-at-the-end": (b"\n" * 700 + b"x" * 999, ["\n" * 700 + "x" * 999], [Defect.LONG_LINE]),
    "8bit": ("é\n".encode(), ["é\n"], []),
    "latin-1": (b"\xe9\n", ["é\n"], []),
    "bom": (b"\xef\xbb\xbfa\n", ["a\n"], []),
}


@pytest.mark.parametrize("name", WIRE)
def test_wire(name: str) -> None:
    body, expected, defects = WIRE[name]
    message = parse_message(mail(b"", body))
    assert texts(message) == expected
    assert list(message.defects) == defects


def test_a_mail_with_cr_alone() -> None:
    message = parse_message(mail(b"Subject: x\n", b"one\ntwo\n").replace(b"\n", b"\r"))
    assert message.subject == "x"
    assert texts(message) == ["one\ntwo\n"]
    assert Defect.BARE_CR in message.defects


def test_mbox_lines_in_front_change_nothing() -> None:
    for line in (b"From a Tue Jan  2 12:00:00 2024\n", b">From a\n", b"From a\n>From b\n"):
        assert parse_message(line + SIMPLE) == parse_message(SIMPLE)
    no_id = mail(b"").replace(b"Message-ID: <1@example.org>\n", b"")
    assert parse_message(b"From a\n" + no_id) == parse_message(no_id)


HEADERS = {
    "duplicate-from": (b"From: b@example.org\n", [Defect.DUPLICATE_FROM]),
    "duplicate-id": (b"Message-ID: <2@example.org>\n", [Defect.DUPLICATE_MESSAGE_ID]),
    "duplicate-subject": (b"Subject: a\nSubject: b\n", [Defect.DUPLICATE_SUBJECT]),
    "colon-less": (b"rubbish\n", [Defect.BAD_HEADER_LINE]),
    "8bit": (b"X: \xe9\n", [Defect.HEADER_8BIT]),
    "bad-word": (b"Subject: =?utf-8?b?!?=\n", [Defect.BAD_ENCODED_WORD]),
    "unknown-charset": (b"Subject: =?x-y?q?a?=\n", [Defect.UNKNOWN_CHARSET]),
}


@pytest.mark.parametrize("name", HEADERS)
def test_header_defects(name: str) -> None:
    header, defects = HEADERS[name]
    message = parse_message(mail(header))
    assert list(message.defects) == defects
    assert message.msgid == "<1@example.org>"
    assert message.sender.email == "a@example.org"


@pytest.mark.parametrize("value", [b"", b"<", b"<[x]>", b"<>", b"no id"])
def test_an_id_that_is_none(value: bytes) -> None:
    raw = b"From: a@example.org\nDate: 2 Jan 2024 12:00:00 +0000\nMessage-ID: " + value + b"\n\nx\n"
    message = parse_message(raw)
    assert message.msgid == f"<{hashlib.sha256(raw).hexdigest()}@message-id.invalid>"
    assert message.defects == (Defect.NO_MESSAGE_ID,)
    assert parse_message(raw.replace(b"\n", b"\r\n")).msgid == message.msgid


def test_a_long_id_and_the_answer_to_it() -> None:
    long = b"<" + b"x" * 10_000 + b"@example.org>"
    first = parse_message(b"Message-ID:\n " + long + b"\n\n")
    answer = parse_message(b"In-Reply-To: " + long + b"\nReferences: <a@b> " + long + b"\n\n")
    assert first.msgid.endswith("@long.message-id.invalid>")
    assert Defect.LONG_MESSAGE_ID in first.defects
    assert answer.in_reply_to == (first.msgid,)
    assert answer.references == ("<a@b>", first.msgid)


def test_too_many_references() -> None:
    ids = [f"<{n}@example.org>" for n in range(10_000)]
    message = parse_message(mail(b"References: " + "\n ".join(ids).encode() + b"\n"))
    assert list(message.references) == ids[:100] + ids[-100:]
    assert message.defects == (Defect.REFERENCES_CAPPED,)
    assert (
        len(parse_message(mail(b"References: " + " ".join(ids[:200]).encode() + b"\n")).references)
        == 200
    )


def test_several_fields_of_references() -> None:
    message = parse_message(mail(b"References: <a@b>\nReferences: <c@d> <a@b>\n"))
    assert message.references == ("<a@b>", "<c@d>")


HOPS = b"Received: x; 3 Jan 2024 12:00:00 +0000\nReceived: y; 3 Jan 2024 11:00:00 +0000\n"


@pytest.mark.parametrize(
    ("header", "date", "defects"),
    [
        (b"Date: 2 Jan 2024 12:00:00 +0000\n", datetime(2024, 1, 2, 12), False),
        (b"Date: 4 Jan 2024 12:00:00 +0000\n", datetime(2024, 1, 4, 12), False),
        (b"Date: 4 Jan 2024 12:00:01 +0000\n", datetime(2024, 1, 3, 11), True),
        (b"Date: 2 Jan 2004 12:00:00 +0000\n", datetime(2004, 1, 2, 12), False),
        (b"Date: garbage\n", datetime(2024, 1, 3, 11), True),
        (b"Date: 31 Dec 9999 23:59:59 -0100\n", datetime(2024, 1, 3, 11), True),
        (b"Date: 2 Jan 2024 12:00:00 +9999\n", datetime(2024, 1, 3, 11), True),
        (b"", datetime(2024, 1, 3, 11), True),
    ],
)
def test_dates(header: bytes, date: datetime, defects: bool) -> None:
    message = parse_message(HOPS + b"From: a@example.org\nMessage-ID: <1@b>\n" + header + b"\n")
    assert message.date == date
    assert message.received == datetime(2024, 1, 3, 12)
    assert message.defects == ((Defect.BAD_DATE,) if defects else ())


def test_no_date_at_all_is_none() -> None:
    assert parse_message(b"From: a@example.org\n\n").date is None


def multipart(*parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"xx") -> bytes:
    """Return header and body of a multipart. Each of `parts` has its own header."""
    body = b"".join(b"--" + boundary + b"\n" + part + b"\n" for part in parts)
    return (
        b"Content-Type: multipart/" + kind + b'; boundary="' + boundary + b'"\n\n'
        b"preamble\n" + body + b"--" + boundary + b"--\nepilogue\n"
    )


def typed(kind: bytes, body: bytes = b"x", *more: bytes) -> bytes:
    header = (b"Content-Type: " + kind, *more)
    return b"\n".join(header) + b"\n\n" + body


def content(raw: bytes) -> Message:
    """Return a mail without defects, with this header and body."""
    return parse_message(mail(b"")[: -len(b"\nbody\n")] + raw)


PLAIN = Part("text/plain", "x")

TREES: dict[str, tuple[bytes, list[Part], list[Defect]]] = {
    "two": (multipart(b"\nx", b"\ny"), [PLAIN, Part("text/plain", "y")], []),
    "alternative": (
        multipart(typed(b"text/plain"), typed(b"text/html", b"<p>"), kind=b"alternative"),
        [PLAIN, Part("text/html", "<p>")],
        [],
    ),
    "signed": (
        multipart(typed(b"text/plain"), typed(b"application/pgp-signature"), kind=b"signed"),
        [PLAIN, Part("application/pgp-signature", None)],
        [],
    ),
    "nested": (
        multipart(multipart(b"\nx", boundary=b"yy"), b"\nx"),
        [PLAIN, PLAIN],
        [],
    ),
    "one-boundary-begins-another": (
        multipart(multipart(b"\nx", boundary=b"xxy"), b"\nx"),
        [PLAIN, PLAIN],
        [],
    ),
    "boundary-padded": (
        b'Content-Type: multipart/mixed; boundary=xx\n\n--xx  \n\nx\n--xx-- \t\n',
        [PLAIN],
        [],
    ),
    "empty-part": (
        b"Content-Type: multipart/mixed; boundary=xx\n\n--xx\n--xx\n\n--xx--\n",
        [Part("text/plain", ""), Part("text/plain", "")],
        [],
    ),
    "never-closed": (
        b"Content-Type: multipart/mixed; boundary=xx\n\n--xx\n\nx",
        [PLAIN],
        [Defect.BAD_MULTIPART],
    ),
    "inner-never-closed": (
        multipart(b"Content-Type: multipart/mixed; boundary=yy\n\n--yy\n\nx", b"\nx"),
        [PLAIN, PLAIN],
        [Defect.BAD_MULTIPART],
    ),
    "no-boundary": (
        b"Content-Type: multipart/mixed\n\nx",
        [PLAIN],
        [Defect.BAD_MULTIPART],
    ),
    "boundary-not-there": (
        b"Content-Type: multipart/mixed; boundary=xx\n\nx",
        [PLAIN],
        [Defect.BAD_MULTIPART],
    ),
    "long-boundary": (
        multipart(b"\nx", boundary=b"b" * 2048),
        [PLAIN],
        [Defect.BAD_MULTIPART, Defect.LONG_LINE],
    ),
    "part-without-header": (multipart(b"plain: not"), [Part("text/plain", "")], []),
    "part-is-prose": (multipart(b"just text"), [Part("text/plain", "just text")], []),
    "rfc822": (
        multipart(typed(b"message/rfc822", b"Subject: inner\n\nx")),
        [Part("text/plain", "x", nested=True)],
        [],
    ),
    "rfc822-in-base64": (
        typed(
            b"message/rfc822",
            base64.encodebytes(b"Subject: inner\r\n\r\nx"),
            b"Content-Transfer-Encoding: base64",
        ),
        [Part("text/plain", "x", nested=True)],
        [],
    ),
    "digest": (
        multipart(b"\nSubject: inner\n\nx", kind=b"digest"),
        [Part("text/plain", "x", nested=True)],
        [],
    ),
    "message-partial": (typed(b"message/partial"), [Part("message/partial", None)], []),
    "external-body": (typed(b"message/external-body"), [Part("message/external-body", None)], []),
    "delivery": (typed(b"message/delivery-status"), [Part("message/delivery-status", None)], []),
    "tnef": (typed(b"application/ms-tnef"), [Part("application/ms-tnef", None)], []),
    "smime": (typed(b"application/pkcs7-mime"), [Part("application/pkcs7-mime", None)], []),
    "zip": (typed(b"application/zip; name=a.zip"), [Part("application/zip", None, "a.zip")], []),
    "mbox": (typed(b"application/mbox; name=a"), [Part("application/mbox", None, "a")], []),
    "patch": (
        typed(b"text/x-patch", b"x", b'Content-Disposition: attachment; filename="a.patch"'),
        [Part("text/x-patch", "x", "a.patch", attachment=True)],
        [],
    ),
    "patch-by-name": (
        typed(
            b'application/octet-stream; name="A.PATCH"',
            base64.encodebytes(b"+x\r\n"),
            b"Content-Transfer-Encoding: base64",
        ),
        [Part("application/octet-stream", "+x\n", "A.PATCH")],
        [],
    ),
    "text-by-another-name": (
        typed(b"application/octet-stream; name=a.txt"),
        [Part("application/octet-stream", "x", "a.txt")],
        [],
    ),
    "text-by-name-is-not": (
        typed(b"application/octet-stream; name=a.patch", b"+x\n\0\n"),
        [Part("application/octet-stream", None, "a.patch")],
        ["nul"],
    ),
    "compressed-by-another-name": (
        typed(b"application/gzip; name=a.patch", bytes(range(14, 256)) * 4),
        [Part("application/gzip", None, "a.patch")],
        [],
    ),
    "text-of-no-type": (
        typed(b"application/octet-stream; x-default=true", b"caf\xc3\xa9\n"),
        [Part("text/plain", "caf\xe9\n")],
        ["wrong-content-type"],
    ),
    "text-of-no-type-in-latin-1": (
        typed(b"application/octet-stream", b"caf\xe9 noir\n"),
        [Part("text/plain", "caf\xe9 noir\n")],
        ["wrong-content-type"],
    ),
    "no-text-of-no-type": (
        typed(b"application/octet-stream; x-default=true", b"\x01\x02\x03\xff\xfe"),
        [Part("application/octet-stream", None)],
        [],
    ),
    "only-part-with-a-name": (
        typed(b"application/octet-stream; name=fix", b"+x\n"),
        [Part("application/octet-stream", "+x\n", "fix")],
        [],
    ),
    "filename-with-folders": (
        typed(b"image/png", b"x", b"Content-Disposition: inline; filename=../../x"),
        [Part("image/png", None, "x")],
        [],
    ),
    "flowed": (
        typed(b"text/plain; format=Flowed; delsp=yes", b"one \ntwo\n"),
        [Part("text/plain", "onetwo\n", flowed=True)],
        [],
    ),
    "flowed-html-is-not": (
        typed(b"text/html; format=flowed", b"one \ntwo\n"),
        [Part("text/html", "one \ntwo\n")],
        [],
    ),
    "no-such-type": (b"Content-Type: text\n\nx", [PLAIN], []),
    "type-without-subtype": (b"Content-Type: text/\n\nx", [PLAIN], []),
    "charset": (typed(b"text/plain; charset=koi8-r", b"\xd6"), [Part("text/plain", "ж")], []),
    "charset-unknown": (
        typed(b"text/plain; charset=zlib", b"\xc3\xa9"),
        [Part("text/plain", "é")],
        [Defect.UNKNOWN_CHARSET],
    ),
    "charset-has-it-not": (
        typed(b"text/plain; charset=utf-8", b"a\xffb"),
        [Part("text/plain", "a\ufffdb")],
        [Defect.BAD_CHARSET_BYTES],
    ),
    "base64-rubbish": (
        typed(b"text/plain", b"YWJj\n!!\n", b"Content-Transfer-Encoding: BASE64"),
        [Part("text/plain", "abc")],
        [Defect.BAD_TRANSFER_ENCODING],
    ),
    "quoted-printable": (
        typed(b"text/plain", b"+a =3D=\n b=0D=0A", b"Content-Transfer-Encoding: quoted-printable"),
        [Part("text/plain", "+a = b\n")],
        [],
    ),
    "cr-alone-within": (
        typed(b"text/plain", base64.b64encode(b"a\rb\r"), b"Content-Transfer-Encoding: base64"),
        [Part("text/plain", "a\nb\n")],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_trees(name: str) -> None:
    raw, parts, defects = TREES[name]
    message = content(raw)
    assert list(message.parts) == parts
    assert list(message.defects) == defects


@pytest.mark.parametrize("name", TREES)
def test_trees_with_crlf(name: str) -> None:
    raw = mail(b"")[: -len(b"\nbody\n")] + TREES[name][0]
    assert parse_message(raw.replace(b"\n", b"\r\n")) == parse_message(raw)


def test_a_thousand_multiparts_in_one_another() -> None:
    raw = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(1_000)
    )
    message = content(raw + b"\nx\n")
    assert [(part.content_type, part.text) for part in message.parts] == [("multipart/mixed", None)]
    assert Defect.PARTS_CAPPED in message.defects


def test_five_thousand_mails_in_one_another() -> None:
    message = content(b"Content-Type: message/rfc822\n\n" * 5_000 + b"\nx\n")
    assert message.parts == (Part("message/rfc822", None, nested=True),)
    assert message.defects == (Defect.PARTS_CAPPED,)


def test_a_hundred_thousand_parts() -> None:
    message = content(multipart(*[b"\nx"] * 100_000))
    assert message.parts == (PLAIN,) * tree.MAX_PARTS
    assert message.defects == (Defect.PARTS_CAPPED,)


def test_ten_thousand_multiparts_without_a_part() -> None:
    message = content(multipart(*[b"Content-Type: multipart/x; boundary=y\n\n--y--"] * 10_000))
    assert len(message.parts) <= tree.MAX_PARTS
    assert Defect.PARTS_CAPPED in message.defects


def test_long_text_is_cut_at_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_PART_TEXT", 10)
    message = content(multipart(b"\nabc\ndefg\nhij", b"\nxyz\nuvw"))
    assert texts(message) == ["abc\ndefg\n", ""]
    assert message.defects == (Defect.PARTS_CAPPED,)


# --- any bytes ---

FRAGMENTS = st.sampled_from(
    [
        b"From: ", b"Subject: ", b"Message-ID: <a@b>", b"References: ", b"Date: ", b"Received: x; ",
        b"Content-Type: multipart/mixed; boundary=xx", b"Content-Type: message/rfc822",
        b"Content-Type: text/plain; charset=", b"utf-16", b"gb2312", b"zlib", b"; format=flowed",
        b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable",
        b"Content-Disposition: attachment; filename*0*=", b"--xx", b"--xx--", b"\n",
        b"\n\n", b"\n ",
        b"=?utf-8?q?", b"=?x?b?", b"?=", b"=E9", b"=", b"<", b">", b"(", b'"', b"a@b", b";", b"\0",
        b"\xff", b"\xed\xa0\x80", b"2 Jan 2024 12:00:00 +0000", b"9999", b"YWJj", b"> ", b"-- ",
        b"List-Id: <", b"From ", b":",
    ]
)  # fmt: skip
MAILS = st.lists(st.one_of(FRAGMENTS, st.binary(max_size=8)), max_size=60).map(b"".join)


def check(message: Message) -> None:
    """Check what is true of every message."""
    words = [message.msgid, message.subject, message.sender.name, message.sender.email]
    words += [word for field in message.headers for word in field]
    words += [word for part in message.parts for word in (part.text, part.filename) if word]
    words += [word for list_name in message.lists for word in (list_name.list_id, list_name.email)]
    words += [*message.in_reply_to, *message.references]
    for word in words:
        word.encode()
        assert "\0" not in word
    for msgid in (message.msgid, *message.in_reply_to, *message.references):
        assert msgid[0] == "<"
        assert msgid[-1] == ">"
        assert len(msgid) <= 250
        assert msgid.split() == [msgid]
    assert message.defects == tuple(sorted(set(message.defects)))
    assert message.parts


@given(MAILS)
def test_any_bytes_are_a_message(raw: bytes) -> None:
    check(parse_message(raw))


@given(MAILS)
def test_line_ends_make_no_difference(raw: bytes) -> None:
    raw = raw.replace(b"\r", b"")
    assert parse_message(raw.replace(b"\n", b"\r\n")) == parse_message(raw)


SOUND = [SIMPLE, *(mail(b"", b"")[:-1] + tree[0] for tree in TREES.values())]


@given(st.sampled_from(SOUND), st.data())
def test_mutations_are_messages(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(raw)))
    cut = data.draw(st.integers(0, 20))
    check(parse_message(raw[:at] + data.draw(st.binary(max_size=10)) + raw[at + cut :]))


# --- the real archive, against the standard library's parser ---

# Python's library is slow.
ONE_OF = pytest.mark.parametrize("one_of", [4, pytest.param(1, marks=pytest.mark.torture)])
SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "us-ascii": "utf-8", "big5": "cp950"}


@ONE_OF
def test_headers_are_those_of_the_standard_library(
    corpus: list[tuple[str, bytes]], one_of: int
) -> None:
    for commit, raw in corpus[::one_of]:
        expected = [(name, str(value)) for name, value in email.message_from_bytes(raw).items()]
        assert list(parse_message(raw).headers) == expected, commit


@ONE_OF
def test_bodies_are_those_of_the_standard_library(
    corpus: list[tuple[str, bytes]], one_of: int
) -> None:
    compared = 0
    for commit, raw in corpus[::one_of]:
        message = parse_message(raw)
        walk = [part for part in email.message_from_bytes(raw).walk() if not part.is_multipart()]
        assert [part.get_content_type() for part in walk] == [
            part.content_type for part in message.parts
        ], commit
        for theirs, ours in zip(walk, message.parts, strict=True):
            expected = _text(theirs)
            if ours.text is not None and not ours.flowed and expected is not None:
                assert ours.text == expected, commit
                compared += 1
    assert compared > len(corpus[::one_of]) * 0.9


def test_the_archive_has_crlf_and_lf_alike(corpus: list[tuple[str, bytes]]) -> None:
    for commit, raw in corpus[::10]:
        if b"\r" not in raw:
            assert parse_message(raw.replace(b"\n", b"\r\n")) == parse_message(raw), commit


def test_every_message_of_the_archive_is_sound(corpus: list[tuple[str, bytes]]) -> None:
    for commit, raw in corpus:
        message = parse_message(raw)
        check(message)
        assert message.sender.email, commit
        assert message.date, commit
        assert not message.msgid.endswith(".invalid>"), commit


def _text(part: email.message.Message) -> str | None:
    """Return the part's text where its charset is declared correctly and known to both parsers."""
    octets = part.get_payload(decode=True)
    name = part.get_content_charset("utf-8")
    assert isinstance(octets, bytes)
    try:
        return octets.decode(SUPERSETS.get(name, name)).replace("\r\n", "\n")
    except (LookupError, UnicodeDecodeError):
        return None
