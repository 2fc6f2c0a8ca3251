"""The way of a message, in one place: bytes, message, person, kind, facts, rows.

`derive` is pure: the same bytes give the same result, and no database is imported for it, so
that a worker of the daemon's starts quickly and small. `store_mail` is what every intake calls.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ingest.config.file import Config
from ingest.frozen import frozen
from ingest.mail.defect import Defect
from ingest.mail.message import Address, ListName, Message
from ingest.mail.msgid import original_id
from ingest.mail.parse import parse_message
from ingest.model import BY_LIST_ID, Delivery, Dependency, Derived, Failure
from ingest.patch.classify import classify
from ingest.patch.submission import Cover, Other, Patch, PullRequest, Reply, Submission
from ingest.series.facts import Facts, MessageKind
from ingest.trust.authres import find_auth_results
from ingest.trust.mailmap import Mailmap, parse_mailmap
from ingest.trust.person import Submitter, find_submitter, person_key

if TYPE_CHECKING:
    from ingest.trust.signatures.authenticate import Authentication

# A record's number and total are what a person can have sent; beyond that they are noise, and
# the patch stands alone.
MAX_NUMBER = 99_999

_STATES = "X-Patchwork-State"
_HINT = "X-Patchwork-Hint"
_MAX_STATE = 100  # characters: Patchwork's column


@frozen
class Steps:
    """What each stage made of a mail, for `ingest explain`."""

    message: Message
    submitter: Submitter
    submission: Submission
    derived: Derived


def derive(delivery: Delivery, config: Config) -> Derived:
    """What a mail's records hold, but for its place in a thread. Pure."""
    return derive_steps(delivery, config).derived


def derive_steps(delivery: Delivery, config: Config) -> Steps:
    """`derive`, with what each stage handed on."""
    message = parse_message(delivery.raw)
    who, joined = _person(message, config)
    named = _named_lists(message, delivery)
    lists = config.taken(named)
    submission = classify(
        message, who.person, list_names=[config.link_name(one.list_id) for one in named]
    )
    facts = _facts(message, who.person, submission)
    vouched = _vouched(delivery, message, config)
    return Steps(
        message,
        who,
        submission,
        Derived(
            sha256=delivery.sha256,
            facts=facts,
            fingerprint=_fingerprint(facts, submission),
            rank=_rank(message, who, delivery),
            received_at=message.received or message.date,
            links=_links(message),
            subject=message.subject,
            sender=who.person,
            author=_author(submission.author, who.person, joined),
            lists=lists,
            reason=submission.reason,
            ignored=_ignored(message, delivery, config, lists),
            defects=tuple(
                sorted({*message.defects, *submission.defects, *delivery.container_errors})
            ),
            content=submission.content,
            diff=_diff(submission),
            patch_id=submission.patch_id if isinstance(submission, Patch | PullRequest) else None,
            pull_url=_pull_url(submission),
            state=_state(message),
            dependencies=_dependencies(submission),
            trailers=submission.trailers,
            rewriting=who.rewriting,
            person_source=who.person_source,
            keys=delivery.keys,
            verdicts=vouched.verdicts if vouched is not None else (),
            chain=vouched.chain if vouched is not None else None,
            auth_results=find_auth_results(message.headers, config.trust.authserv_ids),
        ),
    )


# What a defect of ours raises, here or in the store: named, so that nothing else is hidden.
INTERNAL_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def derive_or_fail(delivery: Delivery, config: Config) -> Derived | Failure:
    """The one boundary behind which a defect of ours must not lose or hold up mail."""
    try:
        return derive(delivery, config)
    except INTERNAL_ERRORS as error:
        return Failure(delivery.sha256, failure_reason("parse-failed", error))


def failure_reason(stage: str, error: Exception) -> str:
    """A stable name and what was said, on one line of ASCII: what an error quotes of the mail
    may be nothing that a database takes.
    """
    said = " ".join(str(error).split()).encode("unicode_escape").decode("ascii")
    return f"{stage}: {type(error).__name__}: {said}".rstrip(": ")[:500]


# --- the pieces of a Derived -----------------------------------------------------------------


