"""Test each habit of rewriting From, who is behind it, and mail that was not rewritten."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.mail.message import Address
from ingest.mail.parse import parse_message
from ingest.trust.from_munging import (
    MungingStyle,
    PersonSource,
    UnmungedFrom,
    looks_munged,
    undo_munging,
)
from ingest.trust.person import find_submitter
from tests.support import mails

ADA = Address("Ada Byron", "ada@example.org")
DEV = "dev@lists.example.org"  # the list of `tests.support.mails`


def found(
    sender: str, *headers: str, body: str = "y", list_id: str = mails.LIST
) -> UnmungedFrom | None:
    raw = mails.mail("a@x", "[PATCH] x", body, sender=sender, headers=headers, list_id=list_id)
    return undo_munging(parse_message(raw))


HABITS: dict[str, tuple[str, list[str], str, MungingStyle, PersonSource]] = {
    "Mailman": (
        f"Ada Byron via Dev <{DEV}>",
        ["Reply-To: Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Mailman, bare Reply-To": (
        f"Ada Byron via Dev <{DEV}>",
        ["Reply-To: ada@example.org"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Mailman of lists.gnu.org": (
        f"Ada Byron via <{DEV}>",
        ["Reply-To: Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Mailman, Reply-To has list and author": (
        f"Ada Byron via Dev <{DEV}>",
        [f"Reply-To: Dev <{DEV}>, Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Mailman, the author wants answers elsewhere too": (
        f"Ada Byron via Dev <{DEV}>",
        ["Reply-To: Team <team@example.org>, Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Mailman, answers go to the list": (
        f"Ada Byron via Dev <{DEV}>",
        [f"Reply-To: {DEV}", "Cc: Bob <bob@example.com>, Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.CC,
    ),
    "Mailman, encoded name": (
        f"=?utf-8?q?Ada_Byron_via_Dev?= <{DEV}>",
        ["Reply-To: =?utf-8?q?Ada_Byron?= <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Google Groups": (
        f"\"'Ada Byron' via dev\" <{DEV}>",
        ["X-Original-Sender: ada@example.org", "X-Original-From: Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.ORIGINAL_FROM,
    ),
    "Google Groups, the address alone": (
        f"\"'Ada Byron' via dev\" <{DEV}>",
        ["X-Original-Sender: ada@example.org", f"Reply-To: {DEV}"],
        "y",
        MungingStyle.LIST,
        PersonSource.ORIGINAL_SENDER,
    ),
    "mlmmj": (
        "Ada Byron <dev@mlmmj.example.net>",
        ["X-Mailinglist: dev@mlmmj.example.net", "Reply-To: Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "a list that keeps Sender": (
        f"Ada Byron <{DEV}>",
        ["Sender: ada@EXAMPLE.net"],
        "y",
        MungingStyle.LIST,
        PersonSource.SENDER,
    ),
    "LISTSERV": (
        "Ada Byron <00000123abcd4567-dmarc-request@listserv.example.net>",
        ["Reply-To: Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Sympa": (
        f'"Ada Byron (via dev Mailing List)" <{DEV}>',
        ["X-Original-From: Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.ORIGINAL_FROM,
    ),
    "Sympa, Reply-To": (
        f'"Ada Byron (via dev Mailing List)" <{DEV}>',
        ["Reply-To: ada@example.org"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Sympa, name and address": (
        f'"Ada Byron (ada@example.org)" <{DEV}>',
        ["Reply-To: ada@example.org"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Mailman 3, the envelope's sender": (
        f"Ada Byron via Dev <{DEV}>",
        [f"Reply-To: {DEV}", "X-MailFrom: ada@example.org"],
        "y",
        MungingStyle.LIST,
        PersonSource.MAIL_FROM,
    ),
    "Exchange": (
        f"Dev on behalf of Ada Byron <{DEV}>",
        ["Sender: Ada Byron <ada@example.org>"],
        "y",
        MungingStyle.LIST,
        PersonSource.SENDER,
    ),
    "ezmlm": (
        "Ada Byron via dev <dev@demo.example.net>",
        ["Delivered-To: mailing list dev@demo.example.net", "Reply-To: ada@example.org"],
        "y",
        MungingStyle.LIST,
        PersonSource.REPLY_TO,
    ),
    "Yahoo Groups": (
        '"Ada Byron ada@example.org [dev]" <dev-noreply@yahoogroups.com>',
        ["Mailing-List: list dev@yahoogroups.com; contact x@y", "X-Original-From: ada@example.org"],
        "y",
        MungingStyle.LIST,
        PersonSource.ORIGINAL_FROM,
    ),
    "groups.io": (
        "Ada Byron via groups.io <ada=example.org@groups.io>",
        ["Reply-To: dev@groups.io"],
        "y",
        MungingStyle.ENCODED,
        PersonSource.ADDRESS,
    ),
    "groups.io at a domain of the list's": (
        "Ada Byron via lists.example.org <ada=example.org@lists.example.org>",
        [],
        "y",
        MungingStyle.ENCODED,
        PersonSource.ADDRESS,
    ),
    "groups.io without via": (
        "Ada Byron <ada=example.org@lists.example.org>",
        ["X-Groupsio-MsgNum: 7"],
        "y",
        MungingStyle.ENCODED,
        PersonSource.ADDRESS,
    ),
    "groups.io, Reply-To": (
        "Ada Byron <ada=example.org@lists.example.org>",
        ["Reply-To: ada@example.org"],
        "y",
        MungingStyle.ENCODED,
        PersonSource.ADDRESS,
    ),
    "FreeLists": (
        'Ada Byron <dmarc-noreply@lists.example.org> (Redacted sender "ada@example.org" for DMARC)',
        [],
        "y",
        MungingStyle.LIST,
        PersonSource.ADDRESS,
    ),
    "Google Groups, a copy by another list": (
        "\"'Ada Byron' via dev\" <dev@googlegroups.com>",
        ["X-Original-Sender: ada@example.org"],
        "y",
        MungingStyle.LIST,
        PersonSource.ORIGINAL_SENDER,
    ),
    "IETF": (
        "Ada Byron <ada=40example.org@dmarc.example.org>",
        [],
        "y",
        MungingStyle.ENCODED,
        PersonSource.ADDRESS,
    ),
    "Apache": (
        "Ada Byron <ada@example.org.INVALID>",
        [],
        "y",
        MungingStyle.SUFFIX,
        PersonSource.ADDRESS,
    ),
    "b4's relay": (
        "Ada Byron via B4 Relay <devnull+ada.example.org@relay.example.net>",
        ["X-Original-From: Ada Byron <ada@example.org>", "Reply-To: bob@example.com"],
        "y",
        MungingStyle.RELAY,
        PersonSource.ORIGINAL_FROM,
    ),
    "b4's relay, Reply-To": (
        "Ada Byron via B4 Relay <devnull+ada.example.org@relay.example.net>",
        ["Reply-To: ada@example.org"],
        "y",
        MungingStyle.RELAY,
        PersonSource.REPLY_TO,
    ),
    "b4's relay, in the body": (
        "Ada Byron via B4 Relay <devnull+ada.example.org@relay.example.net>",
        [],
        "From: Ada Byron <ada@example.org>\n\nSay why.",
        MungingStyle.RELAY,
        PersonSource.IN_BODY,
    ),
}


@pytest.mark.parametrize("habit", HABITS)
def test_the_person_behind(habit: str) -> None:
    sender, headers, body, rewriting, person_source = HABITS[habit]
    person = Address("Ada Byron", "ada@EXAMPLE.net") if "keeps Sender" in habit else ADA
    assert found(sender, *headers, body=body) == UnmungedFrom(person, rewriting, person_source)


def test_sourcehut() -> None:
    given = found("~ada <ada@git.sr.ht>", "Reply-To: ~ada <ada@example.org>")
    assert given == UnmungedFrom(
        Address("~ada", "ada@example.org"), MungingStyle.HOST, PersonSource.REPLY_TO
    )


@pytest.mark.parametrize(
    ("sender", "headers", "body"),
    [
        # Nobody becomes another person by a name, or by the text of the mail.
        ("Ada Byron <eve@example.net>", ["Reply-To: Ada Byron <ada@example.org>"], "y"),
        ("Ada Byron <eve@example.net>", ["Sender: ada@example.org"], "y"),
        ("Ada Byron <eve@example.net>", ["X-Original-From: ada@example.org"], "y"),
        ("Ada Byron <eve@example.net>", ["X-Original-Sender: ada@example.org"], "y"),
        ("Ada Byron <eve@example.net>", ["Cc: Ada Byron <ada@example.org>"], "y"),
        ("Eve <eve@example.net>", [], "From: Ada Byron <ada@example.org>\n\ny"),
        ("ada <ada@git.sr.ht>", ["Reply-To: ada@example.org"], "y"),
        ("~ada <eve@git.sr.ht>", ["Reply-To: ada@example.org"], "y"),
        ("~ada <ada@example.net>", ["Reply-To: ada@example.org"], "y"),
        # An address that encodes another, at an organisation without a relation to the list.
        ("Ada <ada=40example.org@evil.example.net>", [], "y"),
        ("Ada <ada=40example@dmarc.example.org>", [], "y"),
        # Addresses of people and robots, with signs in them.
        ("Ada <ada=work.example@example.org>", [], "y"),
        ("Ada <ada+work=example.org@example.org>", ["Reply-To: ada@example.net"], "y"),
        ("Robot <bounce=40=x@example.org>", [], "y"),
        ("Ada <dmarc-noreply@evil.example.net> (Redacted sender a@b.c for DMARC)", [], "y"),
        ("Ada on behalf of Dev <eve@example.net>", ["Sender: Ada <ada@example.org>"], "y"),
        ("Ada on behalf of Dev <eve@example.net>", ["Sender: Eve <x@example.net>"], "y"),
        ("Ada <ada@example.invalid>", [], "y"),
        ("Viable <viable@example.net>", ["Reply-To: ada@example.org"], "y"),
    ],
)
def test_from_stands(sender: str, headers: list[str], body: str) -> None:
    assert found(sender, *headers, body=body) is None


@pytest.mark.parametrize(
    ("sender", "headers", "rewriting"),
    [
        # The relay's address names another person than the one who is claimed.
        (
            "Eve via B4 Relay <devnull+eve.example.net@relay.example.net>",
            ["X-Original-From: Ada Byron <ada@example.org>", "Reply-To: ada@example.org"],
            MungingStyle.RELAY,
        ),
        # Two in Cc have that name, or the one who has it was not put there by the list.
        (
            f"Ada Byron via Dev <{DEV}>",
            [f"Reply-To: {DEV}", "Cc: Ada Byron <ada@example.org>, Ada Byron <eve@example.net>"],
            MungingStyle.LIST,
        ),
        (
            f"Ada Byron via Dev <{DEV}>",
            ["Cc: Ada Byron <ada@example.org>"],
            MungingStyle.LIST,
        ),
        # Several to answer, none of them of that name.
        (
            f"Ada Byron via Dev <{DEV}>",
            ["Reply-To: Eve <eve@example.net>, Bob <bob@example.com>"],
            MungingStyle.LIST,
        ),
        (f"Ada Byron via Dev <{DEV}>", [], MungingStyle.LIST),
        (f"Ada via Dev <{DEV}>", ["Sender: dev-bounces@lists.example.org"], MungingStyle.LIST),
        (f"Ada via Dev <{DEV}>", ["Sender: dev-bounces@other.example.net"], MungingStyle.LIST),
        (f"Ada via Dev <{DEV}>", ["Sender: server@mail.example.org"], MungingStyle.LIST),
        (f"<{DEV}>", ["Reply-To:"], MungingStyle.LIST),
        (f"Ada via Dev <{DEV}>", ["X-MailFrom: dev-bounces@example.net"], MungingStyle.LIST),
        (f"Ada via Dev <{DEV}>", ["X-MailFrom: srs0=ab=example.org@x.net"], MungingStyle.LIST),
        (
            "Ada via evil <ada=example.org@evil.example.net>",
            ["X-Groupsio-MsgNum: 7"],
            MungingStyle.NAME_ONLY,
        ),
        ("Eve via List <eve@example.net>", ["Reply-To: ada@example.org"], MungingStyle.NAME_ONLY),
        ("~ada <ada@git.sr.ht>", [], MungingStyle.HOST),
    ],
)
def test_who_is_behind_is_not_known(
    sender: str, headers: list[str], rewriting: MungingStyle
) -> None:
    given = found(sender, *headers)
    assert given is not None
    assert (given.rewriting, given.person_source) == (rewriting, None)
    who = find_submitter(parse_message(mails.mail("a@x", "x", "y", sender=sender, headers=headers)))
    assert (who.rewriting, who.person_source) == (rewriting, None)
    assert who.person.email in sender


@pytest.mark.parametrize(
    ("name", "email", "expected"),
    [
        ("Ada", "devnull+ada.example.org@relay.example.net", MungingStyle.RELAY),
        ("Ada", "Dev@lists.example.org", MungingStyle.LIST),
        ("Ada", "other@lists.example.org", MungingStyle.LIST),
        ("Ada", "0000abcd1234-dmarc-request@listserv.example.net", MungingStyle.LIST),
        ("Ada", "ada=40example.org@dmarc.example.net", MungingStyle.ENCODED),
        ("Ada", "ada=example.org@groups.io", MungingStyle.ENCODED),
        ("Ada", "ada=example.org@lists.example.org", MungingStyle.ENCODED),
        ("Ada", "ada=example.org@example.net", None),
        ("Ada", "ada@example.org.invalid", MungingStyle.SUFFIX),
        ("Ada via Dev", "ada@example.org", MungingStyle.NAME_ONLY),
        ("Ada", "ada@example.org", None),
        ("Via Lattea", "via@example.org", None),
        ("", "", None),
    ],
)
def test_people_who_look_like_a_list(name: str, email: str, expected: MungingStyle | None) -> None:
    lists = ["dev.lists.example.org", "other@lists.example.org"]
    assert looks_munged(Address(name, email), lists) is expected


def test_mailman_writes_a_local_part_for_a_missing_name() -> None:
    given = found(f"ada--- via Dev <{DEV}>", "Reply-To: ada@example.org")
    assert given is not None
    assert given.person == Address("", "ada@example.org")


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
@settings(deadline=None)
def test_any_mail_has_a_sender(sender: str, header: str, body: str) -> None:
    raw = "\n".join(
        (
            f"From: {sender}",
            f"Reply-To: {header}",
            f"X-Original-From: {header}",
            f"Cc: {header}",
            f"Sender: {header}",
            f"List-Id: <{header}>",
            "",
            f"From: {body}",
        )
    )
    find_submitter(parse_message(raw.encode("utf-8", "surrogatepass")))
