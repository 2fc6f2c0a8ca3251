"""Test that git reads the mails of `ingest.patch.git_am` as their senders meant them."""

from __future__ import annotations

import quopri
from dataclasses import replace
from email import message_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.mail.message import Address, Message, Part
from ingest.mail.parse import parse_message
from ingest.patch.classify import find_patch_part
from ingest.patch.git_am.commit_text import split_commit
from ingest.patch.git_am.git_mail import write_patch_mail, write_text_mail
from ingest.patch.git_am.header_fields import MailField
from ingest.patch.trailers.trailer import Trailer
from ingest.trust.person import find_submitter
from tests.support.git_mailinfo import Reading, read_mails, split_mbox

needs_git = pytest.mark.usefixtures("git_program")

DIFF = b"diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-one\n+two\n"
HEADER = (
    b"From: Ada Byron <ada@Example.ORG>\nSubject: [PATCH] f: x\n"
    b"Date: Mon, 2 Mar 2026 10:15:00 +0530\n"
)


def write(
    raw: bytes, *, trailers: tuple[Trailer, ...] = (), fields: tuple[MailField, ...] = ()
) -> bytes:
    """Return the mail that is written for a mail of one part."""
    message = parse_message(raw)
    sender = find_submitter(message).person
    patch = find_patch_part(message, sender)
    assert patch is not None
    commit = split_commit(patch, message.parts)
    return write_patch_mail(message, commit, sender=sender, trailers=trailers, fields=fields)


def write_attached(message: Message, attached: Part) -> bytes:
    """Return the mail that is written for a message with an attachment added."""
    message = replace(message, parts=(*message.parts, attached))
    patch = find_patch_part(message, message.sender)
    assert patch is not None
    commit = split_commit(patch, message.parts)
    return write_patch_mail(message, commit, sender=message.sender)


def read(mail: bytes) -> Reading:
    (split,) = split_mbox(mail)
    (reading,) = read_mails([split])
    return reading


def payload(mail: bytes) -> bytes:
    body = message_from_bytes(mail).get_payload(decode=True)
    assert isinstance(body, bytes)
    return body


@needs_git
def test_address_and_date_are_as_the_sender_wrote_them() -> None:
    reading = read(write(HEADER + b"\nWhy.\n---\n" + DIFF))
    assert (reading.email, reading.date) == ("ada@Example.ORG", "Mon, 2 Mar 2026 10:15:00 +0530")
    assert (reading.message, reading.subject) == (b"Why.\n", "f: x")


def test_every_other_header_field_is_kept() -> None:
    more = b"To: a@example.org,\n b@example.org\nCc: c@example.org\nX-Mailer: x\n"
    more += b"Content-Language: de\n"
    mail = write(
        HEADER + more + b"\nWhy.\n---\n" + DIFF, fields=(MailField("X-Patchwork-Id", "7"),)
    )
    head = message_from_bytes(mail)
    assert head["To"] == "a@example.org,\n b@example.org"
    assert (head["Cc"], head["X-Mailer"], head["X-Patchwork-Id"]) == ("c@example.org", "x", "7")
    assert head["Content-Language"] is None


def test_fields_of_another_store_are_replaced() -> None:
    raw = HEADER + b"X-Patchwork-Id: 1\nX-Patchwork-Delegate: eve@example.org\n\nWhy.\n---\n" + DIFF
    head = message_from_bytes(write(raw, fields=(MailField("X-Patchwork-Id", "7"),)))
    assert head.get_all("X-Patchwork-Id") == ["7"]
    assert head["X-Patchwork-Delegate"] is None


@needs_git
@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable"])
def test_the_diff_has_the_bytes_that_were_sent(encoding: str) -> None:
    """The message becomes UTF-8, the diff is unchanged."""
    body = "Für Mira.\n---\n".encode("latin-1") + DIFF.replace(b"two", b"zw\xf6lf")
    sent = quopri.encodestring(body) if encoding == "quoted-printable" else body
    kind = (
        f"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: {encoding}\n\n"
    )
    reading = read(write(HEADER + kind.encode() + sent))
    assert reading.message == "Für Mira.\n".encode()
    assert b"+zw\xf6lf\n" in reading.patch


