"""Test the dialogs in `fixtures/dialogs/`."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from tests.support import dialogs
from tests.support.dialogs import Case, Runner

CASES = dialogs.all_cases()


@pytest.mark.parametrize("one_at_a_time", [False, True], ids=["whole", "bytes"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_dialog(
    case: Case,
    one_at_a_time: bool,
    tmp_path: Path,
    tls_context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asyncio.run(Runner(case, tmp_path, one_at_a_time=one_at_a_time, tls=tls_context).run())
    assert "session-failed" not in caplog.text


@pytest.fixture(scope="session")
def tls_context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    context = dialogs.certificate(tmp_path_factory.mktemp("tls"))
    if context is None:
        pytest.skip("no openssl to make a certificate with")
    return context


def test_there_are_enough_cases_each_of_its_own_name() -> None:
    assert len(CASES) >= 120
    assert len({str(case) for case in CASES}) == len(CASES)
