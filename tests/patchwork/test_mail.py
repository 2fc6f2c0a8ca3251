"""Test the mail that is made of what Patchwork keeps."""

from __future__ import annotations

import pytest

from ingest.api.records.serializers import headers_json
from ingest.config.settings import Config
from ingest.model import Delivery, is_substitute
from ingest.patchwork.mail import make_mail
from ingest.pipeline.derive import derive
from ingest.store.patchwork.rows import MessageContent
from ingest.store.site.numbers import NumberKind
from tests.support import mails


def content(headers: str, text: str, diff: str | None = None) -> MessageContent:
    return MessageContent(
        kind=NumberKind.PATCH, number=1, msgid="<p@example.org>", headers=headers, content=text,
        diff=diff,
    )  # fmt: skip


def deliver(raw: bytes) -> Delivery:
    return mails.delivery(raw)


def test_it_is_the_same_patch_as_the_mail() -> None:
    raw = mails.patch()
    headers, _, body = raw.decode().partition("\n\n")
    before, _, diff = body.partition("diff --git")
    diff = "diff --git" + diff.partition("\n-- \n")[0] + "\n"
    made = make_mail(content(headers, before.rstrip("\n"), diff))
    ours, theirs = derive(deliver(made), Config()), derive(deliver(raw), Config())
    assert ours.diff == theirs.diff
    assert ours.facts.hash == theirs.facts.hash
    assert ours.facts.patch_id == theirs.facts.patch_id
    assert ours.trailers == theirs.trailers
    assert ours.content.rstrip() == theirs.content.rstrip()


def test_an_encoded_body_is_not_decoded_twice() -> None:
    headers = (
        "From: Ada <ada@example.org>\nSubject: [PATCH] fs: é\nMessage-ID: <p@example.org>\n"
        'Content-Type: multipart/mixed;\n boundary="x"\nContent-Transfer-Encoding: base64'
    )
    made = make_mail(content(headers, "Grüße = 50 %"))
    assert made.count(b"\nContent-Type:") == 1
    assert headers_json(made)["Content-Type"] == 'multipart/mixed;\n boundary="x"', "to be shown"
    assert list(headers_json(made))[-1] == "Content-Transfer-Encoding"
    derived = derive(deliver(made), Config())
    assert derived.content.strip() == "Grüße = 50 %"
    assert not [defect for defect in derived.defects if "encoding" in defect]


@pytest.mark.parametrize("headers", ["", "no field\n at all", "Subject: x\n\n\nFrom: y"])
def test_it_has_the_id_whatever_the_headers_are(headers: str) -> None:
    derived = derive(deliver(make_mail(content(headers, "text"))), Config())
    assert derived.facts.msgid == "<p@example.org>"


def test_the_mail_itself_takes_precedence() -> None:
    made = make_mail(content("Subject: x\nMessage-ID: <p@example.org>", "text"))
    own = derive(Delivery(raw=made, sha256=b"x" * 32, source="patchwork"), Config())
    real = derive(Delivery(raw=made, sha256=b"x" * 32, source="replay", withdrawn=True), Config())
    assert is_substitute(own.rank)
    assert not is_substitute(real.rank)
    assert real.rank < own.rank
