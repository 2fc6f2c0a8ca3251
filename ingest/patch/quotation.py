"""Recognise mail that quotes or encloses the mail that it answers.

Input: the text of a mail, with LF line ends. Output: whether it is so. A subject may lack its
`Re:`, and the References of a mail do not tell an answer from a patch sent below another one.
"""

from __future__ import annotations

import re

QUOTE_MARKS = (">", "|", "＞")

# Programs that quote without marks write a header block or a rule above the quotation.
_ORIGINAL = re.compile(
    r"\n(?:From: [^\n]*\n(?:Sent|Date): [^\n]*\nTo: "
    r"|-{2,}[ \t]*(?:Original Message|Forwarded message|Ursprüngliche |原始邮件|原邮件))",
    re.IGNORECASE,
)
# One of these is in such a header or rule. To look for the words first costs less than the search
# that ignores case.
_ORIGINAL_WORDS = ("\nFrom: ", "riginal", "RIGINAL", "orwarded", "ORWARDED", "rüngliche", "原")
_MAX_ATTRIBUTION = 400  # characters
# An attribution has an address or a time, in any language, and a colon at its end.
_NAMES_MAIL = re.compile(r"@|[0-9]:[0-9]{2}|\b(?:19|20)[0-9]{2}\b", re.ASCII)
# What a cover contains and no reply: the summary of `git diff --stat`, or of `git shortlog`.
_SUMMARY = re.compile(
    r"\n (?:[0-9]{1,9} files? changed|[^\n|]{1,300}\|[ \t]+(?:[0-9]|Bin))"
    r"|\n[^\s>|][^\n]{0,200} \([0-9]{1,5}\):\n  \S"
)


def has_quotation(text: str) -> bool:
    """Tell whether a line is quoted with `>`."""
    return text.startswith(">") or "\n>" in text


def begins_with_quotation(text: str) -> bool:
    """Tell whether a text quotes the mail that it answers, and not somebody's words in passing.

    Either its first line is quoted, or a line that names a mail ("On …, Ada <…> wrote:") is above
    the first quotation.
    """
    start = 0 if text.lstrip().startswith(">") else text.find("\n>")
    if start < 0:
        return False
    above = text[max(0, start - _MAX_ATTRIBUTION) : start].rstrip()
    if not above:
        return True
    paragraph = above[above.rfind("\n\n") + 1 :]
    return paragraph.endswith((":", "：")) and _NAMES_MAIL.search(paragraph) is not None


def encloses_original(text: str) -> bool:
    """Tell whether a text has the mail that it answers below a header or a rule, without marks.

    Words of the sender are above it; a header at the top of the text is one that git reads.
    """
    match = find_original("\n" + text)
    return match is not None and text[: match.start()].strip() != ""


def find_original(text: str) -> re.Match[str] | None:
    """Return the header or rule above an original without marks; `text` begins with a newline."""
    if not any(word in text for word in _ORIGINAL_WORDS):
        return None
    return _ORIGINAL.search(text)


def has_summary(text: str) -> bool:
    """Tell whether a text has, unquoted, the summary of a series: a cover and no answer to one."""
    return _SUMMARY.search("\n" + text) is not None