def _person(message: Message, config: Config) -> tuple[Submitter, Mailmap]:
    """Who submitted it, under the address that a mailmap gives them."""
    joined = _mailmap(config.trust.mailmap)
    who = find_submitter(message)
    if joined.joined:
        who = replace(who, person=joined.person(who.person))
    return who, joined


# Shared by threads: the cache has a lock of its own, and nobody changes a `Mailmap`.
@lru_cache(maxsize=2)  # the one in use, and one that it has replaced
def _mailmap(text: str) -> Mailmap:
    return parse_mailmap(text)


def _author(author: Address | None, person: Address, joined: Mailmap) -> Address | None:
    """The author, where that is not the submitter under another address."""
    if not joined.joined:
        return author
    found = joined.person(author) if author is not None else None
    same = found is not None and person_key(found.email) == person_key(person.email)
    return None if same else found


def _vouched(delivery: Delivery, message: Message, config: Config) -> Authentication | None:
    """What vouches for the mail, by the keys that its delivery has.

    Without them nothing can be said that is not said of every such mail: `not-checked`. That is
    made when somebody reads it (`store.write.authentication`), and costs a replay nothing.
    """
    if delivery.keys is None:
        return None
    from ingest.trust.signatures.authenticate import (
        authenticate,  # and with it dkimpy, which most archives do not need
    )

    return authenticate(
        delivery.raw,
        dict(delivery.keys),
        delivery.arrived or message.received,
        replayed=delivery.arrived is None,
        keyrings=config.trust.keyrings,
    )


def _links(message: Message) -> tuple[str, ...]:
    """Every id that ties the mail into a thread, besides its own."""
    before = original_id(message.msgid)
    named = (*message.in_reply_to, *message.references)
    return (*named, before) if before is not None else named


def _named_lists(message: Message, delivery: Delivery) -> tuple[ListName, ...]:
    """The lists that the delivery named, or else those that the mail's headers name.

    Anybody can write a List-Id; who it was delivered to is the mail server's word. So headers
    only add the address of a list that the delivery has named too.
    """
    found = {one.list_id: one for one in message.lists}
    routed = set(delivery.route) - {BY_LIST_ID}
    named = {one: found.get(one, ListName(one, "")) for one in routed}
    if not delivery.route or BY_LIST_ID in delivery.route:
        named |= found
    return tuple(named[list_id] for list_id in sorted(named))


def _ignored(
    message: Message, delivery: Delivery, config: Config, lists: tuple[ListName, ...]
) -> str | None:
    if delivery.withdrawn:
        return "withdrawn"
    if (message.header(_HINT) or "").strip().lower() == "ignore":
        return "hint-ignore"
    if config.lists and not lists:
        return "list-not-configured"
    return None


def _state(message: Message) -> str:
    """The state that the sender asks for; what can be no state's name asks for nothing."""
    asked = " ".join((message.header(_STATES) or "").split()).lower()
    return asked if asked.isprintable() and 0 < len(asked) <= _MAX_STATE else "new"


def _facts(message: Message, person: Address, submission: Submission) -> Facts:
    subject = submission.subject
    kind = _kind(submission)
    piece = kind in (MessageKind.PATCH, MessageKind.COVER, MessageKind.PULL)
    number, total = subject.number, subject.total
    # A patch set within a patch bomb is numbered among patch sets, not among patches.
    set_of_sets = kind is MessageKind.COVER and number != 0
    counted = number is not None and total is not None and total >= 1
    if not piece or set_of_sets or not counted or max(number or 0, total or 0) > MAX_NUMBER:
        number = total = None
    references = message.references
    parents = tuple(dict.fromkeys((*message.in_reply_to, *reversed(references))))
    dependencies = submission.dependencies
    return Facts(
        key=message.msgid,
        msgid=message.msgid,
        kind=kind,
        sender=person_key(person.email),
        date=message.date,
        parents=tuple(one for one in parents if one != message.msgid),
        name=subject.name if kind is not MessageKind.REPLY else "",
        prefixes=subject.prefixes if kind is not MessageKind.REPLY else (),
        title=subject.title if kind is not MessageKind.REPLY else "",
        tag=_tag(subject.prefixes) if piece else "",
        number=number,
        minor=subject.minor if number is not None else 0,
        total=total,
        version=subject.version if piece else 1,
        version_minor=subject.version_minor if piece else 0,
        version_given=subject.version_given if piece else False,
        title_version=subject.title_version if kind is not MessageKind.REPLY else None,
        reason=submission.reason,
        reply=subject.reply,
        patchset=subject.patchset and kind is MessageKind.COVER,
        hash=submission.hash if isinstance(submission, Patch | PullRequest) else None,
        change_id=dependencies.change_id,
        earlier=tuple(one.msgid for one in dependencies.earlier),
    )


