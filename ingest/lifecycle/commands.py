"""Find commands to Patchwork's bots: `pw-bot: STATE` on a line of its own.

NIPA's mailbot has them, as docs/mailbot.rst of linux-netdev/nipa describes. A command applies to
the whole series of the mail that it answers.
"""

from __future__ import annotations

import re

from ingest.lifecycle.announcement import Announcement, AnnouncementForm, Scope

_MAX_COMMANDS = 50
_COMMAND = re.compile(
    r"^pw-bot:[ \t]{0,20}([A-Za-z][A-Za-z -]{0,40})[ \t\r]{0,20}$", re.MULTILINE | re.IGNORECASE
)

# Short forms of the states, and other spellings.
_ALIASES = {
    "accept": "accepted",
    "applied": "accepted",
    "au": "awaiting-upstream",
    "reject": "rejected",
    "cr": "changes-requested",
    "defer": "deferred",
    "nap": "not-applicable",
    "na": "not-applicable",
    "need-ack": "needs-ack",
    "nac": "needs-ack",
    "ur": "under-review",
}
_STATES = frozenset(
    {
        "new", "under-review", "accepted", "rejected", "rfc", "not-applicable",
        "changes-requested", "awaiting-upstream", "superseded", "deferred", "needs-ack",
        "handled-elsewhere", "in-next", "queued", "mainlined",
    }
)  # fmt: skip

# What the author of a series may set: states that take it out of the maintainer's queue. NIPA
# lets authors set `accepted` too; here only a maintainer can.
AUTHOR_STATES = frozenset(
    {"awaiting-upstream", "rejected", "changes-requested", "deferred", "not-applicable"}
)


def find_commands(text: str) -> tuple[Announcement, ...]:
    """Return the commands in a text without quotations. Unknown states are no commands."""
    found = []
    for match in _COMMAND.finditer(text):
        written = match[1].strip()
        name = "-".join(written.lower().split())
        state = _ALIASES.get(name, name)
        if state in _STATES:
            found.append(
                Announcement(
                    scope=Scope.SERIES, form=AnnouncementForm.COMMAND, state=state, command=written
                )
            )
        if len(found) >= _MAX_COMMANDS:
            break
    return tuple(found)
