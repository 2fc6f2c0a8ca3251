"""Decide to whom a patch is assigned: by a header of its mail, else by the files that it changes.

The rules are Patchwork's: of all rules that match a file of the patch, the one with the highest
priority decides. Accounts are named as they are stored here; whether there is such an account is
the store's to know. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from ingest.frozen import frozen

_MAX_FILES = 2_000  # of a patch that are compared
_MAX_NAME = 500


@frozen(kw_only=True)
class DelegationRule:
    """Patches that change a file with this path are assigned to an account.

    `path`: a shell pattern, whose `*` also matches `/`, as in Patchwork.
    """

    path: str
    account: str
    priority: int = 0


def find_delegate(
    header: str | None, files: Collection[str], rules: Iterable[DelegationRule]
) -> str | None:
    """Return the account to which a patch is assigned, or None.

    `header`: the value of X-Patchwork-Delegate, an address. Of rules with the same priority, the
    first by path and account decides.
    """
    named = " ".join((header or "").split())
    if named:
        return named[:_MAX_NAME] if named.isprintable() else None
    ordered = sorted(rules, key=lambda rule: (-rule.priority, rule.path, rule.account))
    compared = sorted(files)[:_MAX_FILES] if ordered else []
    for rule in ordered:
        if any(fnmatchcase(name, rule.path) for name in compared):
            return rule.account
    return None


def list_delegates(named: str | None, maintainers: str | None) -> tuple[str, ...]:
    """Return who may be assigned a patch, in order: the first who has an account is.

    `named`: by its header or a rule; `maintainers`: of its files, one a line.
    """
    names = [named] if named else []
    return (*names, *(maintainers.split("\n") if maintainers else ()))
