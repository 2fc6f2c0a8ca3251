"""Read the situations in `fixtures/`: mail written for this project, each with its expected record.

`fixtures/<topic>/<name>.eml` is one mail, `.mbox` several; `<name>.json` says why the record
is right and what it is. See fixtures/README.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ingest.config.settings import Config
from ingest.model import Delivery
from ingest.pipeline.derive import derive
from ingest.pipeline.store import store_mail
from ingest.reports.export import export_records
from ingest.sources.detect import open_source
from ingest.sources.source import RawMail
from tests.support.paths import FIXTURES

NOW = datetime(2026, 6, 1)  # the time of arrival, which no record may contain


@dataclass(frozen=True, slots=True)
class Situation:
    """A situation. `path`: of the mail. The expectation is read on demand."""

    path: Path

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.stem}"

    @property
    def golden(self) -> Path:
        return self.path.with_suffix(".json")

    def mails(self) -> list[bytes]:
        """Return the mails, byte for byte. An .eml is not parsed: it may be anything, or empty."""
        if self.path.suffix == ".eml":
            return [self.path.read_bytes()]
        items = open_source(str(self.path)).read()
        return [item.raw for item in items if isinstance(item, RawMail)]

    def expectation(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.golden.read_text(encoding="utf-8"))
        return loaded

    def write(self, records: list[dict[str, Any]], defects: list[str]) -> None:
        """Rewrite what is expected and keep why.

        An expectation marked as broken has the right record; the mark is removed when that is the
        result.
        """
        kept = self.expectation() if self.golden.exists() else {}
        if "broken" in kept and (records, defects) != (kept["records"], kept.get("defects", [])):
            return
        wanted: dict[str, Any] = {"why": kept.get("why", "TODO: say why this record is right")}
        if defects:
            wanted["defects"] = defects
        wanted["records"] = records
        text = json.dumps(wanted, ensure_ascii=False, indent=2, sort_keys=False)
        self.golden.write_text(text + "\n", encoding="utf-8")


def situations(folder: Path = FIXTURES) -> list[Situation]:
    """Return all situations, sorted by topic and name."""
    found = [*folder.glob("*/*.eml"), *folder.glob("*/*.mbox")]
    return [Situation(path) for path in sorted(found)]


def with_line_ends(raw: bytes, line_end: bytes) -> bytes:
    """Return the mail with all its line ends as `line_end`."""
    return raw.replace(b"\r\n", b"\n").replace(b"\n", line_end)


def records(
    connection: Connection, mails: Sequence[bytes], config: Config, *, at_once: bool = True
) -> tuple[list[dict[str, Any]], list[str]]:
    """Store the mails in the caller's transaction, together or one by one.

    Returns the parsed lines of the export and the names of the mails' defects.
    """
    derived = []
    for raw in mails:
        delivery = Delivery(raw=raw, sha256=hashlib.sha256(raw).digest(), source="test")
        # Not `derive_or_fail`: an error is raised here, with its traceback.
        derived.append((delivery, derive(delivery, config)))
    for batch in [derived] if at_once else [[item] for item in derived]:
        store_mail(connection, batch, config, now=NOW)
    defects = sorted({str(defect) for _, mail in derived for defect in mail.defects})
    return [json.loads(line) for line in export_records(connection)], defects
