"""Test that the log has one line for each event, whatever the event contains."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.daemon.monitoring.log import (
    LOG,
    AcceptErrorFilter,
    LineFormatter,
    MailLine,
    configure_log,
    log_event,
    log_mail,
)

LINE = MailLine(
    event="accepted",
    msgid="<a@example.org>",
    outcome="accepted",
    source="lmtp:unix",
    size=1234,
    sha256="0123456789abcdef",
    accept_ms=3.14159,
)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, LOG.level, logging.raiseExceptions
    yield
    root.handlers[:], level, own, logging.raiseExceptions = before
    root.setLevel(level)
    LOG.setLevel(own)


def started(form: str = "logfmt", **environ: str) -> io.StringIO:
    stream = io.StringIO()
    configure_log(form, stream=stream, environ=environ)
    return stream


def test_a_mail_as_logfmt() -> None:
    stream = started()
    log_mail(LINE)
    time, _, rest = stream.getvalue().partition(" ")
    assert re.fullmatch(r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert rest == (
        "level=info event=accepted msgid=<a@example.org> outcome=accepted source=lmtp:unix "
        "size=1234 sha256=0123456789abcdef accept_ms=3.1\n"
    )


def test_a_mail_as_json() -> None:
    stream = started("json", JOURNAL_STREAM="8:1")
    log_mail(LINE)
    text = stream.getvalue()
    assert text.startswith("<6>{")
    assert json.loads(text[3:]) == {
        "level": "info", "event": "accepted", "msgid": "<a@example.org>", "outcome": "accepted",
        "source": "lmtp:unix", "size": 1234, "sha256": "0123456789abcdef", "accept_ms": 3.1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("level", "front"),
    [
        (logging.INFO, "<6>level=info "),
        (logging.WARNING, "<4>level=warning "),
        (logging.ERROR, "<3>level=error "),
        (logging.CRITICAL, "<2>level=critical "),
    ],
)
def test_journald_gets_the_priority(level: int, front: str) -> None:
    stream = started(JOURNAL_STREAM="8:1")
    log_event("database-gone", level, waiting=3, sound=False)
    assert stream.getvalue() == f"{front}event=database-gone waiting=3 sound=false\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "no"', r'"say \"no\""'),
        ("a=b", '"a=b"'),
        ("back\\slash", r'"back\\slash"'),
        ("a\nevent=forged", r'"a\nevent=forged"'),
        ("\r\t\0\x1b[2J\x7f\x9b", r'"\r\t\x00\x1b[2J\x7f\x9b"'),
        ("\u202egpj.exe", r'"\u202egpj.exe"'),
        ("a\u2028b\u200bc\ufeff", r'"a\u2028b\u200bc\ufeff"'),
        ("\udcff", r'"\udcff"'),
        ("\U000e0041", r'"\U000e0041"'),
        ("größer", "größer"),
        ("x" * 5000, "x" * 4000 + "…"),
    ],
)
def test_text_of_clients_is_escaped(value: str, shown: str) -> None:
    stream = started(JOURNAL_STREAM="8:1")
    log_event("x", reason=value)
    assert stream.getvalue() == f"<6>level=info event=x reason={shown}\n"


@given(st.text())
def test_json_restores_the_values(value: str) -> None:
    record = logging.LogRecord("ingest", logging.INFO, "", 0, "x", None, None)
    record.values = {"reason": value}
    line = LineFormatter("json", journald=False).format(record)
    assert json.loads(line)["reason"] == value
    assert len(line.splitlines()) == 1
    assert LineFormatter("logfmt", journald=False).format(record).isprintable() or not (
        value.isprintable()
    )


def test_a_traceback_is_one_line_too() -> None:
    stream = started()
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        LOG.exception("failed")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert r"ValueError: bad\nnews" in text
    assert "event=failed" in text


def test_libraries_log_in_the_same_form() -> None:
    stream = started(JOURNAL_STREAM="8:1")
    logging.getLogger("aiosmtpd").warning("odd %s", "thing\n")
    logging.getLogger("aiosmtpd").info("chatter")
    assert stream.getvalue() == '<4>level=warning event="odd thing\\n" logger=aiosmtpd\n'


def test_below_the_level_nothing_is_written() -> None:
    stream = started()
    log_mail(LINE, logging.DEBUG)
    assert stream.getvalue() == ""


def test_what_a_listener_logs_has_the_same_form() -> None:
    """`smtp` does not import this module; `test_what_is_refused_is_logged` tests its part."""
    out = io.StringIO()
    configure_log("logfmt", stream=out, environ={})
    logging.getLogger("ingest.smtp.protocol").info(
        "refused", extra={"values": {"source": "lmtp unix", "reason": "too-big", "recipients": ""}}
    )
    logging.getLogger("mail.log").info("Available AUTH mechanisms: LOGIN PLAIN")
    (line,) = out.getvalue().splitlines()
    assert line.partition(" level=")[2] == (
        'info event=refused source="lmtp unix" reason=too-big recipients=""'
    )


def test_connections_that_asyncio_cannot_accept_are_one_line_a_minute() -> None:
    stream = started("json", JOURNAL_STREAM="8:1")
    now = 100.0
    (handler,) = logging.getLogger().handlers
    handler.filters[:] = [AcceptErrorFilter(clock=lambda: now)]

    def complain() -> list[dict[str, str]]:
        error = OSError(24, "Too many open files")
        for _ in range(3):
            logging.getLogger("asyncio").error(
                "socket.accept() out of system resource\nsocket: <x>", exc_info=error
            )
        return [json.loads(line[3:]) for line in stream.getvalue().splitlines()]

    line = {
        "level": "error", "event": "connections-delayed",
        "reason": "[Errno 24] Too many open files",
        "logger": "asyncio",
    }  # fmt: skip
    assert complain() == [line]
    now += 59
    assert complain() == [line]
    now += 1
    assert complain() == [line, line]
    logging.getLogger("asyncio").error("something else")
    assert len(stream.getvalue().splitlines()) == 3
