"""Build rows for tests of statements, which need no mail with a meaning."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def mail_row(number: int) -> dict[str, Any]:
    """Return a row of `mail`, with bytes and text that have to be escaped in some statements."""
    return {
        "id": number,
        "sha256": number.to_bytes(32, "big"),
        "size": number,
        "codec": 0,
        "raw": bytes(range(256)) * (number % 3),
        "source": "replay",
        "envelope": None if number % 2 else 'a "quoted"\ttext\\with\nlines, ü and \U0001f642',
        "route": "",
        "container_errors": "",
        "withdrawn": number % 5 == 0,
        "accepted": datetime(2026, 3, 2, 10, 15, 1, number),
    }


def answer_row(mail_id: int, name: str) -> dict[str, Any]:
    """Return a row of `answer`. The mail has to be stored."""
    return {"mail_id": mail_id, "name": name, "kind": "found", "text": f"{mail_id} {name}"}
