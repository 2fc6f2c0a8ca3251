"""SMTP and LMTP from the server's side (RFC 5321, RFC 2033), on aiosmtpd.

Input: a connection. Output: calls of the `Gate`, and a reply to each command. Refuses what a
`Limits` refuses. Of aiosmtpd 1.4.6 this keeps the table of commands and of their help, the state
of a session, RSET, NOOP, HELP and EXPN. The rest is done anew here, and each place says what was
wrong; `tests/smtp/test_aiosmtpd.py` holds it, and shows where the library still has it.
"""

# ruff: noqa: N802  (aiosmtpd finds a command by the name of its method)

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import AnyStr, Final, assert_never, cast

from aiosmtpd.smtp import SMTP, syntax

from ingest.smtp import commands, replies
from ingest.smtp.commands import ArgumentError
from ingest.smtp.dot_stuffing import DataReceiver
from ingest.smtp.envelope import Accept, Decision, DeliveryReason, Envelope, Reject, TempFail
from ingest.smtp.limits import Protocol
from ingest.smtp.reader import EndedError, InputBuffer, LongLineError, StoppedError
from ingest.smtp.sessions import Sessions
from ingest.smtp.spooled_body import SpooledBody

_log = logging.getLogger(__name__)

_CRLF = b"\r\n"
_UNSENT: Final = 1 << 14  # octets of replies that wait for the peer before we do
_LINGER: Final = 5.0  # seconds that a peer has to take its last reply
_MAX_NAME = 255  # RFC 5321 4.5.3.1.2


