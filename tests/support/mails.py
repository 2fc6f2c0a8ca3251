"""Build mail for tests: patches, covers and replies.

The people, lists and changes are invented; each builder returns the raw bytes of one mail.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from sqlalchemy import Connection, Engine, event, func, select

from ingest.config.settings import Config
from ingest.model import Delivery
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import StoreResult, store_again, store_mail
from ingest.reports.export import export_records
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.deliveries import read_deliveries
from ingest.store.read.messages import stream_message_ids

ADA = "Ada Byron <ada@example.org>"
BOB = "Bob Tester <bob@example.com>"
LIST = "dev.lists.example.org"
# Authentication-Results of our own mail server, and of another one.
OURS = "Authentication-Results: mx.example.org; dkim=pass header.d=example.org; spf=fail"
OTHERS = "Authentication-Results: mx.example.net; dkim=pass header.d=evil.example"
START = datetime(2026, 3, 2, 10, 15)
NOW = datetime(2026, 6, 1)  # the time of arrival, which no record may contain


def mail(
    msgid: str,
    subject: str,
    body: str,
    *,
    sender: str = ADA,
    date: datetime = START,
    answers: str | None = None,
    references: Sequence[str] = (),
    list_id: str | None = LIST,
    headers: Sequence[str] = (),
) -> bytes:
    """Return one mail. `msgid`, `answers` and `references` are without angle brackets."""
    lines = [
        *headers,
        f"From: {sender}",
        "To: dev@lists.example.org",
        f"Subject: {subject}",
        f"Date: {format_datetime(date.replace(tzinfo=UTC))}",
        f"Message-ID: <{msgid}>",
    ]
    if list_id is not None:
        lines.append(f"List-Id: The developers <{list_id}>")
    if answers is not None:
        lines.append(f"In-Reply-To: <{answers}>")
        lines.append(f"References: {' '.join(f'<{msgid}>' for msgid in (*references, answers))}")
    lines += ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"]
    return ("\n".join((*lines, "", body)).rstrip("\n") + "\n").encode()


def diff(name: str = "f", word: str = "new") -> str:
    """Return a change of one line of the file `name`, as git writes it: it applies to
    `content()`."""
    return (
        f" {name}.c | 2 +-\n 1 file changed, 1 insertion(+), 1 deletion(-)\n\n"
        f"diff --git a/{name}.c b/{name}.c\n"
        "index 1111111..2222222 100644\n"
        f"--- a/{name}.c\n+++ b/{name}.c\n"
        "@@ -1,3 +1,3 @@\n one\n-two\n"
        f"+{word}\n three\n-- \n2.39.5\n"
    )


def content() -> str:
    """Return the content of the files that `diff` changes."""
    return "one\ntwo\nthree\n"


def patch_body(text: str = "Say why.", *, name: str = "f", word: str = "new") -> str:
    return f"{text}\n\nSigned-off-by: {ADA}\n---\n{diff(name, word)}"


def patch(
    msgid: str = "p@example.org", subject: str = "[PATCH] fs: change", **more: object
) -> bytes:
    """Return a patch by itself. `name` and `word` determine what its diff changes."""
    name, word = str(more.pop("name", "f")), str(more.pop("word", "new"))
    return mail(msgid, subject, patch_body(name=name, word=word), **more)  # type: ignore[arg-type]


def series(
    stem: str,
    total: int,
    *,
    version: int = 1,
    cover: bool = True,
    threaded: bool = True,
    start: datetime = START,
    sender: str = ADA,
    headers: Sequence[str] = (),
) -> list[bytes]:
    """Return a posting of `git send-email`: the cover first, the patches in reply to it."""
    mark = "PATCH" if version == 1 else f"PATCH v{version}"
    mails = []
    if cover:
        body = "What this is about.\n\nAda Byron (2):\n  one\n  two\n\n f.c | 2 +-\n"
        subject = f"[{mark} 0/{total}] {stem}: improve all"
        mails.append(
            mail(f"{stem}-0@example.org", subject, body, date=start, sender=sender, headers=headers)
        )
    first = 0 if cover else 1
    for number in range(1, total + 1):
        answers = f"{stem}-{first}@example.org" if threaded and number > first else None
        mails.append(
            mail(
                f"{stem}-{number}@example.org",
                f"[{mark} {number}/{total}] {stem}: step {number}",
                patch_body(name=f"{stem}{number}", word=f"v{version}"),
                date=start + timedelta(seconds=number),
                answers=answers,
                sender=sender,
                headers=headers,
            )
        )
    return mails


def reply(
    msgid: str, to: str, text: str = "Looks good.", *, sender: str = BOB, minutes: int = 60
) -> bytes:
    """Return a reply to a mail, with a quotation."""
    body = f"On Monday Ada Byron wrote:\n> Say why.\n\n{text}\n"
    return mail(
        msgid, "Re: fs: change", body, sender=sender, answers=to,
        date=START + timedelta(minutes=minutes),
    )  # fmt: skip


def little_archive(postings: int = 8) -> list[bytes]:
    """Return some postings of several forms with their reviews."""
    mails = []
    for number in range(postings):
        stem = f"s{number}"
        start = START + timedelta(days=number)
        mails += series(
            stem,
            2 + number % 3,
            version=1 + number % 2,
            cover=number % 4 != 3,
            threaded=number % 4 != 2,
            start=start,
        )
        given = f"Looks good.\n\nReviewed-by: {BOB}"
        mails.append(reply(f"{stem}-r@example.com", f"{stem}-1@example.org", given))
        mails.append(reply(f"{stem}-q@example.com", f"{stem}-r@example.com", "Thanks.", sender=ADA))
        mails.append(
            mail(f"{stem}-o@example.org", f"Meeting {number}", "Shall we meet?", date=start)
        )
    return mails


def mbox(mails: Sequence[bytes]) -> bytes:
    """Return the mails as an mboxrd."""
    quoted = []
    for raw in mails:
        lines = [
            b">" + line if line.lstrip(b">").startswith(b"From ") else line
            for line in raw.split(b"\n")
        ]
        quoted.append(b"From ada@example.org Mon Mar  2 10:15:00 2026\n" + b"\n".join(lines))
    return b"\n".join(quoted) + b"\n"


# --- stores -----------------------------------------------------------------------------------


def delivery(raw: bytes, **more: object) -> Delivery:
    return Delivery(raw=raw, sha256=hashlib.sha256(raw).digest(), source="test", **more)  # type: ignore[arg-type]


def store(
    engine: Engine, mails: Sequence[bytes | Delivery], config: Config | None = None
) -> StoreResult:
    """Store these mails in one transaction."""
    with write_transaction(engine) as connection:
        return store_in(connection, mails, config)


def store_in(
    connection: Connection, mails: Sequence[bytes | Delivery], config: Config | None = None
) -> StoreResult:
    """Store these mails in the caller's transaction."""
    config = config or Config()
    given = [mail if isinstance(mail, Delivery) else delivery(mail) for mail in mails]
    derived = [(item, derive_or_fail(item, config)) for item in given]
    return store_mail(connection, derived, config, now=NOW)


