"""Test mail that a list has wrapped into a mail of its own."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mail.message import Message
from ingest.mail.parse import parse_message

INNER = b"""From: Ada Byron <ada@example.org>
To: dev@lists.example.org
Subject: [PATCH] fs: change
Date: Mon, 2 Mar 2026 10:15:00 +0100
Message-ID: <inner@example.org>
In-Reply-To: <cover@example.org>

Text.
"""
LIST = "Ada Byron via Dev <dev@lists.example.org>"


def wrap(
    inner: bytes = INNER,
    *,
    sender: str = LIST,
    subject: str = "[PATCH] fs: change",
    date: str = "Mon, 2 Mar 2026 10:15:00 +0100",
    msgid: str = "outer@lists.example.org",
    list_id: str = "dev.lists.example.org",
    content: bytes | None = None,
) -> bytes:
    """Return the mail of a list around `inner`. `content`: from its Content-Type on, if another."""
    header = f"""Received: from a by b; Mon, 2 Mar 2026 09:20:00 +0000
From: {sender}
Subject: {subject}
Date: {date}
Message-ID: <{msgid}>
List-Id: <{list_id}>
MIME-Version: 1.0
"""
    return header.encode() + (content or b"Content-Type: message/rfc822\n\n" + inner)


def multipart(*parts: bytes) -> bytes:
    body = b"".join(b"--b\n" + part + b"\n" for part in parts)
    return b'Content-Type: multipart/mixed; boundary="b"\n\n' + body + b"--b--\n"


MAIL = b"Content-Type: message/rfc822\n\n" + INNER
FOOTER = b"Content-Type: text/plain\n\n____\nDev mailing list\n"
ENCODED = (
    b"Content-Type: MESSAGE/RFC822; name=x\nContent-Transfer-Encoding: BASE64\n\n"
    + base64.encodebytes(INNER.replace(b"\n", b"\r\n"))
)

WRAPPED = {
    "plain": wrap(),
    "crlf": wrap().replace(b"\n", b"\r\n"),
    "without-via": wrap(sender="dev@lists.example.org"),
    "via-without-address": wrap(sender="Ada Byron via Dev <noreply@lists.example.org>"),
    "tag-in-subject": wrap(subject="[Dev] [PATCH] fs: change"),
    "folded-subject": wrap(subject="=?utf-8?q?=5BPATCH=5D?=\n fs: change"),
    "date-in-another-zone": wrap(date="Mon, 2 Mar 2026 09:15:00 +0000"),
    "footer": wrap(content=multipart(MAIL, FOOTER)),
    "header-and-footer": wrap(content=multipart(FOOTER, MAIL, FOOTER)),
    "without-content-type-of-footer": wrap(content=multipart(MAIL, b"\n____\n")),
    "encoded": wrap(content=ENCODED),
    "encoded-with-footer": wrap(content=multipart(ENCODED, FOOTER)),
    "quoted-printable": wrap(
        content=b"Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\n"
        + INNER.replace(b"=", b"=3D").replace(b"Text.", b"T=65xt.")
    ),
    "mbox-line-within": wrap(b">From x Mon Mar  2 2026\n" + INNER),
}


def facts(message: Message) -> tuple[object, ...]:
    return (
        message.msgid,
        message.subject,
        message.sender.email,
        message.in_reply_to,
        [(part.text, part.nested) for part in message.parts],
        [name.list_id for name in message.lists],
    )


@pytest.mark.parametrize("name", WRAPPED)
def test_the_message_is_the_mail_within(name: str) -> None:
    message = parse_message(WRAPPED[name])
    inner = parse_message(INNER)
    assert message.wrapper is not None
    assert message.wrapper.msgids == ("<outer@lists.example.org>",)
    assert facts(message) == (*facts(inner)[:-1], ["dev.lists.example.org"])
    assert str(message.received) == "2026-03-02 09:20:00"
    assert message.defects == ()


NOT_WRAPPED = {
    "forward": wrap(sender="Bob <bob@example.com>", subject="Fwd: [PATCH] fs: change"),
    "own-from": wrap(sender="Bob <bob@example.com>"),
    "other-subject": wrap(subject="Held: [PATCH] fs: change"),
    "shorter-subject": wrap(subject="fs: change"),
    "other-date": wrap(date="Mon, 2 Mar 2026 10:16:00 +0100"),
    "same-from": wrap(INNER.replace(b"ada@example.org", b"Dev@lists.example.org")),
    "two-mails": wrap(content=multipart(MAIL, MAIL)),
    "digest": wrap(content=multipart(MAIL).replace(b"mixed", b"digest")),
    "other-content": wrap(content=multipart(MAIL, b"Content-Type: image/png\n\nx\n")),
    "no-mail": wrap(b"Text without header.\n"),
    "not-wrapped": wrap(content=b"Content-Type: text/plain\n\n" + INNER),
}


@pytest.mark.parametrize("name", NOT_WRAPPED)
def test_what_is_no_wrapper_is_the_message_itself(name: str) -> None:
    message = parse_message(NOT_WRAPPED[name])
    assert message.wrapper is None
    assert message.msgid == "<outer@lists.example.org>"


def test_a_wrapper_within_a_wrapper() -> None:
    again = wrap(
        wrap(), sender="Ada via Other <o@other.example>", msgid="o@x", list_id="o.other.example"
    )
    message = parse_message(again)
    assert facts(message)[:3] == facts(parse_message(INNER))[:3]
    assert message.wrapper is not None
    assert set(message.wrapper.msgids) == {"<outer@lists.example.org>", "<o@x>"}
    assert [name.list_id for name in message.lists] == ["dev.lists.example.org", "o.other.example"]


def test_a_mail_without_an_id_has_that_of_its_wrapper() -> None:
    message = parse_message(wrap(INNER.replace(b"Message-ID: <inner@example.org>\n", b"")))
    assert message.msgid == "<outer@lists.example.org>"
    assert message.wrapper is not None
    assert message.wrapper.msgids == ()
    assert message.sender.email == "ada@example.org"


def test_our_servers_have_not_written_into_the_mail_within() -> None:
    forged = b"Authentication-Results: mx.example.org; dkim=pass\n"
    message = parse_message(wrap(forged + INNER))
    assert message.header("Authentication-Results") is not None
    assert "Authentication-Results" not in dict(message.server_headers)


def test_wrappers_are_removed_up_to_a_bound() -> None:
    raw = INNER
    for number in range(50):
        raw = wrap(raw, sender=f"A via L <l{number}@x.example>", msgid=f"{number}@x")
    message = parse_message(raw)
    assert message.wrapper is not None
    assert message.msgid == "<46@x>"
    assert len(message.wrapper.msgids) == 3


@given(st.binary(max_size=200), st.sampled_from([b"", MAIL, INNER]))
def test_any_content_gives_a_message(noise: bytes, inner: bytes) -> None:
    for content in (multipart(noise, inner), b"Content-Type: message/rfc822\n\n" + noise + inner):
        assert parse_message(wrap(content=content)).msgid