@needs_git
def test_invalid_bytes_of_a_message_are_read_as_git_commit_reads_them() -> None:
    kind = b"Content-Type: text/plain; charset=utf-8\n\n"
    reading = read(write(HEADER + kind + b"F\xfcr \xc3\x96lsen.\n---\n" + DIFF))
    assert reading.message == "Für Ölsen.\n".encode()


@needs_git
def test_a_changed_file_with_crlf_keeps_it() -> None:
    kind = b"Content-Transfer-Encoding: quoted-printable\n\n"
    diff = DIFF.replace(b"-one\n", b"-one=0D\n").replace(b"+two\n", b"+two=0D\n")
    reading = read(write(HEADER + kind + b"Why.\n---\n" + diff))
    assert b"-one\r\n+two\r\n" in reading.patch
    assert b"--- a/f\n" in reading.patch


@needs_git
def test_what_is_above_scissors_is_cut_off_and_the_fields_below_count() -> None:
    body = b"Hello.\n\n-- >8 --\nFrom: Bob <bob@example.com>\nSubject: [PATCH] g: y\n\nWhy.\n---\n"
    reading = read(write(HEADER + b"\n" + body + DIFF))
    assert (reading.name, reading.subject, reading.message) == ("Bob", "g: y", b"Why.\n")


@needs_git
def test_an_attached_commit_gives_author_date_subject_and_message() -> None:
    message = parse_message(HEADER + b"\nHi, see attached.\n")
    attached = Part(
        "text/x-patch",
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n"
        "From: Bob <bob@example.com>\nDate: Tue, 3 Mar 2026 01:00:00 -0700\n"
        "Subject: [PATCH] g:\n y\n\nWhy.\n---\n" + DIFF.decode(),
        attachment=True,
    )
    reading = read(write_attached(message, attached))
    assert (reading.email, reading.date) == ("bob@example.com", "Tue, 3 Mar 2026 01:00:00 -0700")
    assert (reading.subject, reading.message) == ("g: y", b"Why.\n")


@needs_git
def test_the_text_of_the_mail_is_the_message_of_a_bare_attached_diff() -> None:
    """`git format-patch --attach` sends `---` and the diffstat in the first part."""
    message = parse_message(
        HEADER + b"\nWhy.\n\nSigned-off-by: Ada <ada@example.org>\n---\n f | 2 +-\n"
    )
    attached = Part("text/x-patch", DIFF.decode(), attachment=True)
    reading = read(write_attached(message, attached))
    assert reading.message == b"Why.\n\nSigned-off-by: Ada <ada@example.org>\n"
    assert reading.patch.startswith(b"---\n f | 2 +-\n")
    assert DIFF in reading.patch


@needs_git
def test_text_behind_the_diff_is_no_part_of_the_message() -> None:
    reading = read(write(HEADER + b"\nWhy.\n\n" + DIFF + b"\n--\ndev mailing list\n"))
    assert reading.message == b"Why.\n\n"


def test_trailers_are_added_below_the_messages_own_and_once() -> None:
    own = Trailer("Reviewed-by", "Bob <bob@example.com>")
    new = Trailer("Acked-by", "Carl <carl@example.net>")
    body = b"Why.\n\nReviewed-by: Bob <bob@Example.com>\n---\nv2: changed\n"
    mail = write(HEADER + b"\n" + body + DIFF, trailers=(own, new))
    assert (
        b"Why.\n\nReviewed-by: Bob <bob@Example.com>\nAcked-by: Carl <carl@example.net>\n---\nv2: c"
        in mail
    )


