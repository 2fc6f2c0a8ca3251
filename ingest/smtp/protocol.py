"""Speak SMTP and LMTP as a server (RFC 5321, RFC 2033), on top of aiosmtpd.

Input: a connection. Output: calls of the `DeliveryHandler`, and a reply to each command. Enforces
`SessionLimits`. This class uses aiosmtpd 1.4.6 for the table of commands and of their help, for
the state of a session, and for RSET, NOOP, HELP and EXPN. It replaces the rest; a comment at each
place says what was wrong. `tests/smtp/test_aiosmtpd.py` tests these points, and shows where the
library still has the defect.
"""

# ruff: noqa: N802  (aiosmtpd finds a command by the name of its method)

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import AnyStr, assert_never, cast

from aiosmtpd.smtp import SMTP, syntax

from ingest.smtp import commands, replies
from ingest.smtp.commands import ArgumentError
from ingest.smtp.connection import MAX_UNSENT, ClientConnection
from ingest.smtp.dot_stuffing import DataReceiver
from ingest.smtp.envelope import Accept, Decision, DeliveryReason, Envelope, Reject, TempFail
from ingest.smtp.limits import Protocol
from ingest.smtp.reader import EndedError, LongLineError, StoppedError
from ingest.smtp.sessions import Sessions
from ingest.smtp.spooled_body import SpooledBody

_log = logging.getLogger(__name__)

_MAX_NAME = 255  # RFC 5321 4.5.3.1.2


