"""Derive what the records of a mail hold: from bytes to message, person, kind and facts.

`derive` is pure: the same bytes give the same result. It imports no database, so that a worker
process of the daemon starts quickly and stays small.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, assert_never

from ingest.config.settings import Config
from ingest.frozen import frozen
from ingest.lifecycle.announced import find_announcements
from ingest.lifecycle.announcement import Announcements
from ingest.lifecycle.delegation import DelegationRule, find_delegate
from ingest.lifecycle.entitlement import find_entitled, read_signature
from ingest.mail.message import Address, ListName, Message
from ingest.mail.parse import parse_message
from ingest.model import (
    BY_LIST_ID,
    Delivery,
    Dependency,
    Derived,
    Failure,
)
from ingest.patch.classify import classify
from ingest.patch.submission import Cover, Other, Patch, PullRequest, Reply, Submission
from ingest.pipeline.copies import compute_fingerprint, compute_rank
from ingest.pipeline.internal_errors import INTERNAL_ERRORS, failure_reason
from ingest.pipeline.message_facts import extract_facts, linked_ids
from ingest.trust.authres import find_auth_results
from ingest.trust.mailmap import Mailmap, parse_mailmap
from ingest.trust.person import Submitter, find_submitter, person_key

if TYPE_CHECKING:
    from ingest.trust.signatures.authenticate import Authentication

_DELEGATE_HEADER = "X-Patchwork-Delegate"
_HINT_HEADER = "X-Patchwork-Hint"
# Of a patch to more files, the first are found by their names.
_MAX_FILES = 1_000
_MAX_NAMES = 50_000  # characters


@frozen
class Steps:
    """Hold the result of each stage for one mail, for `ingest explain`."""

    message: Message
    submitter: Submitter
    submission: Submission
    derived: Derived


def derive(delivery: Delivery, config: Config) -> Derived:
    """Return what a mail's records hold, except for its place in a thread. Pure."""
    return derive_steps(delivery, config).derived


def derive_steps(delivery: Delivery, config: Config) -> Steps:
    """Do what `derive` does, and return the result of each stage too."""
    message = parse_message(delivery.raw)
    submitter, mailmap = _find_submitter(message, config)
    named_lists = _named_lists(message, delivery)
    lists = config.select_lists(named_lists)
    submission = classify(
        message,
        submitter.person,
        list_names=[config.link_name(named.list_id) for named in named_lists],
    )
    facts = extract_facts(message, submitter.person, submission)
    if delegate := _delegate(message, submission, lists, config):
        facts = replace(facts, delegate=delegate)
    diff = _diff(submission)
    authentication = _authenticate(delivery, message, config)
    return Steps(
        message,
        submitter,
        submission,
        Derived(
            sha256=delivery.sha256,
            facts=facts,
            fingerprint=compute_fingerprint(facts, submission, diff),
            rank=compute_rank(message, submitter, delivery),
            received_at=message.received or message.date,
            links=linked_ids(message),
            subject=message.subject,
            sender=submitter.person,
            author=_author(submission.author, submitter.person, mailmap),
            lists=lists,
            reason=submission.reason,
            ignored=_ignore_reason(message, delivery, config, lists),
            defects=tuple(
                sorted({*message.defects, *submission.defects, *delivery.container_errors})
            ),
            content=submission.content,
            diff=diff,
            files=_files(submission),
            dependencies=_dependencies(submission),
            trailers=submission.trailers,
            rewriting=submitter.rewriting,
            person_source=submitter.person_source,
            keys=delivery.keys,
            verdicts=authentication.verdicts if authentication is not None else (),
            chain=authentication.chain if authentication is not None else None,
            auth_results=find_auth_results(message.server_headers, config.trust.authserv_ids),
            announcements=_announcements(message, submitter, submission, authentication, config),
        ),
    )


def derive_or_fail(delivery: Delivery, config: Config) -> Derived | Failure:
    """Derive a mail, or return a `Failure` where our own code has an internal error.

    This is the one boundary at which such errors are caught: they must not lose or delay mail.
    """
    try:
        return derive(delivery, config)
    except INTERNAL_ERRORS as error:
        return Failure(delivery.sha256, failure_reason("parse-failed", error))


# --- the parts of a Derived ------------------------------------------------------------------


def _find_submitter(message: Message, config: Config) -> tuple[Submitter, Mailmap]:
    """Return who submitted a mail, under the address that the mailmap maps theirs to."""
    mailmap = _mailmap(config.trust.mailmap)
    submitter = find_submitter(message)
    if mailmap.entries:
        submitter = replace(submitter, person=mailmap.resolve(submitter.person))
    return submitter, mailmap


# Shared by threads: the cache has a lock of its own, and a `Mailmap` is never changed.
@lru_cache(maxsize=2)  # the current one, and the one that it has replaced
def _mailmap(text: str) -> Mailmap:
    return parse_mailmap(text)