def test_a_trailer_below_the_line_is_not_the_messages_own() -> None:
    trailer = Trailer("Reviewed-by", "Bob <bob@example.com>")
    body = b"Why.\n---\nv2: Reviewed-by: Bob <bob@example.com>\n"
    mail = write(HEADER + b"\n" + body + DIFF, trailers=(trailer,))
    assert b"Why.\n\nReviewed-by: Bob <bob@example.com>\n---\n" in mail


@needs_git
@pytest.mark.parametrize(
    ("field", "name"),
    [
        (b'From: "ada@home via Dev" <ada@example.org>', "ada at home via Dev"),
        (b"From: =?utf-8?q?J=C3?= =?utf-8?q?=B6rg?= <ada@example.org>", "Jörg"),
        (b"From: Ada <ada@example.org>\nFrom: Eve <eve@example.org>", "Ada"),
    ],
)
def test_a_from_that_git_misreads_is_corrected(field: bytes, name: str) -> None:
    raw = field + HEADER[HEADER.index(b"\n") :] + b"\nWhy.\n---\n" + DIFF
    reading = read(write(raw))
    assert (reading.name, reading.email) == (name, "ada@example.org")


def test_a_message_without_date_has_none_and_a_message_id() -> None:
    message = parse_message(b"From: Ada <ada@example.org>\nSubject: [PATCH] f\nDate: never\n\nx\n")
    head = message_from_bytes(write_text_mail(message, "x\n", sender=message.sender))
    assert head["Date"] is None
    assert head["Message-ID"] == message.msgid


LINES = st.sampled_from(
    [b"", b"Why.", b"From ada@example.org Mon Mar  2 10:15:00 2026", b">From x", b"---", b"--- ",
     b"--- a/x", b"-- >8 --", b"From: B <b@example.org>", b"Subject: y", b"Acked-by: B <b@c.org>",
     b"f\xc3\xbcr", b"f\xfcr", b"a\rb", b"=3D=", b"x " * 600, b"trailing  ", b".", b"\t", b"a\0b",
     b"diff is prose", b"Index: f", *DIFF.split(b"\n")]
)  # fmt: skip
BODIES = st.lists(LINES | st.binary(max_size=12), max_size=20).map(b"\n".join)
KINDS = st.sampled_from(
    [b"", b"Content-Type: text/plain; charset=utf-8\n",
     b"Content-Type: text/plain; charset=koi8-r\n",
     b"Content-Type: text/x-patch\nContent-Disposition: attachment\n",
     b"Content-Type: text/plain; format=flowed\n", b"Content-Transfer-Encoding: quoted-printable\n",
     b"Content-Type: text/plain; charset=utf-16le\n"]
)  # fmt: skip


@needs_git
@settings(max_examples=150, deadline=None)
@given(kind=KINDS, body=BODIES, fields=st.lists(LINES, max_size=3).map(b"\n".join))
def test_any_patch_mail_is_one_mail_with_the_patch_of_its_part(
    kind: bytes, body: bytes, fields: bytes
) -> None:
    raw = HEADER + kind + (fields + b"\n" if fields.strip() else b"") + b"\n" + body + b"\n" + DIFF
    message = parse_message(raw)
    patch = find_patch_part(message, message.sender)
    if patch is None:
        return
    commit = split_commit(patch, message.parts)
    mail = write_patch_mail(message, commit, sender=message.sender)
    assert payload(mail).rstrip(b"\n").endswith(commit.patch.rstrip(b"\n"))
    reading = read(mail)
    assert reading.patch.rstrip(b"\n") == commit.patch.rstrip(b"\n")
    if not commit.fields and not _has_fields(message, commit.message):
        assert (reading.email, reading.subject) == ("ada@Example.ORG", "f: x")
        assert reading.message.strip() == commit.message.encode().strip()


def _has_fields(message: Message, text: str) -> bool:
    """Tell whether git finds header fields in the body, or others than those of `HEADER`."""
    starts = ("From", ">From", "Subject:", "Date:", "[PATCH]")
    is_odd = message.sender != Address("Ada Byron", "ada@Example.ORG")
    return is_odd or text.lstrip().startswith(starts) or len(message.values.get("subject", ())) > 1
