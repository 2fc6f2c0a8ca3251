"""Domain names: one spelling each, and which of them belong together.

Input: names out of mail. Output: A-labels in lower case. Refuses (None): what no name can be.
"""

from __future__ import annotations

import re
from functools import cache

import idna
from publicsuffixlist import PublicSuffixList

from ingest.trust.signatures.verdict import Alignment

MAX_DOMAIN = 253  # octets as text, RFC 1035 2.3.4
MAX_LABEL = 63

# What DNS is asked for: letters, digits, "-", and the "_" of `_domainkey` (RFC 8552).
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 3.1: four full stops part labels


def ascii_domain(name: str) -> str | None:
    """A domain as DNS has it: A-labels (RFC 5890, mapped as UTS 46 does), lower case, no dot
    at the end. None where a label is empty, too long or not a label.
    """
    name = name.removesuffix(".")
    if not name or len(name) > MAX_DOMAIN:
        return None
    if not name.isascii():
        try:
            name = ".".join(map(_a_label, _DOTS.split(name)))
        except (idna.IDNAError, UnicodeError):
            return None
        if len(name) > MAX_DOMAIN:
            return None
    name = name.lower()
    return name if all(map(_LABEL.fullmatch, name.split("."))) else None


def _a_label(label: str) -> str:
    if label.isascii():
        return label
    return idna.encode(label, uts46=True, transitional=False).decode("ascii")


def key_name(selector: str, domain: str) -> str | None:
    """Where the key of a signature lies (RFC 6376 3.6.2.1), or None where no name is that long."""
    return ascii_domain(f"{selector.removesuffix('.')}._domainkey.{domain}")


def organisational_domain(domain: str) -> str | None:
    """The organisational domain (RFC 7489 3.2): one label below a public suffix.

    The list of suffixes is the package's: it names who sells or lends names to strangers
    (`co.uk`, `github.io`), which no rule over labels could know. None for a suffix itself.
    """
    return _suffixes().privatesuffix(domain)


def alignment(signer: str, author: str) -> Alignment:
    """How the domain of a signature stands to that of From; both as `ascii_domain` gives them."""
    if not signer or not author:
        return Alignment.NONE
    if signer == author:
        return Alignment.STRICT
    theirs = organisational_domain(signer)
    if theirs is not None and theirs == organisational_domain(author):
        return Alignment.RELAXED
    return Alignment.NONE


# Shared by threads: read only once it is made. Two that come first may each make one.
@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
