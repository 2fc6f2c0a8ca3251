"""Find what a mail announces of the states of patches.

Input: a parsed message and its submission. Output: its announcements. Each kind is recognised by
what it says and not by who sends it: whether the sender is entitled to it is decided in
`lifecycle.entitlement`, and to which patches it applies in `lifecycle.announced_targets`. Quoted
and enclosed text announces nothing. Any text is accepted, and read in linear time. Pure.
"""

from __future__ import annotations

from ingest.lifecycle.announced_bots import find_pulled, find_queued, find_tree
from ingest.lifecycle.announced_lists import find_applied, find_patchwork
from ingest.lifecycle.announcement import MAX_ANNOUNCEMENTS, Announcement
from ingest.lifecycle.commands import find_commands
from ingest.mail.message import Message
from ingest.patch.quotation import QUOTE_MARKS, find_original
from ingest.patch.submission import Other, Reply, Submission

_MAX_TEXT = 64 * 1024  # characters that are read

# A mail without any of these, unquoted, announces nothing. To look for them first costs little.
_BOT_WORDS = ("pw-bot:", "The following commit has been merged into")
_WORDS = ("pplied", "ueued", "ushed", "erged", "ommitted", "icked", "patch titled", *_BOT_WORDS)


def find_announcements(message: Message, submission: Submission) -> tuple[Announcement, ...]:
    """Return what a mail announces, in the order of its text."""
    is_reply = isinstance(submission, Reply | Other)
    whole = _read_text(message) if is_reply else submission.content[:_MAX_TEXT]
    # Few mails have any of the words, and the others are most of the cost.
    words = [word for word in (_WORDS if is_reply else _BOT_WORDS) if word in whole]
    if not any(_has_own(whole, word) for word in words):
        return ()
    text = remove_quoted(whole)
    commands = find_commands(text)
    if not is_reply:
        # The text of a patch or a cover tells of other patches.
        return (find_tree(message, text) or commands)[:MAX_ANNOUNCEMENTS]
    for find in (find_tree, find_queued):
        if found := find(message, text):
            return found
    found = find_pulled(text) or find_patchwork(text) or find_applied(text)
    return (*found[: MAX_ANNOUNCEMENTS - len(commands)], *commands)


def _has_own(text: str, word: str) -> bool:
    """Tell whether a word is in a line that is not marked as quoted."""
    position = text.find(word)
    while position >= 0:
        if not text.startswith(QUOTE_MARKS, text.rfind("\n", 0, position) + 1):
            return True
        # On with the next line: a line may have the word many times.
        end = text.find("\n", position)
        position = text.find(word, end) if end >= 0 else -1
    return False


def _read_text(message: Message) -> str:
    """Return the text of a mail: neither attachments nor the mails that it encloses."""
    texts = [
        part.text
        for part in message.parts
        if part.text is not None
        and not part.nested
        and not part.attachment
        and part.content_type == "text/plain"
    ]
    return "\n".join(texts)[:_MAX_TEXT]


def remove_quoted(text: str) -> str:
    """Return the text without the lines that it quotes, with or without marks."""
    original = find_original("\n" + text)
    if original is not None:
        text = text[: max(0, original.start() - 1)]
    lines = text.split("\n")
    return "\n".join(line for line in lines if not line.lstrip(" \t").startswith(QUOTE_MARKS))
