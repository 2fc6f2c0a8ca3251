"""Build mail that announces states, as programs and people write it, for series of
`mails.series`."""

from __future__ import annotations

from ingest.config.settings import Config, ConfiguredList
from tests.support import mails

TINA = "Tina Keeper <tina@example.org>"  # a maintainer
EVE = "Eve Stranger <eve@example.net>"
COMMITS = tuple(f"{digit}1f0" * 10 for digit in "abc")
CONFIG = Config(
    lists=(
        ConfiguredList("dev", mails.LIST, maintainers=("tina@example.org", "*@keepers.example")),
    )
)

SIGNATURE = "-- "
QUOTED = (
    "On Mon, 02 Mar 2026 10:15:00 +0000, Ada Byron wrote:\n> What this is about.\n> \n> [...]\n"
)
B4_TY = f"""{QUOTED}
Applied, thanks!

[1/2] fs: step 1
      commit: {COMMITS[0]}
[2/2] fs: step 2
      https://git.example.org/fs/c/{COMMITS[1][:12]}

Best regards,
{SIGNATURE}
Tina Keeper <tina@example.org>
"""
PATCHWORK = f"""Hello:

This series was applied to example/fs.git (main)
by Tina Keeper <tina@example.org>:

{QUOTED}
Here is the summary with links:
  - [1/2] fs: step 1
    https://git.kernel.org/example/fs/c/{COMMITS[0][:12]}
  - [2/2] fs: step 2
    (no matching commit)

You are awesome, thank you!
{SIGNATURE}
Deet-doot-dot, I am a bot.
https://korg.docs.kernel.org/patchwork/pwbot.html
"""
TIP = f"""The following commit has been merged into the fs/urgent branch of tip:

Commit-ID:     {COMMITS[0]}
Gitweb:        https://git.kernel.org/tip/{COMMITS[0]}
Author:        Ada Byron <ada@example.org>
AuthorDate:    Mon, 02 Mar 2026 10:15:00 Z
Committer:     Tina Keeper <tina@example.org>
CommitterDate: Tue, 03 Mar 2026 10:15:00 Z

fs: Step 1

Say why.

Signed-off-by: Ada Byron <ada@example.org>
Link: https://patch.msgid.link/fs-1@example.org
---
""" + mails.diff("fs1", "v1")
PULLED = f"""The pull request you sent on Mon, 02 Mar 2026 10:15:00 +0000:

> https://git.example.org/ada/fs.git tags/fs-1

has been merged into example/linux.git:
https://git.kernel.org/example/c/{COMMITS[0]}

Thank you!

{SIGNATURE}
Deet-doot-dot, I am a bot.
https://korg.docs.kernel.org/prtracker.html
"""
STABLE = """This is a note to let you know that I've just added the patch titled

    fs: step 1

to the 6.6-stable tree which can be found at:
    http://www.kernel.org/git/?p=linux/kernel/git/stable/stable-queue.git;a=summary

The filename of the patch is:
     fs-step-1.patch
and it can be found in the queue-6.6 subdirectory.


From ada@example.org Mon Mar  2 10:15:00 2026
From: Ada Byron <ada@example.org>
Date: Mon, 2 Mar 2026 10:15:00 +0000
Subject: fs: step 1
Message-ID: <fs-1@example.org>

[ Upstream commit 1234567890abcdef1234567890abcdef12345678 ]

Say why.

Link: https://lore.kernel.org/r/original@example.org
Signed-off-by: Ada Byron <ada@example.org>
---
""" + mails.diff("fs1", "v1")

PATCHWORK_BOT = "patchwork-bot+example@kernel.org"
TIP_BOT = "tip-bot2 for Ada Byron <tip-bot2@linutronix.de>"
PR_TRACKER = "pr-tracker-bot@kernel.org"


def answer(
    body: str,
    *,
    sender: str = TINA,
    to: str | None = "fs-0@example.org",
    msgid: str = "says@example.org",
    subject: str = "Re: [PATCH 0/2] fs: improve all",
    minutes: int = 600,
) -> bytes:
    """Return a mail with an announcement, by default in reply to the cover of the series `fs`."""
    date = mails.START + mails.timedelta(minutes=minutes)
    return mails.mail(msgid, subject, body, sender=sender, answers=to, date=date)
