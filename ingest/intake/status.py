"""Outcomes as SMTP replies and as exit statuses: the one place that knows both.

Imports nothing, since `ingest pipe` is to start quickly. Codes are those of RFC 5321 4.2.3 and
RFC 3463; exit statuses those of sysexits.h, which Postfix pipe(8) reads.
"""

# Reply code and text by `envelope.Why`. The text never quotes a mail, a database or an error.
REPLIES = {
    "accepted": (250, "2.0.0 stored"),
    "known": (250, "2.0.0 stored before"),
    "unknown-recipient": (550, "5.1.1 no list has this address"),
    "database": (451, "4.3.0 the database does not take mail now; try again later"),
    "busy": (451, "4.3.1 too much is waiting; try again later"),
    "stopping": (421, "4.3.2 shutting down; try again later"),
    "internal": (451, "4.3.0 something went wrong here; try again later"),
}

EX_OK = 0
EX_USAGE = 64  # for a person at a terminal only: Postfix would bounce
EX_NOUSER = 67  # the list is not known: Postfix returns the mail, and shall
EX_TEMPFAIL = 75  # everything else: Postfix keeps the mail and tries again


def reply(why: str) -> str:
    """The reply line for an outcome, without its line end."""
    code, text = REPLIES[why]
    return f"{code} {text}"


def exit_status(code: int) -> int:
    """What the pipe ends with when the daemon has answered with this reply code.

    Only what says that the address is unknown may bounce: any other 5xx is a fault of the
    set-up, which somebody will mend while Postfix keeps the mail.
    """
    if 200 <= code < 300:
        return EX_OK
    return EX_NOUSER if code == 550 else EX_TEMPFAIL
