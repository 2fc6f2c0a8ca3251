"""The real archive, whole, into both databases: nothing lost, nothing changed, twice the same.

That a second time changes nothing is left to `make torture`.

Diff identities of the same archive are held in patch/test_identity.py.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from ingest.config.settings import Config
from ingest.replay.replay import Summary, reparse, replay
from ingest.sources.detect import open_source
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.inbox import codec as raw_form
from tests.support import mails


def _together(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of one test run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def check_nothing_is_lost(
    archive: Path,
    corpus: list[tuple[str, bytes]],
    database_url: str,
    together: Path,
    *,
    twice: bool,
) -> None:
    """One test for each database, as its parts need the same store; together they hold that
    the two exports are the same bytes."""
    assert len(corpus) == 12_000
    engine = open_store(database_url, create=True)
    source = open_source(str(archive))
    assert source.total == len(corpus)
    done = replay(engine, source, Config())
    assert done == Summary(read=len(corpus), new=len(corpus), known=0, failed=0)

    counts = mails.row_counts(engine)
    assert counts["pending"] == 0
    assert counts["mail"] == len({raw for _, raw in corpus})
    export = mails.exported(engine)
    assert '"outcome": "failed"' not in export
    assert '"outcome": "pending"' not in export
    _check_bytes(engine, corpus)
    _compare_with_the_other(together, engine.dialect.name, export)

    # Again from the checkpoint.
    assert replay(engine, open_source(str(archive)), Config()) == Summary()
    if twice:
        _check_again(engine, archive, len(corpus), counts, export)
    engine.dispose()


def test_the_archive_replays_and_nothing_is_lost(
    archive: Path,
    corpus: list[tuple[str, bytes]],
    database_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    together = _together(tmp_path_factory)
    check_nothing_is_lost(archive, corpus, database_url, together, twice=False)


@pytest.mark.torture
def test_the_archive_replays_twice(
    archive: Path, corpus: list[tuple[str, bytes]], database_url: str, tmp_path: Path
) -> None:
    check_nothing_is_lost(archive, corpus, database_url, tmp_path, twice=True)


def _check_again(
    engine: Engine, archive: Path, total: int, counts: dict[str, int], export: str
) -> None:
    """From the start, and from the raw mail that is kept."""
    again = replay(engine, open_source(str(archive)), Config(), again=True)
    assert again == Summary(read=total, new=0, known=total, failed=0)
    assert mails.row_counts(engine) == counts
    assert mails.exported(engine) == export
    derived = reparse(engine, Config())
    assert (derived.read, derived.failed) == (counts["mail"], 0)
    assert mails.row_counts(engine) == counts
    assert mails.exported(engine) == export


def _check_bytes(engine: Engine, corpus: list[tuple[str, bytes]]) -> None:
    """Each mail comes back byte for byte, and nothing else is there."""
    wanted = {hashlib.sha256(raw).digest(): raw for _, raw in corpus}
    mail = schema.mail.c
    with engine.connect() as connection:
        query = select(mail.sha256, mail.codec, mail.raw, mail.size)
        for sha256, codec, stored, size in connection.execute(query):
            raw = wanted.pop(bytes(sha256))
            assert size == len(raw)
            assert raw_form.unpack(codec, stored, sha256) == raw
        copies = select(schema.copy.c.mail_id)
        ids = select(mail.id)
        assert set(connection.execute(copies).scalars()) == set(connection.execute(ids).scalars())
    assert not wanted


def _compare_with_the_other(folder: Path, dialect: str, export: str) -> None:
    """Each database leaves its export's digest; whichever comes second compares."""
    digest = hashlib.sha256(export.encode()).hexdigest()
    (folder / f"archive-{dialect}.sha256").write_text(digest)
    for path in folder.glob("archive-*.sha256"):
        assert path.read_text() == digest, f"{path.name} is of another export than {dialect}'s"
