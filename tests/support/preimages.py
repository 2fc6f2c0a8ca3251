"""Files to which a patch applies, made from the lines that its hunks expect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_HUNK = re.compile(rb"@@ -([0-9]+)(?:,([0-9]+))? \+([0-9]+)(?:,([0-9]+))? @@")
_GIT = re.compile(rb'diff --git "?a/(.+?)"? "?b/(.+?)"?$')


@dataclass(slots=True)
class Preimage:
    """A file before the patch. `name`: None where the patch makes it."""

    name: bytes | None
    mode: bytes = b"100644"
    lines: list[bytes] = field(default_factory=list)
    ends_open: bool = True  # other lines may follow

    def content(self) -> bytes:
        return b"".join(self.lines) + (b"filler\n" if self.ends_open else b"")


def preimages(patch: bytes) -> Iterator[Preimage]:
    """The files of a patch in git's format."""
    current: Preimage | None = None
    lines = iter(patch.split(b"\n"))
    for line in lines:
        if match := _GIT.match(line):
            if current is not None:
                yield current
            current = Preimage(match[1])
        elif current is None:
            continue
        elif line.startswith((b"new file mode", b"--- /dev/null")):
            current.name = None
        elif line.startswith((b"old mode ", b"deleted file mode ")):
            current.mode = line.split()[-1]
        elif line.startswith((b"rename from ", b"copy from ")):
            current.name = line.split(b" ", 2)[2].rstrip()
        elif hunk := _HUNK.match(line):
            _read_hunk(current, hunk, lines)
    if current is not None:
        yield current


def _read_hunk(file: Preimage, hunk: re.Match[bytes], lines: Iterator[bytes]) -> None:
    start, before, after = int(hunk[1]), int(hunk[2] or b"1"), int(hunk[4] or b"1")
    while len(file.lines) < start - 1:
        file.lines.append(b"filler %d\n" % len(file.lines))
    trailing = 0
    while before > 0 or after > 0:
        line = next(lines, None)
        if line is None:
            break
        first = line[:1]
        trailing = trailing + 1 if first in (b" ", b"") else 0
        if first in (b" ", b"", b"-"):
            file.lines.append(line[1:] + b"\n")
            before -= 1
        if first in (b" ", b"", b"+"):
            after -= 1
        if first == b"\\" and file.lines:
            file.lines[-1] = file.lines[-1].removesuffix(b"\n")
    file.ends_open = trailing > 0


def fast_import(ref: str, patch: bytes) -> bytes:
    """A commit with the files of a patch, for git-fast-import(1)."""
    files = {file.name: file for file in preimages(patch) if file.name is not None}
    files[b"README"] = Preimage(b"README")
    commands = [b"commit %b\ncommitter M <m@example.org> 0 +0000\ndata 0\n" % ref.encode()]
    for name, file in files.items():
        content = file.content()
        quoted = name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        commands.append(
            b'M %b inline "%b"\ndata %d\n%b\n' % (file.mode, quoted, len(content), content)
        )
    return b"".join(commands) + b"\n"
