"""Normalise domain names, and find out which of them belong to the same organisation.

Input: names from mail. Output: A-labels in lower case, or None for text that cannot be a name.
"""

from __future__ import annotations

import re
from functools import cache

import idna
from publicsuffixlist import PublicSuffixList

from ingest.trust.signatures.verdict import Alignment

MAX_DOMAIN = 253  # characters as text, RFC 1035 2.3.4

# The labels of DNS queries: letters, digits, "-", and the "_" of `_domainkey` (RFC 8552).
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 3.1: four full stops separate labels


def ascii_domain(name: str) -> str | None:
    """Return a domain as DNS has it: A-labels (RFC 5890) in lower case, without a final dot.

    Labels are mapped by UTS 46. Returns None if a label is empty, too long or invalid.
    """
    name = name.removesuffix(".")
    if not name or len(name) > MAX_DOMAIN:
        return None
    if not name.isascii():
        try:
            name = ".".join(map(_to_a_label, _DOTS.split(name)))
        except (idna.IDNAError, UnicodeError):
            return None
        if len(name) > MAX_DOMAIN:
            return None
    name = name.lower()
    return name if all(map(_LABEL.fullmatch, name.split("."))) else None


def _to_a_label(label: str) -> str:
    if label.isascii():
        return label
    return idna.encode(label, uts46=True, transitional=False).decode("ascii")


def key_name(selector: str, domain: str) -> str | None:
    """Return the name of a signature's key in DNS (RFC 6376 3.6.2.1), or None if it is invalid."""
    return ascii_domain(f"{selector.removesuffix('.')}._domainkey.{domain}")


def organisational_domain(domain: str) -> str | None:
    """Return the organisational domain (RFC 7489 3.2): one label below a public suffix.

    The list of suffixes is that of the package `publicsuffixlist`. It names the domains under
    which strangers can register names (`co.uk`, `github.io`), which no rule over labels could
    find. Returns None for a suffix itself.
    """
    return _load_suffixes().privatesuffix(domain)


def alignment(signer: str, author: str) -> Alignment:
    """Return the alignment of a signature's domain with that of From.

    Both are results of `ascii_domain`, or ''.
    """
    if not signer or not author:
        return Alignment.NONE
    if signer == author:
        return Alignment.STRICT
    organisation = organisational_domain(signer)
    if organisation is not None and organisation == organisational_domain(author):
        return Alignment.RELAXED
    return Alignment.NONE


# Shared by threads: nothing changes the list. Two threads that start together may both load it.
@cache
def _load_suffixes() -> PublicSuffixList:
    return PublicSuffixList()