def exported(engine: Engine) -> str:
    """Return the whole canonical export."""
    with engine.connect() as connection:
        return "".join(export_records(connection))


def row_counts(engine: Engine) -> dict[str, int]:
    """Return the number of rows of every table."""
    with engine.connect() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in schema.metadata.sorted_tables
        }


@contextmanager
def written(engine: Engine) -> Iterator[set[str]]:
    """Collect the tables to which rows are written. Bulk statements of twenty rows or more, which
    bypass SQLAlchemy, are not seen."""
    tables: set[str] = set()

    def see(_: object, cursor: Any, statement: str, *__: object) -> None:
        found = re.match(r'(?:INSERT INTO|UPDATE|DELETE FROM) "?(\w+)', statement)
        if found and cursor.rowcount != 0:
            tables.add(found[1])

    event.listen(engine, "after_cursor_execute", see)
    try:
        yield tables
    finally:
        event.remove(engine, "after_cursor_execute", see)


def list_message_ids(connection: Connection, outcome: Outcome | None = None) -> list[int]:
    """Return the ids of all messages, or of those with an outcome, sorted by Message-ID."""
    batches = stream_message_ids(connection, outcome=outcome)
    return [message_id for batch in batches for message_id in batch]


def clear(engine: Engine) -> None:
    """Empty every table: cheaper than another store for the next example."""
    with write_transaction(engine) as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(table.delete())


def rederive(connection: Connection, mail_ids: Sequence[int], config: Config) -> StoreResult:
    """Derive stored mails again, as a reparse does."""
    read = read_deliveries(connection, mail_ids)
    made = [(mail_id, item, derive_or_fail(item, config)) for mail_id, item in read]
    return store_again(connection, made, config)