def _kind(submission: Submission) -> MessageKind:
    match submission:
        case Patch():
            return MessageKind.PATCH
        case Cover():
            return MessageKind.COVER
        case PullRequest():
            return MessageKind.PULL
        case Reply():
            return MessageKind.REPLY
        case Other():
            return MessageKind.OTHER


# Words of a prefix that tell postings of one patch set apart, not what they are for.
_COUNTING = re.compile(r".*v[0-9]+(?:\.[0-9]+)?|.*[0-9]/[0-9]+|[0-9]+ of [0-9]+|.*resend.*")


def _tag(prefixes: tuple[str, ...]) -> str:
    """The prefixes that say what a posting is for (`rfc net-next`, `autosel 6.12`): without
    numbers, versions and RESEND.
    """
    said = (word.lower()[:64] for word in prefixes)
    return " ".join(word for word in said if not _COUNTING.fullmatch(word))


def _diff(submission: Submission) -> str | None:
    match submission:
        case Patch() | PullRequest() | Reply() | Other():
            return submission.diff
        case Cover():
            return None


def _dependencies(submission: Submission) -> tuple[Dependency, ...]:
    says = submission.dependencies
    found = [Dependency("base-commit", says.base_commit)] if says.base_commit else []
    found += [Dependency("patch-id", one) for one in says.prerequisite_patch_ids]
    found += [Dependency("change-id", one) for one in says.prerequisite_change_ids]
    found += [
        Dependency("message" if one.startswith("<") else "url", one) for one in says.depends_on
    ]
    return tuple(found)


def _pull_url(submission: Submission) -> str | None:
    return submission.pull_url if isinstance(submission, Cover | PullRequest) else None


def _fingerprint(facts: Facts, submission: Submission) -> str:
    """What copies of one message share: who, which patch of what, and its words without space.

    Lists append footers (cut off as signatures are), wrap headers, change transfer encodings
    and put their name into the subject; none of that makes another message.
    """
    version = f"v{facts.version}.{facts.version_minor}"
    title = "".join(submission.subject.title.split()).lower()
    said = (
        f"{facts.sender}\0{facts.kind}\0{facts.number}.{facts.minor}/{facts.total} {version}"
        f"\0{title}".encode("utf-8", "surrogatepass"),
        _without_space(_without_footer(submission.content)),
        _without_space(_diff(submission) or ""),
    )
    return hashlib.sha1(b"\0".join(said)).hexdigest()


# What `str.split` takes for white space, within US-ASCII.
_SPACE = bytes(code for code in range(0x80) if chr(code).isspace())


def _without_space(text: str) -> bytes:
    """`text` without white space. That of other scripts needs a look at each word, which costs
    three times as much.
    """
    if text.isascii():
        return text.encode().translate(None, _SPACE)
    return "".join(text.split()).encode("utf-8", "surrogatepass")


def _without_footer(content: str) -> str:
    """Majordomo's footer stands below a line `--` that lacks the space of a signature's."""
    head, line, tail = content.rpartition("\n--\n")
    return head if line and tail.count("\n") <= 5 else content


def _rank(message: Message, who: Submitter, delivery: Delivery) -> str:
    """Which copy is the best, the least first: whole, its From untouched, with few defects,
    heard early; the digest decides between equals.
    """
    received_at = message.received or message.date
    return "".join(
        (
            str(int(delivery.withdrawn)),
            str(int(Defect.TRUNCATED in delivery.container_errors)),
            str(int(who.person_source is not None)),
            f"{min(len(message.defects), 99):02}",
            received_at.isoformat() if received_at else "9",
            delivery.sha256.hex(),
        )
    )
