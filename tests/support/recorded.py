"""Replay what was asked of a real Patchwork, and compare our answers with its, field by field.

Input: the recorded requests and answers of ../shared/patchwork-live. Output: differences, each with
the place in the answer. docs/patchwork-differences.md names those that there are, with the reasons.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from mailbox import mbox
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zstandard
from httpx import Response
from starlette.testclient import TestClient

HOST = "http://patchwork.example.org"

# Headers of which the values are compared as they are.
_HEADERS = ("Link", "Allow", "Location", "Content-Disposition")
# Header fields of mail that `git am` and CI read.
_FIELDS = ("From", "Subject", "Date", "Message-ID", "To", "Cc", "X-Patchwork-Id")


@dataclass(frozen=True)
class Difference:
    """A place in an answer, and what is there in Patchwork's and in ours."""

    place: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.place}: {str(self.theirs)[:200]!r} -> {str(self.ours)[:200]!r}"


@dataclass(frozen=True)
class Exchange:
    """A recorded request with Patchwork's answer."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    token: str | None = None
    accept: str | None = None
    body: Any = None
    content_type: str | None = None
    json: Any = None
    text: str | None = None
    has_json: bool = field(default=False)

    def send(self, client: TestClient) -> Response:
        """Send the request, and return our answer."""
        headers = {"Host": HOST.partition("//")[2], "Accept-Encoding": "identity"}
        if self.token:
            headers["Authorization"] = f"Token {self.token}"
        if self.accept:
            headers["Accept"] = self.accept
        content: bytes | None = None
        if self.body is not None:
            text = self.body if isinstance(self.body, str) else json.dumps(self.body)
            content = text.encode()
        if self.content_type:
            headers["Content-Type"] = self.content_type
        return client.request(self.method, self.path, headers=headers, content=content)


def load(path: Path) -> list[Exchange]:
    """Return what a file of ../shared/patchwork-live has recorded."""
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file)
        records = json.load(io.TextIOWrapper(stream, encoding="utf-8"))
    return [Exchange(**record, has_json="json" in record) for record in records]


def compare(theirs: Exchange, ours: Response) -> list[Difference]:
    """Return where our answer is not Patchwork's."""
    return list(_differences(theirs, ours))


def is_same_order(theirs: Exchange, ours: Response) -> bool:
    """Return whether two pages differ only in the order of what the wanted order leaves equal.

    Patchwork's database returns that in no defined order.
    """
    match = re.search(r"[?&]order=-?(\w+)", theirs.path)
    if match is None or not isinstance(theirs.json, list) or ours.status_code != theirs.status:
        return False
    keys = [
        [_order_key(record.get(match[1])) for record in page] for page in (theirs.json, ours.json())
    ]
    return keys[0] == keys[1] and theirs.headers.get("Link") == ours.headers.get("Link")


def _order_key(value: Any) -> Any:
    return value.get("link_name", value.get("id")) if isinstance(value, dict) else value


def _differences(theirs: Exchange, ours: Response) -> Iterator[Difference]:
    if theirs.status != ours.status_code:
        yield Difference("status", theirs.status, ours.status_code)
        return
    kind = _media_type(theirs.headers.get("Content-Type", ""))
    is_redirect = 300 <= theirs.status < 400
    if not is_redirect and kind != _media_type(ours.headers.get("content-type", "")):
        yield Difference("Content-Type", kind, ours.headers.get("content-type"))
        return
    for name in _HEADERS:
        wanted = theirs.headers.get(name)
        if wanted is not None and wanted != ours.headers.get(name):
            yield Difference(name, wanted, ours.headers.get(name))
    if theirs.method == "HEAD":
        return
    if theirs.has_json and theirs.json is not None:
        yield from _compare_values("", theirs.json, ours.json(), is_error=theirs.status >= 400)
    elif kind == "text/plain" and theirs.text and theirs.status == 200:
        yield from _compare_mboxes(theirs.text, ours.text)
    elif kind == "text/x-patch" and _lines(theirs.text or "") != _lines(ours.text):
        yield Difference("diff", theirs.text, ours.text)


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip()


def _compare_values(
    place: str, theirs: Any, ours: Any, *, is_error: bool = False
) -> Iterator[Difference]:
    """Compare JSON. Of errors, the fields that they name; their wording is ours."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in [*theirs, *(name for name in ours if name not in theirs)]:
            if name not in theirs or name not in ours:
                yield Difference(f"{place}.{name}", theirs.get(name, ...), ours.get(name, ...))
            elif not is_error:
                yield from _compare_values(f"{place}.{name}", theirs[name], ours[name])
    elif isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            yield Difference(f"{place}[]", _ids(theirs), _ids(ours))
            return
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from _compare_values(f"{place}[{number}]", one, other)
    elif theirs != ours or type(theirs) is not type(ours):
        yield Difference(place, theirs, ours)


def _ids(records: Sequence[Any]) -> list[Any]:
    return [record.get("id") if isinstance(record, dict) else record for record in records]


def _compare_mboxes(theirs: str, ours: str) -> Iterator[Difference]:
    """Compare what `git am` and CI read in mails: some fields, and the commit with its diff."""
    wanted, found = _mails(theirs), _mails(ours)
    if len(wanted) != len(found):
        yield Difference("mails", len(wanted), len(found))
        return
    for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
        yield from _compare_values(f"mail[{number}]", one, other)


def _mails(text: str) -> list[dict[str, str]]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mbox"
        path.write_bytes(text.encode())
        return [_mail(message) for message in mbox(path, create=False)]


def _mail(message: Any) -> dict[str, str]:
    fields = {name: _folded(str(message.get(name, ""))) for name in _FIELDS}
    content = message.get_payload(decode=True).decode("utf-8", "replace")
    return {**fields, "body": "\n".join(_lines(content))}


def _folded(value: str) -> str:
    return re.sub(r"\s+", " ", value)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
