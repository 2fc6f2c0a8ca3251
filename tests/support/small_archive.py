"""Build a small archive: series, replies, resends, cross-posts, unthreaded mail; some of it is
signed, and checked by our own mail server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from sqlalchemy import Engine

from ingest.config.settings import Config, TrustConfig
from ingest.replay.replay import replay
from ingest.sources.source import Deletion, RawMail
from ingest.store.database.engine import open_store
from ingest.trust.signatures.dns_answer import Answer
from tests.support.mails import OTHERS, OURS
from tests.support.signing import ED25519, RELAY, RSA, Signer, arc, sign, zone

CONFIG = Config(trust=TrustConfig(authserv_ids=("mx.example.org",)))

_START = datetime(2025, 3, 3, 9, 0, tzinfo=UTC)
_PEOPLE = ("Ada Byron <ada@example.org>", "Bo Li <bo@example.com>", "Cy Or <cy@example.net>")
_LISTS = ("dev.lists.example.org", "net.lists.example.org")

_DEVELOPER = "X-Developer-Signature: v=1; a=ed25519-sha256; t=1741000000; h=from; bh=eA==; b=eA=="

_DIFF = """\
---
 {name}.c | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

diff --git a/{name}.c b/{name}.c
index 1111111..2222222 100644
--- a/{name}.c
+++ b/{name}.c
@@ -1,3 +1,3 @@
 int a;
-int {name}_old;
+int {name}_new;
 int c;
--
2.45.0
"""


def ask(names: Iterable[str]) -> Mapping[str, Answer]:
    """Return the answers of DNS for the keys, one of which is missing."""
    return {name: zone()(name) for name in names}


def mails(series: int = 8) -> list[bytes]:
    """Return about nine mails for each of `series` series, oldest first."""
    found: list[bytes] = []
    for index in range(series):
        who = _PEOPLE[index % 3]
        other = _PEOPLE[(index + 1) % 3]
        at = _START + timedelta(hours=5 * index)
        cover = f"s{index}.0@example.org"
        threaded = index % 4 != 3
        found.append(_mail(cover, who, f"[PATCH v2 0/3] subject {index}", "About it.\n", at, index))
        for number in (1, 2, 3):
            body = (
                f"Change {number}.\n\nSigned-off-by: {who}\nReviewed-by: {other}\n"
                + _DIFF.format(name=f"f{index}n{number}")
                + ("\nbase-commit: " + f"{index:040x}\n" if number == 3 else "")
            )
            raw = _mail(
                f"s{index}.{number}@example.org",
                who,
                f"[PATCH v2 {number}/3] subject {index}: part {number}",
                body,
                at + timedelta(seconds=number),
                index,
                above=cover if threaded else None,
            )
            found.append(_add_authentication(raw, number))
        review = f"s{index}.r@example.org"
        body = f"> Change 1.\n\nGood.\n\nAcked-by: {other}\n"
        subject = f"Re: [PATCH v2 1/3] subject {index}: part 1"
        later = at + timedelta(hours=1)
        found.append(
            _mail(review, other, subject, body, later, index, above=f"s{index}.1@example.org")
        )
        found.append(
            _mail(f"s{index}.t@example.org", who, subject, "Thanks.\n", later, index, above=review)
        )
        found.append(
            _mail(
                f"s{index}.u@example.org", other, "Re: lost", "What?\n", later, index,
                above=f"unseen{index}@example.org",
            )
        )  # fmt: skip
        found.append(_mail(f"s{index}.q@example.org", other, "A question", "Why?\n", later, index))
        found.append(
            _mail(
                f"s{index}.a@example.org", other, f"[PATCH] alone {index}",
                f"Text.\n\nSigned-off-by: {other}\n" + _DIFF.format(name=f"alone{index}"), later,
                index,
            )
        )  # fmt: skip
        # The same mail through the other list: one message, two postings.
        found.append(
            _mail(cover, who, f"[PATCH v2 0/3] subject {index}", "About it.\n", at, index + 1)
        )
    return found


def _add_authentication(raw: bytes, number: int) -> bytes:
    """Return a patch with signatures: the first of a series has two, the second those of a list
    and of a missing key, the third those of a developer's tool and our server's results."""
    match number:
        case 1:
            return sign(sign(raw), ED25519)
        case 2:
            return arc(sign(raw, Signer("gone.example")), RELAY, instance=1)
        case _:
            return f"{OURS}\n{OTHERS}\n{_DEVELOPER}\n".encode() + sign(raw, RSA)


def _mail(
    msgid: str,
    who: str,
    subject: str,
    body: str,
    at: datetime,
    through: int,
    *,
    above: str | None = None,
) -> bytes:
    list_id = _LISTS[through % 2]
    name = list_id.partition(".")[0]
    received = format_datetime(at + timedelta(seconds=9))
    lines = [
        f"Received: from mx.example.org by lists.example.org for {name}; {received}",
        f"Message-ID: <{msgid}>",
        f"From: {who}",
        f"To: {name}@lists.example.org",
        f"Subject: {subject}",
        f"Date: {format_datetime(at)}",
        f"List-Id: <{list_id}>",
        *([f"In-Reply-To: <{above}>", f"References: <{above}>"] if above else []),
    ]
    return ("\n".join(lines) + "\n\n" + body).encode()


class Mails:
    """A source of these items."""

    key = label = "these"
    resumable = False

    def __init__(self, items: Iterable[bytes | RawMail | Deletion]) -> None:
        self._items = [RawMail(item, "") if isinstance(item, bytes) else item for item in items]
        self.total = len(self._items)

    def read(self, after: str | None = None) -> Iterator[RawMail | Deletion]:
        assert after is None
        yield from self._items


def store_of(url: str, items: Iterable[bytes | RawMail | Deletion], config: Config) -> Engine:
    """Replay these items into a new store."""
    engine = open_store(url, create=True)
    replay(engine, Mails(items), config, lookup=ask)
    return engine