class Dialog(ClientConnection, SMTP):
    """Speak with one client: obey its commands, and reply to them."""

    def __init__(self, sessions: Sessions, loop: asyncio.AbstractEventLoop) -> None:
        config = sessions.config
        ClientConnection.__init__(self, sessions, loop)
        SMTP.__init__(
            self,
            handler=None,
            data_size_limit=config.limits.size,
            enable_SMTPUTF8=True,
            hostname=config.hostname,  # without it aiosmtpd queries DNS for each connection
            tls_context=config.tls,
            loop=loop,
        )
        self._is_lmtp = config.protocol is Protocol.LMTP
        # True from 354 to the replies to the mail. An error there ends the session: the rest of
        # the mail would be read as commands, or there would be too few replies.
        self._in_mail = False
        self._error_count = self._command_count = 0
        # aiosmtpd offers AUTH whatever is configured; LMTP has LHLO only (RFC 2033 4.1).
        disabled = {"AUTH", *(("HELO", "EHLO") if self._is_lmtp else ("LHLO",))}
        if config.tls is None:
            disabled.add("STARTTLS")
        self._smtp_methods = {
            verb: method for verb, method in self._smtp_methods.items() if verb not in disabled
        }

    # --- transport ---
    #
    # aiosmtpd's reader allows lines of at most 1,001 bytes. Its only timer does not restart
    # during DATA, and it runs while a handler works. A closed connection cancels the handler.
    # None of this is used: `InputBuffer` reads, each wait has its own timeout, and a session
    # notices by reading that its client has disconnected.

    def _set_rset_state(self) -> None:
        self.envelope = self._create_envelope()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start a session, or refuse the client (asyncio calls this)."""
        self._set_rset_state()
        self.session = self._create_session()
        self._attach(cast(asyncio.Transport, transport))
        self.address = _client_address(transport)
        reason = self._sessions.check_client(self.address)
        if reason is not None:
            self._reply(replies.format_reply(reason))
            self._is_closing = True  # at once: it has sent nothing yet, and there may be many
            self._close()
            return
        self._sessions.add(self, self._handle_client())

    # --- replies ---

    async def push(self, status: AnyStr) -> None:
        """Send a reply (aiosmtpd calls this)."""
        # aiosmtpd's own replies have no enhanced codes, some quote what the client sent, and a
        # text with CRLF in it becomes two replies. It also waits for ever for a client that does
        # not read.
        text = status if isinstance(status, str) else status.decode("utf-8", "replace")
        self._reply(text)
        if len(self._replies) >= MAX_UNSENT:
            await self._flush()

    def _refuse_command(self, reason: str) -> None:
        """Refuse a malformed command; too many of these end the session."""
        self._reply(replies.format_reply(reason))
        self._error_count += 1
        if self._error_count >= self._limits.errors:
            self._terminate("too-many-errors")

    # --- commands ---

    async def _handle_client(self) -> None:
        # aiosmtpd answers an exception with 500 and its text, counts only unknown commands as
        # errors, and lets a session continue for ever.
        try:
            name = "LMTP" if self._is_lmtp else "ESMTP"
            self._replies += f"220 {self.hostname} {name}\r\n".encode()
            while not self._is_ending:
                line = await self._read_command()
                if line is not None:
                    await self._execute(line)
        except EndedError:
            pass
        finally:
            self._close()

    async def _read_command(self) -> bytes | None:
        if not self._input.has_line or len(self._replies) >= MAX_UNSENT:
            await self._flush()
        try:
            async with asyncio.timeout(self._limits.command_timeout):
                return await self._input.read_line(self._limits.command)
        except TimeoutError:
            if not self._input.has_line:
                self._terminate("timeout")
        except LongLineError:
            self._refuse_command("long-command")
        except StoppedError:
            self._terminate("stopping")
        return None

    async def _execute(self, line: bytes) -> None:
        self._command_count += 1
        if self._command_count > self._limits.commands:
            self._terminate("too-many-commands")
            return
        if commands.is_forbidden(line):
            self._terminate("not-smtp")
            return
        verb, _, argument = line.partition(b" ")
        method = self._smtp_methods.get(verb.upper().decode("ascii", "replace"))
        if method is None:
            self._refuse_command("unknown-command")
            return
        try:
            await method(argument.strip(b" ").decode("utf-8", "surrogateescape"))
        except ArgumentError as error:
            self._refuse_command(str(error))
        except EndedError:
            raise
        except Exception:  # noqa: BLE001
            # The boundary: an internal error must not make a client give up a mail, and its
            # text must not be shown.
            _log.exception("command-failed")
            self._reply(replies.format_reply("internal"))
            self._is_ending = self._is_ending or self._in_mail

    @syntax("HELO hostname")
    async def smtp_HELO(self, hostname: str) -> None:
        """Greet the client (RFC 5321 4.1.1.1)."""
        if self._greet(hostname, extended=False):
            self._replies += f"250 {self.hostname}\r\n".encode()

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str) -> None:
        """Greet the client and list the extensions (RFC 5321 4.1.1.1)."""
        # aiosmtpd's version has neither PIPELINING nor ENHANCEDSTATUSCODES. It has AUTH, and each
        # time it increases a limit on command lines that all connections share.
        if not self._greet(hostname, extended=True):
            return
        extensions = [
            self.hostname,
            "PIPELINING",  # RFC 2920; RFC 2033 5 requires it, and the next one, of LMTP
            "ENHANCEDSTATUSCODES",  # RFC 2034
            "8BITMIME",  # RFC 6152
            "SMTPUTF8",  # RFC 6531
            f"SIZE {self._limits.size}",  # RFC 1870
        ]
        if self.tls_context is not None and not self._is_encrypted:
            extensions.append("STARTTLS")  # RFC 3207
        last = extensions.pop()
        self._replies += "".join(f"250-{line}\r\n" for line in extensions).encode()
        self._replies += f"250 {last}\r\n".encode()

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, hostname: str) -> None:
        """Greet an LMTP client (RFC 2033 4.1)."""
        await self.smtp_EHLO(hostname)

    @syntax("QUIT")
    async def smtp_QUIT(self, arg: str) -> None:
        """End the session (RFC 5321 4.1.1.10)."""
        if arg:
            raise ArgumentError("syntax")
        self._reply(replies.format_reply("bye"))
        self._is_ending = True

    @syntax("VRFY <address>")
    async def smtp_VRFY(self, arg: str) -> None:
        """Decline to verify an address (RFC 5321 3.5.3)."""
        # aiosmtpd parses with `email`, which raises IndexError on `<[x`, and quotes the address.
        if not arg:
            raise ArgumentError("syntax")
        self._reply(replies.format_reply("not-verified"))

    @syntax("MAIL FROM: <address>", extended=" [SP <mail-parameters>]")
    async def smtp_MAIL(self, arg: str | None) -> None:
        """Begin a mail (RFC 5321 4.1.1.2)."""
        assert self.session is not None
        assert self.envelope is not None
        if not self._check_greeted():
            return
        if self.envelope.mail_from is not None:  # aiosmtpd takes '', of <>, for no sender
            self._refuse_command("nested")
            return
        path = commands.parse_path(_to_bytes(arg), b"FROM:", "sender-address")
        if path.parameters and not self.session.extended_smtp:
            raise ArgumentError("parameter")
        for keyword, value in path.parameters:
            match keyword, value.upper():
                case "SIZE", _ if value:
                    size = commands.parse_size(value)
                    if size > self._limits.size:
                        self._note_refused_mail("too-big", path.address, size)
                        self._reply(replies.format_reply("too-big"))
                        return
                case ("BODY", "7BIT" | "8BITMIME") | ("SMTPUTF8", ""):
                    pass  # whatever is declared, the bytes are kept unchanged
                case _:
                    raise ArgumentError("parameter")
        self.envelope.mail_from = path.address
        self._reply(replies.format_reply("sender"))

    @syntax("RCPT TO: <address>", extended=" [SP <mail-parameters>]")
    async def smtp_RCPT(self, arg: str | None) -> None:
        """Add a recipient (RFC 5321 4.1.1.3)."""
        assert self.envelope is not None
        if not self._check_greeted():
            return
        if self.envelope.mail_from is None:
            self._refuse_command("mail-first")
            return
        path = commands.parse_path(_to_bytes(arg), b"TO:", "recipient-address")
        if not path.address:
            raise ArgumentError("recipient-address")
        if path.parameters:
            raise ArgumentError("parameter")
        if len(self.envelope.rcpt_tos) >= self._limits.recipients:
            self._reply(replies.format_reply("too-many-recipients"))
            return
        decision = self._sessions.handler.check_recipient(path.address)
        match decision:
            case Accept():
                self.envelope.rcpt_tos.append(path.address)
                self._reply(replies.format_reply("recipient"))
            case TempFail() | Reject():
                self._sessions.count_outcome(decision.reason)
                self._reply(replies.format_reply(decision.reason))
            case _:
                assert_never(decision)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:
        """Receive a mail and hand it over (RFC 5321 4.1.1.4)."""
        # aiosmtpd keeps a mail as a list of lines (forty times its size where they are short),
        # refuses long lines, and has one reply for all recipients. In LMTP the latter loses mail:
        # the client takes the replies to the next mail for those to this one.
        assert self.envelope is not None
        if not self._check_greeted():
            return
        if arg:
            raise ArgumentError("syntax")
        if not self.envelope.rcpt_tos:
            is_early = self.envelope.mail_from is None
            self._refuse_command("mail-first" if is_early else "recipient-first")
            return
        envelope = self._make_envelope()
        self._reply(replies.format_reply("data"))
        self._in_mail = True
        receiver = DataReceiver(self._limits, self._sessions.budget)
        is_complete = False
        try:
            is_complete = await self._receive(receiver)
        finally:
            if not is_complete:
                receiver.body.close()
        if not is_complete:
            return
        outcomes = await self._store(envelope, receiver)
        self._set_rset_state()
        self._command_count = 0
        for outcome in outcomes:
            await self.push(replies.format_reply(outcome))
        self._in_mail = False

    async def smtp_BDAT(self, arg: str) -> None:
        """Refuse a chunk (RFC 3030), which is not offered, and discard its bytes."""
        # A client that uses it all the same sends the chunk right after the command. Reading the
        # chunk as commands would let the text of a mail give us commands.
        size = commands.parse_chunk(_to_bytes(arg))
        if size > 2 * self._limits.size:
            self._terminate("flood")
            return
        self._in_mail = True
        started, received = self.loop.time(), 0
        while received < size:
            chunk = await self._read_chunk(started, received, limit=size - received)
            if chunk is None:
                return
            received += len(chunk)
        self._in_mail = False
        self._refuse_command("chunking")

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str) -> None:
        """Switch to TLS (RFC 3207)."""
        # aiosmtpd builds asyncio's TLS from its private parts, and afterwards it discards the
        # encrypted input as well as the unencrypted input before it.
        assert self.tls_context is not None
        assert self._channel is not None
        if arg:
            raise ArgumentError("syntax")
        if self._is_encrypted:
            self._refuse_command("encrypted")
            return
        self._reply(replies.format_reply("tls"))
        await self._flush()
        self._input.detach()
        try:
            channel = await self.loop.start_tls(
                self._channel,
                self,
                self.tls_context,
                server_side=True,
                ssl_handshake_timeout=self._limits.handshake_timeout,
            )
        except OSError as error:
            self._note_termination("tls-failed")
            self.connection_lost(error)  # asyncio does not call it after a failed handshake
            raise EndedError from error
        assert channel is not None
        self._attach(channel)
        self._is_encrypted = True
        self._set_rset_state()
        self.session = self._create_session()  # RFC 3207 4.2: forget what was said unencrypted

    # --- parts of commands ---

    def _note_refused_mail(self, reason: str, sender: str, size: int) -> None:
        """Log and count a mail that is refused before the handler sees it."""
        assert self.session is not None
        assert self.envelope is not None
        recipients = self.envelope.rcpt_tos
        for _ in recipients or [""]:
            self._sessions.count_outcome(reason)
        self._sessions.log(
            "rejected" if replies.is_permanent(reason) else "deferred",
            self.address,
            reason=reason,
            size=size,
            helo=self.session.host_name or "",
            sender=sender,
            recipients=",".join(recipients),
        )

    def _greet(self, name: str, *, extended: bool) -> bool:
        assert self.session is not None
        if not name:
            self._refuse_command("syntax")
            return False
        self._set_rset_state()
        self.session.extended_smtp = extended
        self.session.host_name = "".join(
            char if char.isprintable() else "?" for char in name[:_MAX_NAME]
        )
        return True

    def _check_greeted(self) -> bool:
        assert self.session is not None
        if self.session.host_name is None:
            self._refuse_command("lhlo-first" if self._is_lmtp else "ehlo-first")
            return False
        return True

    async def _receive(self, receiver: DataReceiver) -> bool:
        """Read a mail to its end. Returns False where the session ends before."""
        started = self.loop.time()
        while True:
            chunk = await self._read_chunk(started, receiver.size)
            if chunk is None:
                return False
            rest = receiver.feed(chunk)
            if rest is not None:
                self._input.push_back(rest)
                return True
            if receiver.is_endless:
                self._terminate("flood")
                return False

    async def _read_chunk(
        self, started: float, received: int, limit: int | None = None
    ) -> bytes | None:
        """Read more of a mail of which `received` bytes have arrived; None after a timeout."""
        limits = self._limits
        if self._replies:
            await self._flush()
        while True:
            remaining = started + limits.grace + received / limits.rate - self.loop.time()
            try:
                async with asyncio.timeout(min(remaining, limits.data_timeout)):
                    return await self._input.read_chunk(limit)
            except TimeoutError:
                if not self._input.has_chunk:
                    self._terminate("too-slow" if remaining < limits.data_timeout else "timeout")
                    return None

    def _make_envelope(self) -> Envelope:
        """Return the envelope of the next mail, from what the client has said."""
        assert self.session is not None
        assert self.envelope is not None
        return Envelope(
            protocol=self._sessions.config.protocol.value,
            peer=self.address,
            helo=self.session.host_name or "",
            sender=self.envelope.mail_from or "",
            recipients=tuple(self.envelope.rcpt_tos),
            tls=self._is_encrypted,
        )

    async def _store(self, envelope: Envelope, receiver: DataReceiver) -> Sequence[str]:
        """Hand a received mail over. Returns the outcomes to reply with.

        LMTP has one reply for each recipient (RFC 2033 4.2), SMTP has one reply for the mail.
        """
        if receiver.error is not None:
            self._note_refused_mail(receiver.error, envelope.sender, receiver.size)
            return [receiver.error] * (len(envelope.recipients) if self._is_lmtp else 1)
        decisions = await self._deliver(envelope, receiver.body)
        for decision in decisions:
            self._sessions.count_outcome(decision.reason)
        if self._is_lmtp:
            return [decision.reason for decision in decisions]
        return [worst_decision(decisions).reason]

    async def _deliver(self, envelope: Envelope, body: SpooledBody) -> Sequence[Decision]:
        """Ask the handler for one decision for each recipient.

        A delivery that has begun continues whatever becomes of the connection: once the mail is
        committed, the client's next attempt finds it there.
        """
        task = self._sessions.deliver(envelope, body)
        decisions: Sequence[Decision] = [TempFail(DeliveryReason.BUSY)] * len(envelope.recipients)
        timeout = self._limits.delivery_timeout
        try:
            async with asyncio.timeout(timeout):
                decisions = await asyncio.shield(task)
        except TimeoutError:
            _log.warning("delivery-timeout", extra={"values": {"seconds": timeout}})
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            decisions = [TempFail(DeliveryReason.STOPPING)] * len(envelope.recipients)
        return decisions


def worst_decision(decisions: Sequence[Decision]) -> Decision:
    """Choose the one reply that SMTP has for all recipients, so that none loses the mail.

    If the mail must be sent again for one recipient, it is for all: those that have it already
    are recognised. A `Reject` tells the sender that somebody did not get the mail, which a 250
    would hide.
    """
    for kind in (TempFail, Reject):
        for decision in decisions:
            if isinstance(decision, kind):
                return decision
    return decisions[0]


def _to_bytes(argument: str | None) -> bytes:
    return (argument or "").encode("utf-8", "surrogateescape")


def _client_address(transport: asyncio.BaseTransport) -> str:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        return "unix"
    peer = transport.get_extra_info("peername")  # None where the client has disconnected already
    return str(peer[0]) if isinstance(peer, tuple) else "unknown"
