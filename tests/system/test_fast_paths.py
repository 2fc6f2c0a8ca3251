"""Test that the fast paths of parsers have the same results as the general code, on every fixture,
on damaged ones and on the archive.

`make test` takes a fifth of the damaged fixtures, with each kind of damage among them, and a tenth
of the archive; `make torture` takes all of both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import pytest

from ingest.config.settings import Config
from ingest.mail import header
from ingest.model import Delivery
from ingest.patch.diffs import identity
from ingest.pipeline.derive import Steps, derive_steps
from tests.support.hostile_mail import PATCH, mail
from tests.support.paths import FIXTURES

Switch = Callable[[pytest.MonkeyPatch], None]


def _headers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(header, "_parse_clean_block", lambda _: None)


def _identities(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(identity, "_identify_regular", lambda _: None)


GENERAL: tuple[Switch, ...] = (_headers, _identities)


def fixtures(*, step: int) -> list[bytes]:
    """Return every mail of the fixtures, with LF and with CRLF, and each `step`-th damaged one."""
    found = [path.read_bytes() for path in sorted(FIXTURES.rglob("*.eml"))]
    for path in sorted(FIXTURES.rglob("*.mbox")):
        found += [b"From " + part for part in path.read_bytes().split(b"\nFrom ")]
    found.append(mail(body=PATCH))
    lines = [raw.split(b"\n") for raw in found]
    found += [raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for raw in found]
    damaged = [b"\n".join(line[:at] + line[at + 1 :]) for line in lines for at in range(0, 60, 7)]
    damaged += [b"\n".join(line[: len(line) - at]) for line in lines for at in range(1, 40, 7)]
    return found + damaged[::step]


def derived(mails: Iterable[bytes]) -> list[Steps]:
    config = Config()
    return [
        derive_steps(Delivery(raw=raw, sha256=hashlib.sha256(raw).digest(), source="test"), config)
        for raw in mails
    ]


# A multiple of neither nine nor six, the kinds of damage: each step meets another kind.
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.torture)])
def test_on_the_fixtures(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    compare(fixtures(step=step), monkeypatch)


@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.torture)])
def test_on_the_archive(
    corpus: list[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    compare([raw for _, raw in corpus[::step]], monkeypatch)


def compare(mails: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    fast = derived(mails)
    for switch in GENERAL:
        switch(monkeypatch)
    for raw, steps, slow_steps in zip(mails, fast, derived(mails), strict=True):
        assert steps == slow_steps, raw.decode("latin-1")[:2_000]
        assert steps.message.values == slow_steps.message.values
