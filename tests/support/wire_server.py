"""A listener in a process of its own, behind which mail is counted and forgotten.

    python -m tests.support.wire_server lmtp unix:/path '{"size": 1000}'
    python -m tests.support.wire_server lmtp handed '{}'      # sockets as systemd hands them over

Says its addresses on standard output, then a line of counts for each mail.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import Sequence

from ingest.config import sockets
from ingest.net import systemd_sockets
from ingest.net.bind import Endpoint, address_of
from ingest.smtp.envelope import Accept, Decision, Envelope, MailBody
from ingest.smtp.limits import SessionLimits
from ingest.smtp.server import ListenerConfig, Protocol, open_listener


class Counting:
    def check_recipient(self, address: str) -> Decision:
        del address
        return Accept()

    async def deliver(self, envelope: Envelope, body: MailBody) -> Sequence[Decision]:
        print(body.size, body.sha256.hex(), flush=True)  # noqa: T201
        return [Accept()] * len(envelope.recipients)


async def main(protocol: str, address: str, limits: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config = ListenerConfig(
        protocol=Protocol(protocol),
        address=None if address == "handed" else sockets.parse_socket(address),
        hostname="mail.example.org",
        limits=SessionLimits(**json.loads(limits)),
    )
    endpoint = None
    if address == "handed":
        socks = tuple(
            systemd_sockets.take_socket(listening.descriptor)
            for listening in systemd_sockets.inherited_sockets(os.environ, os.getpid())
        )
        assert socks
        endpoint = Endpoint(socks, tuple(map(address_of, socks)))
    listener = await open_listener(config, Counting(), endpoint=endpoint)
    print(*listener.addresses, flush=True)  # noqa: T201
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    assert await listener.drain(5) == 0
    await listener.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