def _author(author: Address | None, person: Address, mailmap: Mailmap) -> Address | None:
    """Return the author, or None where that is the submitter under another address."""
    if not mailmap.entries:
        return author
    mapped = mailmap.resolve(author) if author is not None else None
    is_submitter = mapped is not None and person_key(mapped.email) == person_key(person.email)
    return None if is_submitter else mapped


def _authenticate(delivery: Delivery, message: Message, config: Config) -> Authentication | None:
    """Verify the mail's signatures with the keys that its delivery holds.

    Without keys the result is the same for every mail: `not-checked`. It is then made when
    somebody reads it (`store.write.authentication`), and costs a replay nothing.
    """
    if delivery.keys is None:
        return None
    from ingest.trust.signatures.authenticate import (
        authenticate,  # imports dkimpy, which most archives do not need
    )

    return authenticate(
        delivery.raw,
        dict(delivery.keys),
        delivery.arrived or message.received,
        replayed=delivery.arrived is None,
        keyrings=config.trust.keyrings,
    )


def _delegate(
    message: Message, submission: Submission, lists: tuple[ListName, ...], config: Config
) -> str | None:
    """Return the account to which a patch is assigned, by its header or by its lists' rules."""
    if not isinstance(submission, Patch | PullRequest):
        return None
    configured = [config.find_list(named.list_id) for named in lists] if config.lists else []
    rules = [
        DelegationRule(path=rule.path, account=rule.account, priority=rule.priority)
        for item in configured
        if item is not None
        for rule in item.delegation
    ]
    files = submission.files if isinstance(submission, Patch) else ()
    return find_delegate(message.header(_DELEGATE_HEADER), files, rules)


def _announcements(
    message: Message,
    submitter: Submitter,
    submission: Submission,
    authentication: Authentication | None,
    config: Config,
) -> Announcements | None:
    """Return what the mail announces of states, and which of them its sender may set."""
    items = find_announcements(message, submission)
    if not items:
        return None
    emails = {submitter.person.email}
    if submitter.person_source is None:
        emails.add(message.sender.email)  # which the mailmap may map to another
    subject = submission.subject
    return Announcements(
        items=items,
        entitled=find_entitled(emails, config.entitled_by_list()),
        signature=read_signature(
            authentication.verdicts if authentication is not None else (), message.sender.email
        ),
        version=subject.version if subject.version_given else None,
    )


def _named_lists(message: Message, delivery: Delivery) -> tuple[ListName, ...]:
    """Return the lists that the delivery named, else those that the mail's headers name.

    Anybody can write a List-Id, but only the mail server names the recipient. So the headers
    only add the address of a list that the delivery has named too.
    """
    in_headers = {name.list_id: name for name in message.lists}
    routed = set(delivery.route) - {BY_LIST_ID}
    named = {list_id: in_headers.get(list_id, ListName(list_id, "")) for list_id in routed}
    if not delivery.route or BY_LIST_ID in delivery.route:
        named |= in_headers
    return tuple(named[list_id] for list_id in sorted(named))


def _ignore_reason(
    message: Message, delivery: Delivery, config: Config, lists: tuple[ListName, ...]
) -> str | None:
    """Return why a mail is ignored, or None where it is not."""
    if delivery.withdrawn:
        return "withdrawn"
    if (message.header(_HINT_HEADER) or "").strip().lower() == "ignore":
        return "hint-ignore"
    if config.lists and not lists:
        return "list-not-configured"
    return None


def _diff(submission: Submission) -> str | None:
    match submission:
        case Patch() | PullRequest() | Reply() | Other():
            return submission.diff
        case Cover():
            return None
        case _:
            assert_never(submission)


def _files(submission: Submission) -> str | None:
    """Return the names of the files that a patch touches, one a line; None for any other mail."""
    if not isinstance(submission, Patch):
        return None
    names = dict.fromkeys(
        name for files in (submission.files, *(other.files for other in submission.others))
        for name in files
    )  # fmt: skip
    text = "\n".join(list(names)[:_MAX_FILES])[:_MAX_NAMES]
    # A quoted name may have any byte.
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode() or None


def _dependencies(submission: Submission) -> tuple[Dependency, ...]:
    stated = submission.dependencies
    dependencies = [Dependency("base-commit", stated.base_commit)] if stated.base_commit else []
    dependencies += [Dependency("patch-id", hex_) for hex_ in stated.prerequisite_patch_ids]
    dependencies += [Dependency("change-id", text) for text in stated.prerequisite_change_ids]
    dependencies += [Dependency(_target_kind(target), target) for target in stated.depends_on]
    return tuple(dependencies)


def _target_kind(target: str) -> str:
    if target.startswith("<"):
        return "message"
    return "url" if "://" in target else "number"
