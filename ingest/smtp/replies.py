"""Map outcomes to SMTP replies and to exit statuses: no other module knows either.

This module imports nothing, because `ingest pipe` must start quickly. The codes are those of
RFC 5321 4.2.3 and RFC 3463; the exit statuses are those of sysexits.h, which Postfix pipe(8)
reads.
"""

# Reply code and text by `envelope.DeliveryReason`, and by what else happens in a session. A text
# never quotes a mail, a database or an error.
REPLIES = {
    "accepted": (250, "2.0.0 message stored"),
    "known": (250, "2.0.0 message already stored"),
    "unknown-recipient": (550, "5.1.1 no list has this address"),
    "database": (451, "4.3.0 database unavailable; try again later"),
    "busy": (451, "4.3.1 too many messages waiting; try again later"),
    "stopping": (421, "4.3.2 service shutting down; try again later"),
    "internal": (451, "4.3.0 internal error; try again later"),
    # the session
    "ok": (250, "2.0.0 OK"),
    "bye": (221, "2.0.0 closing connection"),
    "sender": (250, "2.1.0 sender OK"),
    "recipient": (250, "2.1.5 recipient OK"),
    "data": (354, "end data with <CRLF>.<CRLF>"),
    "tls": (220, "2.0.0 ready to start TLS"),
    "not-verified": (252, "2.5.0 cannot verify the address; send a message to try delivery"),
    # who may connect, and how many. A 5xx would bounce mail after a mistake in the configuration
    "network": (421, "4.7.1 access denied for your address"),
    "connections": (421, "4.3.2 too many connections; try again later"),
    "address-connections": (421, "4.3.2 too many connections from your address; try again later"),
    # timeouts and limits
    "timeout": (421, "4.4.2 timeout exceeded; try again later"),
    "too-slow": (421, "4.4.2 transfer too slow; try again later"),
    "too-many-errors": (421, "4.7.0 too many errors; try again later"),
    "not-smtp": (421, "4.7.0 not an SMTP or LMTP command"),
    "too-many-commands": (421, "4.7.0 too many commands without a message; try again later"),
    # a mail that is not accepted, whatever the handler would say
    "too-big": (552, "5.3.4 message size exceeds the limit"),
    "flood": (421, "4.3.4 message far exceeds the size limit"),
    "loop": (554, "5.4.6 too many Received headers: mail loop"),
    "insufficient-storage": (452, "4.3.1 insufficient system storage; try again later"),
    "too-many-recipients": (452, "4.5.3 too many recipients; send the others separately"),
    # malformed commands
    "unknown-command": (500, "5.5.1 command not recognized"),
    "long-command": (500, "5.5.2 command line too long"),
    "syntax": (501, "5.5.4 syntax error in parameters"),
    "lhlo-first": (503, "5.5.1 send LHLO first"),
    "ehlo-first": (503, "5.5.1 send EHLO or HELO first"),
    "mail-first": (503, "5.5.1 send MAIL first"),
    "recipient-first": (503, "5.5.1 no valid recipients"),
    "nested": (503, "5.5.1 nested MAIL command"),
    "encrypted": (503, "5.5.1 TLS already active"),
    "sender-address": (553, "5.1.7 sender address syntax error"),
    "recipient-address": (553, "5.1.3 recipient address syntax error"),
    "parameter": (555, "5.5.4 parameter not recognized"),
    "chunking": (503, "5.5.1 BDAT not supported; chunk discarded"),
}

# RFC 3463 codes for replies that lack one: those of the SMTP library.
_ENHANCED = {
    211: "2.0.0",
    214: "2.0.0",
    221: "2.0.0",
    250: "2.0.0",
    252: "2.5.0",
    421: "4.3.0",
    450: "4.2.0",
    451: "4.3.0",
    452: "4.3.1",
    454: "4.7.0",
    500: "5.5.1",
    501: "5.5.4",
    502: "5.5.1",
    503: "5.5.1",
    530: "5.7.0",
    538: "5.7.11",
    550: "5.7.1",
    552: "5.3.4",
    553: "5.1.3",
    554: "5.0.0",
    555: "5.5.4",
}
_MAX_LINE = 510  # RFC 5321 4.5.3.1.5: 512 with CRLF

EX_OK = 0
EX_USAGE = 64  # for a person at a terminal only: Postfix would bounce
EX_NOUSER = 67  # the list is unknown: Postfix returns the mail, as it should
EX_TEMPFAIL = 75  # everything else: Postfix keeps the mail and tries again


def format_reply(reason: str) -> str:
    """Return the reply line for an outcome, without its line end."""
    code, text = REPLIES[reason]
    return f"{code} {text}"


def is_permanent(reason: str) -> bool:
    """Tell whether the reply for an outcome is a permanent failure."""
    return REPLIES[reason][0] >= 500


def sanitize_reply(text: str) -> str:
    """Return a reply as one line that begins with a code and has an enhanced code.

    Control characters and non-ASCII characters become `?`, so that no text can end the line and
    forge a second reply. A text that is no reply at all is an internal error, and becomes one.
    """
    line = "".join(char if " " <= char <= "~" else "?" for char in text)[:_MAX_LINE]
    code, rest = line[:3], line[4:]
    if not (code.isdigit() and "2" <= code[0] <= "5" and line[3:4] in ("", " ", "-")):
        return format_reply("internal")
    if code[0] == "3" or has_enhanced_code(rest):
        return line
    enhanced = _ENHANCED.get(int(code), f"{code[0]}.0.0")
    return f"{code}{line[3:4] or ' '}{enhanced} {rest}".rstrip()[:_MAX_LINE]


def has_enhanced_code(text: str) -> bool:
    """Tell whether a reply text begins with a code of RFC 3463, as in `5.1.1 no such list`."""
    first, _, _ = text.partition(" ")
    numbers = first.split(".")
    return len(numbers) == 3 and numbers[0] in ("2", "4", "5") and all(map(str.isdigit, numbers))


def exit_status(code: int) -> int:
    """Return the exit status of `ingest pipe` for a reply code of the daemon.

    Only a reply that says that the address is unknown may bounce the mail. Any other 5xx is an
    error in the set-up, which somebody will fix while Postfix keeps the mail.
    """
    if 200 <= code < 300:
        return EX_OK
    return EX_NOUSER if code == 550 else EX_TEMPFAIL
