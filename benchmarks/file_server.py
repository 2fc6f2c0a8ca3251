"""Serve LMTP with plain aiosmtpd: write each mail into a file of its own, and flush it.

    python benchmarks/file_server.py SOCKET FOLDER

The yardstick of `accepting.py`: the least that a server may do which keeps what it has accepted.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session


class FileHandler:
    """Write each mail into a file, and answer when it is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Write the mail and flush it (aiosmtpd calls this)."""
        del server, session
        content = envelope.content
        assert isinstance(content, bytes)
        descriptor = os.open(self._folder / str(next(self._numbers)), os.O_CREAT | os.O_WRONLY)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return "250 2.0.0 OK"


async def serve(socket: Path, folder: Path) -> None:
    """Serve until the process is terminated."""
    handler = FileHandler(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(
        lambda: LMTP(handler, hostname="localhost", loop=loop), path=str(socket)
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
