"""Outcomes as SMTP replies and as exit statuses: the one place that knows both.

Imports nothing, since `ingest pipe` is to start quickly. Codes are those of RFC 5321 4.2.3 and
RFC 3463; exit statuses those of sysexits.h, which Postfix pipe(8) reads.
"""

# Reply code and text, by `envelope.Why` and then by what happens in a dialog. The text never
# quotes a mail, a database or an error.
REPLIES = {
    "accepted": (250, "2.0.0 stored"),
    "known": (250, "2.0.0 stored before"),
    "unknown-recipient": (550, "5.1.1 no list has this address"),
    "database": (451, "4.3.0 the database does not take mail now; try again later"),
    "busy": (451, "4.3.1 too much is waiting; try again later"),
    "stopping": (421, "4.3.2 shutting down; try again later"),
    "internal": (451, "4.3.0 something went wrong here; try again later"),
    # the dialog
    "ok": (250, "2.0.0 OK"),
    "bye": (221, "2.0.0 good bye"),
    "sender": (250, "2.1.0 sender OK"),
    "recipient": (250, "2.1.5 recipient OK"),
    "data": (354, "end the mail with <CRLF>.<CRLF>"),
    "tls": (220, "2.0.0 go ahead with TLS"),
    "not-verified": (252, "2.5.0 send some mail, and it is tried"),
    # who may connect, and how many
    "network": (421, "4.7.1 no service for your address"),  # 5xx would bounce what a slip refused
    "connections": (421, "4.3.2 too many connections; try again later"),
    "address-connections": (421, "4.3.2 too many connections from your address; try again later"),
    # time and patience
    "timeout": (421, "4.4.2 waited too long for you; try again later"),
    "slow": (421, "4.4.2 this is too slow; try again later"),
    "faults": (421, "4.7.0 too many errors; try again later"),
    "not-smtp": (421, "4.7.0 this is neither SMTP nor LMTP"),
    "commands": (421, "4.7.0 too many commands without a mail; try again later"),
    # a mail that is not taken, whatever stands behind the listener
    "too-big": (552, "5.3.4 the mail is larger than is taken here"),
    "flood": (421, "4.3.4 the mail has no end"),
    "loop": (554, "5.4.6 too many Received headers: the mail goes in a circle"),
    "no-room": (452, "4.3.1 no room for the mail now; try again later"),
    "too-many-recipients": (452, "4.5.3 too many recipients; send the rest apart"),
    # what is wrong with a command
    "unknown-command": (500, "5.5.1 no such command here"),
    "long-command": (500, "5.5.2 the command is too long"),
    "not-here": (502, "5.5.1 not offered here"),
    "syntax": (501, "5.5.4 the command is not written so"),
    "lhlo-first": (503, "5.5.1 say LHLO first"),
    "ehlo-first": (503, "5.5.1 say EHLO or HELO first"),
    "mail-first": (503, "5.5.1 say MAIL first"),
    "recipient-first": (503, "5.5.1 there is no accepted recipient"),
    "nested": (503, "5.5.1 a mail is begun already"),
    "encrypted": (503, "5.5.1 this is encrypted already"),
    "sender-address": (553, "5.1.7 the address is not written so"),
    "recipient-address": (553, "5.1.3 the address is not written so"),
    "parameter": (555, "5.5.4 a parameter is not known here"),
    "chunking": (503, "5.5.1 no BDAT here; the chunk is thrown away"),
}

# RFC 3463 codes for replies that come without: those of the library that speaks the protocol.
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
EX_NOUSER = 67  # the list is not known: Postfix returns the mail, and shall
EX_TEMPFAIL = 75  # everything else: Postfix keeps the mail and tries again


def reply(why: str) -> str:
    """The reply line for an outcome, without its line end."""
    code, text = REPLIES[why]
    return f"{code} {text}"


def is_final(why: str) -> bool:
    """Whether the outcome's reply says that there is no use in trying again."""
    return REPLIES[why][0] >= 500


def sanitize_reply(text: str) -> str:
    """A reply of anybody's making as one line that begins with a code, and has an enhanced one.

    Control characters and what is not ASCII become `?`, so that no text can end the line and
    forge a second reply. What is no reply at all is our defect, and answered as one.
    """
    line = "".join(char if " " <= char <= "~" else "?" for char in text)[:_MAX_LINE]
    code, rest = line[:3], line[4:]
    if not (code.isdigit() and "2" <= code[0] <= "5" and line[3:4] in ("", " ", "-")):
        return reply("internal")
    if code[0] == "3" or has_enhanced(rest):
        return line
    enhanced = _ENHANCED.get(int(code), f"{code[0]}.0.0")
    return f"{code}{line[3:4] or ' '}{enhanced} {rest}".rstrip()[:_MAX_LINE]


def has_enhanced(text: str) -> bool:
    """Whether the text of a reply begins with a code of RFC 3463, as in `5.1.1 no such list`."""
    first, _, _ = text.partition(" ")
    numbers = first.split(".")
    return len(numbers) == 3 and numbers[0] in ("2", "4", "5") and all(map(str.isdigit, numbers))


def exit_status(code: int) -> int:
    """What the pipe ends with when the daemon has answered with this reply code.

    Only what says that the address is unknown may bounce: any other 5xx is a fault of the
    set-up, which somebody will mend while Postfix keeps the mail.
    """
    if 200 <= code < 300:
        return EX_OK
    return EX_NOUSER if code == 550 else EX_TEMPFAIL
