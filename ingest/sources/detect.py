"""Detect which kind of archive a path names, and return the `Source` that reads it.

Input: a path, or `-` for standard input. Output: a `Source`. Anything that contains no mail raises
`SourceError` with one line that says what was found and what to do. Only the content decides,
never the name.
"""

from __future__ import annotations

import hashlib
import stat
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from ingest.sources.compressed import (
    BrokenStreamError,
    Stream,
    open_path,
    open_stream,
    permission_message,
)
from ingest.sources.eml import EmlFile, EmlFolder
from ingest.sources.entry import is_mail_content, no_mail_reason
from ingest.sources.maildir import Maildir, is_maildir
from ingest.sources.mbox import Mbox, is_mail, is_mbox
from ingest.sources.mbox_file import MboxFile
from ingest.sources.publicinbox import PublicInbox, find_epochs
from ingest.sources.source import Source, SourceError, printable

_HEAD = 4096
_HEADER = 1 << 20
_BUNDLE = b"# v"  # gitformat-bundle(5): "# v2 git bundle"


def open_source(where: str, *, stdin: BinaryIO | None = None) -> Source:
    """Return the source that `where` names: a file, a folder, a repository, or `-`.

    The key of a file consists of its path and the SHA-256 of its first 4 KiB after decompression.
    A file that has grown is therefore the same archive; a file that was replaced is another one
    and is read from the start. (A file that grows from below 4 KiB is also read from the start,
    which costs little.) Raises `SourceError`.
    """
    if where == "-":
        return _from_pipe(stdin or sys.stdin.buffer, "-", "standard input")
    path, label = Path(where), printable(where)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _from_folder(path, label)
        if stat.S_ISREG(mode):
            return _from_file(path, label)
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):  # as in `ingest replay <(command)`
            return _from_pipe(path.open("rb"), f"pipe:{label}", label)
    except FileNotFoundError:
        raise SourceError(f"{label}: no such file or folder") from None
    except PermissionError as error:
        name = printable(error.filename) if error.filename else label
        raise SourceError(permission_message(name)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise SourceError(f"{label}: {getattr(error, 'strerror', None) or error}") from None
    raise SourceError(f"{label}: is neither a file nor a folder")


def _from_folder(path: Path, label: str) -> Source:
    if epochs := find_epochs(path):
        return PublicInbox(path, epochs)
    if is_maildir(path):
        return Maildir(path)
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    other_names = [
        printable(entry.name) + ("/" if entry.is_dir() else "")
        for entry in entries
        if entry.suffix.lower() != ".eml" or not (entry.is_symlink() or entry.is_file())
    ]
    if entries and not other_names:
        return EmlFolder(path, [entry.name for entry in entries])
    names = ", ".join(other_names[:3])
    if len(other_names) > 3:
        names += f" and {len(other_names) - 3} more"
    raise SourceError(
        f"{label}: is neither a Maildir, nor a public-inbox, nor a folder of .eml files alone "
        f"(found: {names or 'nothing'}); name the archives in it one by one"
    )


def _from_file(path: Path, label: str) -> Source:
    def opener() -> AbstractContextManager[Stream]:
        return open_path(path)

    with opener() as stream:
        head = _head(stream)
        if stream.packed:
            _verify(stream, path, label)
    if _is_single_mail(head):
        with opener() as stream:
            _require_mail(stream, label)
    name = f"{printable(path.resolve())}:{hashlib.sha256(head).hexdigest()}"
    if is_mbox(head) and not stream.packed:
        return MboxFile(path, key=f"mbox:{name}", label=label)
    return _select_reader(head, opener, name, label, resumable=True)


def _verify(stream: Stream, path: Path, label: str) -> None:
    """Decompress a file once to its end, to refuse a truncated one before any of it is stored.

    The part before the truncation can still be read through standard input.
    """
    try:
        while stream.read(1 << 20):
            pass
    except BrokenStreamError as error:
        programs = {".gz": "zcat", ".xz": "xzcat", ".zst": "zstdcat", ".bz2": "bzcat"}
        program = programs.get(path.suffix.lower(), "zcat")
        raise SourceError(
            f"{error}, or take what is left of it with `{program} {label} | ingest replay -`"
        ) from error


def _from_pipe(file: BinaryIO, key: str, label: str) -> Source:
    stream = open_stream(file, label)
    return _select_reader(_head(stream), lambda: nullcontext(stream), key, label, resumable=False)


def _head(stream: Stream) -> bytes:
    """Return the first bytes, and leave them in the stream.

    Raises `SourceError` for a compressed file that is truncated within its first line. The error
    must say so, instead of calling it a file of another kind.
    """
    head = stream.peek(_HEAD)
    if len(head) < _HEAD and not is_mbox(head) and not is_mail(head):
        while stream.read(_HEAD):
            pass
    return head


def _is_single_mail(head: bytes) -> bool:
    return bool(head) and not is_mbox(head) and is_mail(head)


def _require_mail(stream: Stream, label: str) -> None:
    """Refuse a file that is not a mail before any mail of other sources is stored.

    `EmlFile.read` decides about a file whose header is longer than what is examined here.
    """
    start = stream.peek(_HEADER)
    if len(start) < _HEADER and not is_mail_content(start):
        raise SourceError(f"{label}: {no_mail_reason(start)}")


def _select_reader(
    head: bytes,
    opener: Callable[[], AbstractContextManager[Stream]],
    name: str,
    label: str,
    *,
    resumable: bool,
) -> Source:
    """Return the source for a file that begins with `head`. Raises `SourceError` if it has none."""
    if not head or is_mbox(head):
        key = f"mbox:{name}" if resumable else name
        return Mbox(opener, key=key, label=label, resumable=resumable)
    if _is_single_mail(head):
        key = f"eml:{name}" if resumable else name
        return EmlFile(opener, key=key, label=label, resumable=resumable)
    if head.startswith(_BUNDLE) and b" git bundle\n" in head[:40]:
        raise SourceError(
            f"{label}: is a git bundle: unpack it with `git clone --mirror {label} FOLDER` "
            "and name that folder"
        )
    if head.startswith(b"From "):
        raise SourceError(
            f"{label}: begins with `From `, but not with an mbox's line of a sender and a date"
        )
    raise SourceError(
        f"{label}: is neither an mbox nor a mail: its first line is neither an envelope "
        "(`From sender date`) nor a header (`Name: value`)"
    )
