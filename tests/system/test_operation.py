"""Test that docs/operation.md has all settings, metrics and log fields, and valid snippets."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from ingest.config.file import load_config
from ingest.config.settings import (
    ConfiguredDelegation,
    ConfiguredList,
    ConfiguredMaintainersFile,
    ConfiguredRepository,
    ServeConfig,
    TrustConfig,
)
from ingest.daemon.monitoring.log import MailLine
from ingest.daemon.monitoring.metrics import AcceptMetrics, DeriveMetrics, JobMetrics
from ingest.daemon.monitoring.outcome import DeriveEvent
from ingest.smtp.limits import SessionLimits
from ingest.store import schema
from tests.support.paths import ROOT

TEXT = (ROOT / "docs" / "operation.md").read_text()
# Written by the formatter, and no fields of a mail's line.
ALWAYS = {"time", "level", "logger", "traceback"}
# Of a mail that a listener refuses by itself: `test_what_is_refused_is_logged`.
REFUSED = {"helo", "sender", "recipients"}


def tables(head: str) -> list[list[tuple[str, str]]]:
    """Return the first and second column of each table that begins with this heading."""
    found = []
    for part in TEXT.split(f"\n| {head} |")[1:]:
        rows = re.findall(r"^\| `([^`]+)` \| (.*?) \|", part.partition("\n\n")[0], re.MULTILINE)
        found.append(rows)
    return found


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{re.escape(kind)}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_every_setting_is_there_and_no_other() -> None:
    database, lists, delegation, maintainers_file, repositories, serve, trust = (
        {key for key, _ in table} for table in tables("key")
    )
    assert database == {"database"}
    assert lists == {field.name for field in fields(ConfiguredList)} - {
        *("link_name", "delegation", "maintainers_file", "repositories"),
    }
    assert delegation == {field.name for field in fields(ConfiguredDelegation)}
    assert maintainers_file == {field.name for field in fields(ConfiguredMaintainersFile)}
    assert repositories == {field.name for field in fields(ConfiguredRepository)}
    assert serve == {field.name for field in fields(ServeConfig)}
    assert trust == {field.name for field in fields(TrustConfig)}


def test_the_defaults_are_those_of_the_code(tmp_path: Path) -> None:
    path = tmp_path / "ingest.toml"
    lines = []
    for name, table in zip(("serve", "trust"), tables("key")[5:], strict=True):
        given = {key: value.strip("`") for key, value in table if value != "none"}
        lines += [f"[{name}]", *(f"{key} = {setting}" for key, setting in given.items())]
    path.write_text("\n".join(lines) + "\n")
    assert load_config(path).serve == ServeConfig()
    assert load_config(path).trust == TrustConfig()
    for field in fields(ConfiguredList):
        value = dict(tables("key")[1]).get(field.name)
        if value is not None and not value.startswith("none"):
            assert tuple(ast.literal_eval(value.strip("`"))) == tuple(field.default)


@pytest.mark.parametrize("block", blocks("toml"))
def test_examples_of_the_configuration_can_be_read(tmp_path: Path, block: str) -> None:
    path = tmp_path / "ingest.toml"
    path.write_text(block)
    assert load_config(path).lists


def test_every_metric_is_there_and_no_other() -> None:
    there = {
        (family.name + "_total" * (family.type == "counter"), family.type)
        for metrics in (JobMetrics(), AcceptMetrics(), DeriveMetrics())
        for family in metrics.registry.collect()
    }
    assert set(tables("metric")[0]) == there


def test_every_field_of_the_log_is_there_and_no_other() -> None:
    assert {key for key, _ in tables("field")[0]} == {
        *(field.name for field in fields(MailLine)),
        *ALWAYS,
        *REFUSED,
    }


def test_every_event_of_the_log_is_there_and_no_other() -> None:
    call = re.compile(r'(?:log_event|LOG\.[a-z]+|_log\.[a-z]+|\.log)\(\s*"([a-z-]+)"')
    sources = [*(ROOT / "ingest/daemon").rglob("*.py"), *(ROOT / "ingest/smtp").glob("*.py")]
    named = {name for path in sources for name in call.findall(path.read_text())}
    part = TEXT.partition("Events of the daemon:")[2].partition("## ")[0]
    of_mail = {event.value for event in DeriveEvent} | {"accepted", "deferred", "rejected"}
    documented = set(re.findall(r"`([a-z-]+)`", part))
    assert named | {"connections-delayed"} == documented | (named & of_mail)


@pytest.mark.skipif(shutil.which("postconf") is None, reason="no Postfix: apt install postfix")
def test_postfix_understands_the_snippets(tmp_path: Path) -> None:
    assert len(blocks("master.cf")) == len(blocks("main.cf")) == 2
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\n" + "".join(blocks("main.cf")))
    (tmp_path / "master.cf").write_text("".join(blocks("master.cf")))

    def postconf(option: str) -> str:
        done = subprocess.run(
            ["postconf", "-c", str(tmp_path), option],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        # It warns of unused parameters, such as misspelt ones.
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert "ingest-lmtp_destination_recipient_limit = 50" in postconf("-n")
    assert "ingest-pipe_destination_recipient_limit = 1" in postconf("-n")
    services = postconf("-M").splitlines()
    assert services[0].split()[:5] == ["ingest-lmtp", "unix", "-", "-", "n"]
    assert "lmtp_line_length_limit=0" in postconf("-M")
    assert "ingest-pipe/unix" in postconf("-P") or "user=ingest" in postconf("-M")


def test_the_limits_of_the_snippets_are_within_the_daemons() -> None:
    text = "".join(blocks("main.cf"))
    limits = {key: int(value) for key, value in re.findall(r"^(\S+) = (\d+)$", text, re.MULTILINE)}
    assert 0 < limits["message_size_limit"] <= ServeConfig().max_size
    assert 0 < limits["ingest-lmtp_destination_recipient_limit"] <= ServeConfig().max_recipients
    assert limits["lmtp_line_length_limit"] == 0


def test_the_backups_section_decides_on_every_table() -> None:
    """Each is named once: as one that `ingest reparse` writes again, or as one that cannot be
    restored."""
    section = TEXT.partition("\n## Backups\n")[2].partition("\n## ")[0]
    derived, _, kept = section.partition("Nothing can derive these again:")
    again = re.findall(r"`([a-z_]+)`", derived.partition("from `mail`:")[2])
    rows = re.findall(r"^\| (`.*?) \|", kept, re.MULTILINE)
    original = re.findall(r"`([a-z_]+)`", " ".join(rows))
    assert sorted([*again, *original]) == sorted(schema.metadata.tables)
    assert {"override", "check", "account", "pin", "event", "webhook", "answer"} <= set(original)


def test_the_limit_of_recipients_is_what_the_documents_say() -> None:
    wire = (ROOT / "docs" / "wire.md").read_text()
    limit = ServeConfig().max_recipients
    assert SessionLimits().recipients == limit
    said = re.findall(r"more recipients than `max_recipients`, ([0-9,]+) unless", wire)
    assert [int(line.replace(",", "")) for line in said] == [limit]
