"""Test which lists a recipient means, and that each recipient gets a decision."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select

from ingest.config.settings import Config, ConfiguredList, ServeConfig
from ingest.daemon.acceptor import Acceptor
from ingest.daemon.router import Router
from ingest.smtp.envelope import Accept, Decision, DeliveryReason, Envelope, Reject, TempFail
from ingest.store import schema
from ingest.store.database.engine import open_store
from tests.daemon.test_acceptor import Bytes
from tests.support import mails

A, B = "a.example.org", "b.example.org"
LISTS = (
    ConfiguredList("a", A, "a@example.org", addresses=("both@example.org",)),
    ConfiguredList("b", B, "b@example.org", addresses=("both@example.org",)),
)
CONFIG = Config(
    lists=LISTS, serve=ServeConfig(recipients=("inbox@example.org",), recipient_delimiter="+")
)
OPEN = Config()
UNKNOWN = Reject(DeliveryReason.UNKNOWN_RECIPIENT)


def deliver(
    tmp_path: Path, config: Config, recipients: tuple[str, ...], after: Config | None = None
) -> tuple[list[Decision], list[Decision], list[str]]:
    """Return the decisions at RCPT and at the end of DATA, and the route of the stored mail.
    `after`: the configuration from DATA on."""
    now = [config]
    engine = open_store(f"sqlite:///{tmp_path}/s.db", create=True)
    acceptor = Acceptor(engine)
    gate = Router(lambda: now[0], acceptor)
    asked = [gate.check_recipient(recipient) for recipient in recipients]
    taken = tuple(
        recipient
        for recipient, verdict in zip(recipients, asked, strict=True)
        if isinstance(verdict, Accept)
    )
    now[0] = after or config
    acceptor.start()
    envelope = Envelope(protocol="lmtp", peer="unix", helo="mx", sender="", recipients=taken)
    verdicts = asyncio.run(_deliver(gate, envelope)) if taken else []
    assert acceptor.stop(60)
    with engine.connect() as connection:
        routes = list(connection.execute(select(schema.mail.c.route)).scalars())
    engine.dispose()
    return asked, verdicts, routes


async def _deliver(gate: Router, envelope: Envelope) -> list[Decision]:
    return list(await gate.deliver(envelope, Bytes(mails.patch())))


@pytest.mark.parametrize(
    ("config", "recipients", "asked", "route"),
    [
        (OPEN, ("anybody@example.net",), [Accept()], ""),
        (OPEN, ("x@example.net", "x@example.net"), [Accept(), Accept()], ""),
        (CONFIG, ("a@example.org",), [Accept()], A),
        (CONFIG, ("A@Example.ORG",), [Accept()], A),
        (CONFIG, ("a+tag@example.org",), [Accept()], A),
        (CONFIG, ("both@example.org",), [Accept()], f"{A},{B}"),
        (CONFIG, ("b@example.org", "a@example.org", "b@example.org"), [Accept()] * 3, f"{A},{B}"),
        (CONFIG, ("inbox@example.org",), [Accept()], "*"),
        (CONFIG, ("inbox@example.org", "a@example.org"), [Accept()] * 2, f"*,{A}"),
        (CONFIG, ("nobody@example.org",), [UNKNOWN], None),
        (CONFIG, ("nobody@example.org", "a@example.org"), [UNKNOWN, Accept()], A),
    ],
)
def test_where_mail_to_these_recipients_goes(
    tmp_path: Path,
    config: Config,
    recipients: tuple[str, ...],
    asked: list[Decision],
    route: str | None,
) -> None:
    recipient_decisions, verdicts, routes = deliver(tmp_path, config, recipients)
    assert recipient_decisions == asked
    assert verdicts == [Accept(DeliveryReason.ACCEPTED)] * asked.count(Accept())
    assert routes == ([] if route is None else [route])


@pytest.mark.parametrize(
    ("after", "route"),
    [
        (Config(lists=LISTS[1:]), f"*,{B}"),  # mail accepted at RCPT is stored, and List-Id decides
        (OPEN, ""),
        (CONFIG, f"{A},{B}"),
    ],
)
def test_a_reload_between_recipient_and_mail(tmp_path: Path, after: Config, route: str) -> None:
    recipients = ("a@example.org", "b@example.org")
    recipient_decisions, verdicts, routes = deliver(tmp_path, CONFIG, recipients, after)
    assert recipient_decisions == [Accept(), Accept()]
    assert verdicts == [Accept(DeliveryReason.ACCEPTED)] * 2
    assert routes == [route]


def test_a_refusal_at_the_end_of_data_is_for_every_recipient(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path}/s.db", create=True)
    acceptor = Acceptor(engine)
    assert acceptor.stop(1)
    envelope = Envelope(
        protocol="lmtp", peer="unix", helo="mx", sender="", recipients=("a@x", "b@x", "a@x")
    )
    verdicts = asyncio.run(_deliver(Router(lambda: OPEN, acceptor), envelope))
    assert verdicts == [TempFail(DeliveryReason.STOPPING)] * 3
    engine.dispose()
