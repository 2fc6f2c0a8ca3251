"""Test that an imported site answers what the real Patchwork answered, which was recorded.

`docs/patchwork-differences.md` lists each difference with its reason; so does `DIFFERENCES`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from sqlalchemy import Engine, make_url
from starlette.testclient import TestClient

from ingest.api.app import make_app
from ingest.config.settings import ApiConfig, Config
from ingest.store.database.engine import open_store
from tests.support import postgres, recorded, skips
from tests.support.command import ingest_ok
from tests.support.paths import ROOT, SHARED
from tests.support.postgres import fresh

LIVE = SHARED / "patchwork-live"

pytestmark = pytest.mark.skipif(not LIVE.exists(), reason=skips.NO_SHARED)

# Requests, and places in their answers, that are not equal, with the headings of the reasons in
# docs/patchwork-differences.md.
DIFFERENCES = (
    (r"order=check", r".*", "Orders"),
    (r"msgid=%3C", r".*", "Message-IDs in brackets"),
    (r"/xmlrpc/", r"status", "XML-RPC"),
    (r"/api/1\.3/(nope|patches/abc)/", r"Content-Type", "Errors"),
    (r".*", r".*submitter\.name", "Names"),
)
WRITES = (
    (r"PATCH /api/1\.3/patches/12/", r"\.related.*", "Relations"),
    (r"PATCH /api/1\.2/patches/102/comments/248/", r"Content-Type", "Errors"),
    (r"GET /api/1\.3/events/\?per_page=40", r".*", "Events of comments"),
    (r"GET /api/1\.2/events/\?per_page=10", r"\[[78]\]\..*", "Relations"),
)
# What a request makes has the time of the replay.
_TIMES = re.compile(r"(\[\d+\])?(\.payload\.check)?\.date")


@pytest.fixture(scope="module")
def patchwork_url(postgres_server: str) -> Iterator[str]:
    """Return the URL of a database with the recorded Patchwork."""
    binaries = postgres.find_binaries()
    assert binaries is not None
    program = binaries / "psql"
    psql = str(program) if program.exists() else shutil.which("psql")
    if psql is None:
        pytest.skip(skips.NO_POSTGRESQL)
    with fresh(postgres_server) as url:
        parsed = make_url(url)
        options = ["-h", str(parsed.query.get("host") or parsed.host), "-U", str(parsed.username)]
        loading = subprocess.Popen(
            [psql, "-q", *options, "-d", str(parsed.database)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert loading.stdin is not None
        with (LIVE / "database.sql.zst").open("rb") as dump, loading.stdin:
            zstandard.ZstdDecompressor().copy_stream(dump, loading.stdin)
        assert loading.wait() == 0
        yield url.replace("postgresql+psycopg", "postgresql")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, patchwork_url: str, tmp_path: Path) -> Iterator[Engine]:
    """Return a store of each kind into which the recorded Patchwork was imported."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    ingest_ok("--database", url, "import-patchwork", "--quiet", patchwork_url, cwd=tmp_path)
    opened = open_store(url)
    yield opened
    opened.dispose()


@pytest.fixture
def client(engine: Engine) -> TestClient:
    limit = 1_000_000
    api = ApiConfig(url=recorded.HOST, rate=limit, burst=limit, token_rate=limit, token_burst=limit)
    config = Config(api=api)
    return TestClient(make_app(engine, lambda: config), follow_redirects=False)


def _is_listed(request: str, place: str, listed: tuple[tuple[str, str, str], ...]) -> bool:
    return any(
        re.search(requests, request) and re.fullmatch(places, place)
        for requests, places, _ in listed
    )


def test_the_differences_are_documented() -> None:
    text = (ROOT / "docs" / "patchwork-differences.md").read_text()
    for _, _, heading in (*DIFFERENCES, *WRITES):
        assert f"\n## {heading}\n" in text


def test_the_answers_are_those_of_patchwork(client: TestClient) -> None:
    """At least 98 % of them, and every other one is listed."""
    equal = total = 0
    unlisted: list[str] = []
    for exchange in recorded.load(LIVE / "answers.json.zst"):
        if exchange.status == 500:  # a fault of Patchwork's
            continue
        total += 1
        answer = exchange.send(client)
        differences = recorded.compare(exchange, answer)
        if not differences or recorded.is_same_order(exchange, answer):
            equal += 1
            continue
        unlisted += [
            f"{exchange.method} {exchange.path}: {difference}"
            for difference in differences
            if not _is_listed(exchange.path, difference.place, DIFFERENCES)
        ]
    assert not unlisted, "\n".join(unlisted)
    assert equal / total >= 0.98, f"{equal} of {total}"


def test_writes_have_the_results_of_patchwork(client: TestClient) -> None:
    """In their order: each status, each field that was changed, and each refusal."""
    unlisted: list[str] = []
    for exchange in recorded.load(LIVE / "writes.json.zst"):
        answer = exchange.send(client)
        if exchange.status == 500:
            assert answer.status_code < 500
            continue
        assert answer.status_code == exchange.status, (exchange.method, exchange.path, answer.text)
        request = f"{exchange.method} {exchange.path}"
        unlisted += [
            f"{request}: {difference}"
            for difference in recorded.compare(exchange, answer)
            if not _TIMES.fullmatch(difference.place)
            and not _is_listed(request, difference.place, WRITES)
        ]
    assert not unlisted, "\n".join(unlisted)
