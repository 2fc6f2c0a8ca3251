"""Test that a real record of Patchwork's REST API is reproduced from its mail."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from ingest.api.records.serializers import message_json
from ingest.config.file import load_config
from ingest.model import Delivery
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import store_mail
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.read import messages

CONFIG = """
[lists.linux-ext4]
list_id = "linux-ext4.vger.kernel.org"
email = "linux-ext4@vger.kernel.org"
name = "Linux ext4 filesystem development"
"""
# Fields with that server's own ids, URLs and people.
SERVERS_OWN = {"id", "url", "web_url", "mbox", "comments", "checks"}


def _comparable(value: object) -> object:
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items() if key not in SERVERS_OWN}
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return value


def test_the_seed_mail_gives_the_seed_record(seed: Path, tmp_path: Path, database_url: str) -> None:
    raw = subprocess.run(
        [sys.executable, str(seed / "make_eml.py")],
        check=True,
        capture_output=True,
        env={"PYTHONIOENCODING": "utf-8"},
    ).stdout
    wanted = json.loads((seed / "patch-2226024.json").read_text())
    (tmp_path / "ingest.toml").write_text(CONFIG)
    config = load_config(tmp_path / "ingest.toml")
    engine = open_store(database_url, create=True)
    delivery = Delivery(raw=raw, sha256=hashlib.sha256(raw).digest(), source="test")
    with write_transaction(engine) as connection:
        store_mail(
            connection,
            [(delivery, derive_or_fail(delivery, config))],
            config,
            now=datetime(2026, 4, 22),
        )
    with engine.connect() as connection:
        (row,) = messages.read_messages(
            connection, messages.find_by_name(connection, wanted["msgid"])
        )
        given = message_json(connection, row, config, base="http://localhost")
    engine.dispose()

    assert list(given) == list(wanted), "the same fields in the same order"
    assert list(given["headers"].items()) == list(wanted["headers"].items())
    # The cover, which is missing, gives the series its name and its date.
    for series in (*given["series"], *wanted["series"]):
        del series["name"], series["date"]
    assert _comparable(given) == _comparable(wanted)
