"""Make clients of the API without a network, and mail for their stores."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine
from starlette.testclient import TestClient

from ingest.api.app import make_app
from ingest.config.settings import ApiConfig, Config, ConfiguredList
from tests.support import mails

BASE = "https://patches.example.org"
CONFIG = Config(
    lists=(ConfiguredList("dev", mails.LIST, "dev@lists.example.org"),),
    api=ApiConfig(url=BASE, rate=100_000, burst=100_000, public_people=True),
)
GIVEN = f"Good.\n\nReviewed-by: {mails.BOB}"


def client_of(engine: Engine, config: Config = CONFIG) -> TestClient:
    """Return a client of the application over a store."""
    return TestClient(make_app(engine, lambda: config), follow_redirects=False)


MAILS = [
    *mails.series("s", 3),
    *mails.series("t", 2, sender=mails.BOB, start=mails.START + timedelta(days=3)),
    mails.patch("alone@example.org", "[PATCH] fs: change 100%"),
    mails.patch("other@example.org", list_id="other.lists.example.org", name="o"),
    mails.reply("r@example.com", "s-1@example.org", GIVEN),
    mails.reply("c@example.com", "s-0@example.org"),
]