class Dialog(SMTP, asyncio.BufferedProtocol):
    """One connection.

    A `BufferedProtocol`, since otherwise asyncio reads 256 KiB at a time for each: a thousand
    peers that pipeline would fill the memory.
    """

    def __init__(self, sessions: Sessions, loop: asyncio.AbstractEventLoop) -> None:
        config = sessions.config
        super().__init__(
            handler=None,
            data_size_limit=config.limits.size,
            enable_SMTPUTF8=True,
            hostname=config.hostname,  # else aiosmtpd asks the DNS, for each connection
            tls_context=config.tls,
            loop=loop,
        )
        self.address = ""
        self._sessions = sessions
        self._limits = config.limits
        self._lmtp = config.protocol is Protocol.LMTP
        self._input = InputBuffer()
        self._replies = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._channel: asyncio.Transport | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._encrypted = False
        self._ending = self._shutting = False
        # Between 354 and the replies to the mail. What fails there ends the session: the rest of
        # the mail would be read as commands, or its replies be too few.
        self._in_mail = False
        self._faults = self._commands = 0
        # aiosmtpd offers AUTH whatever is configured; LMTP has LHLO only (RFC 2033 4.1).
        not_here = {"AUTH", *(("HELO", "EHLO") if self._lmtp else ("LHLO",))}
        if config.tls is None:
            not_here.add("STARTTLS")
        self._smtp_methods = {
            verb: method for verb, method in self._smtp_methods.items() if verb not in not_here
        }

    # The transport. aiosmtpd's reader keeps whole lines of 1,001 octets at most, its one timer
    # does not run anew in DATA and runs while a handler works, and a connection that ends
    # cancels the handler. None of it is used: `InputBuffer` reads, each wait has its own time, and a
    # session finds out by reading that its peer is gone.

    def _set_rset_state(self) -> None:
        self.envelope = self._create_envelope()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._set_rset_state()
        self.session = self._create_session()
        self._attach(cast(asyncio.Transport, transport))
        self.address = _address_of(transport)
        refusal = self._sessions.refusal(self.address)
        if refusal is not None:
            self._say(replies.reply(refusal))
            self._shutting = True  # at once: it has sent nothing yet, and there may be many
            self._shut()
            return
        self._sessions.enter(self, self._handle_client())

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._sessions.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._input.feed(self._sessions.buffer[:nbytes])

    def eof_received(self) -> bool:
        self._input.end()
        if self._shutting:
            return False
        return not self._encrypted  # half of a connection stays open, but none of TLS

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._input.end()
        self._writable.set()
        if self._linger is not None:
            self._linger.cancel()
        self._sessions.leave(self)

    def drain(self) -> None:
        self._input.stop()

    def abort(self) -> None:
        if self._channel is not None:
            self._channel.abort()

    def _attach(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=_UNSENT)
        self.transport = self._channel = transport
        self._input.attach(transport)

    def _shut(self) -> None:
        """Send what is left, and close.

        What a peer sends on is still read, and thrown away, until it closes too: a socket that
        is closed with octets unread resets the connection, and takes the last reply with it.
        """
        channel = self._channel
        if channel is None or channel.is_closing():
            return
        channel.write(bytes(self._replies))
        self._replies.clear()
        if (
            self._shutting
            or self._input.ended
            or channel.get_write_buffer_size()  # it would end its half later, where nobody catches
            or not channel.can_write_eof()
        ):
            channel.close()
        else:
            self._input.ignore()
            try:
                channel.write_eof()
            except OSError:  # the peer is gone, and the loop has not seen it yet
                channel.abort()
        self._shutting = True
        if self._linger is None:
            self._linger = self.loop.call_later(_LINGER, channel.abort)

    # Replies.

    async def push(self, status: AnyStr) -> None:
        # aiosmtpd's own have no enhanced codes, some quote what the peer sent, and a text with
        # CRLF in it is two replies. It also waits without end for a peer that does not read.
        text = status if isinstance(status, str) else status.decode("utf-8", "replace")
        self._say(text)
        if len(self._replies) >= _UNSENT:
            await self._flush()

    def _say(self, text: str) -> None:
        line = replies.sanitize_reply(text)
        self._replies += line.encode("ascii") + _CRLF
        if line.startswith("421"):  # RFC 5321 4.2.3: closing the transmission channel
            self._ending = True

    def _fault(self, why: str) -> None:
        """Refuse a command that is broken; too many of these end the session."""
        self._say(replies.reply(why))
        self._faults += 1
        if self._faults >= self._limits.faults:
            self._cut("faults")

    def _cut(self, why: str) -> None:
        self._note_cut(why)
        self._say(replies.reply(why))

    def _note_cut(self, why: str) -> None:
        self._sessions.count_cut(why)
        self._sessions.log("session-cut", self.address, reason=why)

    async def _flush(self) -> None:
        """Send the replies that were gathered: those of pipelined commands go in one packet.

        Raises `EndedError` where nobody reads them (RFC 2920 3.2 speaks of that deadlock).
        """
        if self._channel is None or self._channel.is_closing():
            raise EndedError
        if self._replies:
            self._channel.write(bytes(self._replies))
            self._replies.clear()
        if self._writable.is_set():
            return
        try:
            async with asyncio.timeout(self._limits.reply_timeout):
                await self._writable.wait()
        except TimeoutError as failure:
            self._note_cut("unread")
            self._channel.abort()
            raise EndedError from failure

    # Commands.

    async def _handle_client(self) -> None:
        # aiosmtpd answers an exception with 500 and its text, counts only unknown commands as
        # errors, and lets a session go on for ever.
        try:
            self._replies += f"220 {self.hostname} {'LMTP' if self._lmtp else 'ESMTP'}\r\n".encode()
            while not self._ending:
                line = await self._read_command()
                if line is not None:
                    await self._obey(line)
        except EndedError:
            pass
        finally:
            self._shut()

    async def _read_command(self) -> bytes | None:
        if not self._input.has_line or len(self._replies) >= _UNSENT:
            await self._flush()
        try:
            async with asyncio.timeout(self._limits.command_timeout):
                return await self._input.line(self._limits.command)
        except TimeoutError:
            if not self._input.has_line:
                self._cut("timeout")
        except LongLineError:
            self._fault("long-command")
        except StoppedError:
            self._cut("stopping")
        return None

    async def _obey(self, line: bytes) -> None:
        self._commands += 1
        if self._commands > self._limits.commands:
            self._cut("commands")
            return
        if commands.is_forbidden(line):
            self._cut("not-smtp")
            return
        verb, _, argument = line.partition(b" ")
        method = self._smtp_methods.get(verb.upper().decode("ascii", "replace"))
        if method is None:
            self._fault("unknown-command")
            return
        try:
            await method(argument.strip(b" ").decode("utf-8", "surrogateescape"))
        except ArgumentError as failure:
            self._fault(str(failure))
        except EndedError:
            raise
        except Exception:  # noqa: BLE001
            # The boundary: a defect of ours is no reason for anybody to give up a mail, and its
            # text nobody's concern.
            _log.exception("command-failed")
            self._say(replies.reply("internal"))
            self._ending = self._ending or self._in_mail

    @syntax("HELO hostname")
    async def smtp_HELO(self, hostname: str) -> None:
        if self._greet(hostname, extended=False):
            self._replies += f"250 {self.hostname}\r\n".encode()

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str) -> None:
        # aiosmtpd's has neither PIPELINING nor ENHANCEDSTATUSCODES, has AUTH, and adds to a limit
        # on command lines that all connections share, each time.
        if not self._greet(hostname, extended=True):
            return
        extensions = [
            self.hostname,
            "PIPELINING",  # RFC 2920; RFC 2033 5 wants it, and the next, of LMTP
            "ENHANCEDSTATUSCODES",  # RFC 2034
            "8BITMIME",  # RFC 6152
            "SMTPUTF8",  # RFC 6531
            f"SIZE {self._limits.size}",  # RFC 1870
        ]
        if self.tls_context is not None and not self._encrypted:
            extensions.append("STARTTLS")  # RFC 3207
        last = extensions.pop()
        self._replies += "".join(f"250-{line}\r\n" for line in extensions).encode()
        self._replies += f"250 {last}\r\n".encode()

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, hostname: str) -> None:
        await self.smtp_EHLO(hostname)

    @syntax("QUIT")
    async def smtp_QUIT(self, arg: str) -> None:
        if arg:
            raise ArgumentError("syntax")
        self._say(replies.reply("bye"))
        self._ending = True

    @syntax("VRFY <address>")
    async def smtp_VRFY(self, arg: str) -> None:
        # aiosmtpd parses with `email`, which raises IndexError on `<[x`, and quotes the address.
        if not arg:
            raise ArgumentError("syntax")
        self._say(replies.reply("not-verified"))

    @syntax("MAIL FROM: <address>", extended=" [SP <mail-parameters>]")
    async def smtp_MAIL(self, arg: str | None) -> None:
        assert self.session is not None
        assert self.envelope is not None
        if not self._greeted():
            return
        if self.envelope.mail_from is not None:  # aiosmtpd takes '', of <>, for no sender
            self._fault("nested")
            return
        path = commands.parse_path(_octets(arg), b"FROM:", "sender-address")
        if path.parameters and not self.session.extended_smtp:
            raise ArgumentError("parameter")
        for keyword, value in path.parameters:
            match keyword, value.upper():
                case "SIZE", _ if value:
                    if commands.parse_size(value) > self._limits.size:
                        self._note_mail("too-big", path.address, commands.parse_size(value))
                        self._say(replies.reply("too-big"))
                        return
                case ("BODY", "7BIT" | "8BITMIME") | ("SMTPUTF8", ""):
                    pass  # whatever was declared, the octets are kept as they come
                case _:
                    raise ArgumentError("parameter")
        self.envelope.mail_from = path.address
        self._say(replies.reply("sender"))

    @syntax("RCPT TO: <address>", extended=" [SP <mail-parameters>]")
    async def smtp_RCPT(self, arg: str | None) -> None:
        assert self.envelope is not None
        if not self._greeted():
            return
        if self.envelope.mail_from is None:
            self._fault("mail-first")
            return
        path = commands.parse_path(_octets(arg), b"TO:", "recipient-address")
        if not path.address:
            raise ArgumentError("recipient-address")
        if path.parameters:
            raise ArgumentError("parameter")
        if len(self.envelope.rcpt_tos) >= self._limits.recipients:
            self._say(replies.reply("too-many-recipients"))
            return
        verdict = self._sessions.gate.recipient(path.address)
        match verdict:
            case Accept():
                self.envelope.rcpt_tos.append(path.address)
                self._say(replies.reply("recipient"))
            case TempFail() | Reject():
                self._sessions.count_mail(verdict.why)
                self._say(replies.reply(verdict.why))
            case _:
                assert_never(verdict)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:
        # aiosmtpd keeps a mail as a list of lines, forty times its size where they are short,
        # refuses long ones, and has one reply for all recipients, which in LMTP is a fault that
        # loses mail: the client takes the next mail's replies for this one's.
        assert self.envelope is not None
        if not self._greeted():
            return
        if arg:
            raise ArgumentError("syntax")
        if not self.envelope.rcpt_tos:
            self._fault("mail-first" if self.envelope.mail_from is None else "recipient-first")
            return
        envelope = self._said()
        self._say(replies.reply("data"))
        self._in_mail = True
        incoming = DataReceiver(self._limits, self._sessions.budget)
        whole = False
        try:
            whole = await self._receive(incoming)
        finally:
            if not whole:
                incoming.body.close()
        if not whole:
            return
        if incoming.trouble is not None:
            self._note_mail(incoming.trouble, envelope.sender, incoming.octets)
            outcomes: list[str] = [incoming.trouble] * len(envelope.recipients)
        else:
            verdicts = await self._deliver(envelope, incoming.body)
            for verdict in verdicts:
                self._sessions.count_mail(verdict.why)
            outcomes = (
                [verdict.why for verdict in verdicts]
                if self._lmtp
                else [worst_decision(verdicts).why]
            )
        self._set_rset_state()
        self._commands = 0
        for outcome in outcomes if self._lmtp else outcomes[:1]:
            await self.push(replies.reply(outcome))
        self._in_mail = False

    async def smtp_BDAT(self, arg: str) -> None:
        # RFC 3030 is not offered. Who sends it all the same sends the chunk behind it at once,
        # and to read that as commands would let a mail's text give us orders.
        octets = commands.parse_chunk(_octets(arg))
        if octets > 2 * self._limits.size:
            self._cut("flood")
            return
        self._in_mail = True
        started, came = self.loop.time(), 0
        while came < octets:
            piece = await self._read_piece(started, came, limit=octets - came)
            if piece is None:
                return
            came += len(piece)
        self._in_mail = False
        self._fault("chunking")

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str) -> None:
        # aiosmtpd builds asyncio's TLS from its private parts, and after it clears what has come
        # encrypted as well as what came before.
        assert self.tls_context is not None
        assert self._channel is not None
        if arg:
            raise ArgumentError("syntax")
        if self._encrypted:
            self._fault("encrypted")
            return
        self._say(replies.reply("tls"))
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
        except OSError as failure:
            self._note_cut("tls")
            self.connection_lost(failure)  # asyncio does not say it of a handshake that failed
            raise EndedError from failure
        assert channel is not None
        self._attach(channel)
        self._encrypted = True
        self._set_rset_state()
        self.session = self._create_session()  # RFC 3207 4.2: forget what was said in the clear

    # Their parts.

    def _note_mail(self, why: str, sender: str, octets: int) -> None:
        """Tell of a mail that is refused before the gate hears of it."""
        assert self.session is not None
        assert self.envelope is not None
        recipients = self.envelope.rcpt_tos
        for _ in recipients or [""]:
            self._sessions.count_mail(why)
        self._sessions.log(
            "refused" if replies.is_final(why) else "deferred",
            self.address,
            reason=why,
            size=octets,
            helo=self.session.host_name or "",
            sender=sender,
            recipients=",".join(recipients),
        )

    def _greet(self, name: str, *, extended: bool) -> bool:
        assert self.session is not None
        if not name:
            self._fault("syntax")
            return False
        self._set_rset_state()
        self.session.extended_smtp = extended
        self.session.host_name = "".join(
            char if char.isprintable() else "?" for char in name[:_MAX_NAME]
        )
        return True

    def _greeted(self) -> bool:
        assert self.session is not None
        if self.session.host_name is None:
            self._fault("lhlo-first" if self._lmtp else "ehlo-first")
            return False
        return True

    async def _receive(self, incoming: DataReceiver) -> bool:
        """Read a mail to its end; False where the session ends before."""
        started = self.loop.time()
        while True:
            piece = await self._read_piece(started, incoming.octets)
            if piece is None:
                return False
            rest = incoming.feed(piece)
            if rest is not None:
                self._input.unread(rest)
                return True
            if incoming.endless:
                self._cut("flood")
                return False

    async def _read_piece(
        self, started: float, came: int, limit: int | None = None
    ) -> bytes | None:
        """More of a mail of which so much has come; None where that took too long."""
        limits = self._limits
        if self._replies:
            await self._flush()
        while True:
            left = started + limits.grace + came / limits.rate - self.loop.time()
            try:
                async with asyncio.timeout(min(left, limits.data_timeout)):
                    return await self._input.piece(limit)
            except TimeoutError:
                if not self._input.has_piece:
                    self._cut("slow" if left < limits.data_timeout else "timeout")
                    return None

    def _said(self) -> Envelope:
        """What the dialog has said about the mail to come."""
        assert self.session is not None
        assert self.envelope is not None
        return Envelope(
            protocol="lmtp" if self._lmtp else "smtp",
            peer=self.address,
            helo=self.session.host_name or "",
            sender=self.envelope.mail_from or "",
            recipients=tuple(self.envelope.rcpt_tos),
            tls=self._encrypted,
        )

    async def _deliver(self, envelope: Envelope, body: SpooledBody) -> Sequence[Decision]:
        """Ask the gate: one verdict for each recipient.

        What was begun goes on whatever becomes of the connection: once it is committed, the
        sender's second try finds it there.
        """
        task = self._sessions.deliver(envelope, body)
        verdicts: Sequence[Decision] = [TempFail(DeliveryReason.BUSY)] * len(envelope.recipients)
        try:
            async with asyncio.timeout(self._limits.gate_timeout):
                verdicts = await asyncio.shield(task)
        except TimeoutError:
            _log.warning("delivery-slow", extra={"values": {"seconds": self._limits.gate_timeout}})
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            verdicts = [TempFail(DeliveryReason.STOPPING)] * len(envelope.recipients)
        return verdicts


def worst_decision(verdicts: Sequence[Decision]) -> Decision:
    """The one reply that SMTP has for all recipients, chosen so that none of them loses the mail.

    If one is to come again, all are: those that have it are found to have it. A `Reject` says to
    the sender that somebody has not got it, which a 250 would hide.
    """
    for kind in (TempFail, Reject):
        for verdict in verdicts:
            if isinstance(verdict, kind):
                return verdict
    return verdicts[0]


def _octets(argument: str | None) -> bytes:
    return (argument or "").encode("utf-8", "surrogateescape")


def _address_of(transport: asyncio.BaseTransport) -> str:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        return "unix"
    peer = transport.get_extra_info("peername")  # None where it is gone already
    return str(peer[0]) if isinstance(peer, tuple) else "unknown"
