"""Extract the facts of a message: the part of it on which the series of its thread depend."""

from __future__ import annotations

from typing import assert_never

from ingest.mail.message import Address, Message
from ingest.mail.msgid import bound_id, original_id, parse_ids
from ingest.patch.submission import Cover, Other, Patch, PullRequest, Reply, Submission
from ingest.series.facts import Facts, MessageKind
from ingest.series.sketch import sketch_files, sketch_lines
from ingest.trust.person import name_key, person_key

# The largest number and total that a person can have sent. A larger one is noise: the patch is
# then in a series of its own.
MAX_NUMBER = 99_999

# Where providers keep the Message-ID that they replace: QQ, Outlook, Gmail, Google Workspace. In
# lower case, as the names of the fields are kept.
_ORIGINAL_ID_HEADERS = (
    "x-oq-msgid",
    "x-microsoft-original-message-id",
    "x-gmail-original-message-id",
    "x-google-original-message-id",
)
_STATE_HEADER = "X-Patchwork-State"
_MAX_STATE = 100  # characters: the size of Patchwork's column


def extract_facts(message: Message, person: Address, submission: Submission) -> Facts:
    """Return the facts of a message, all that its thread may know of it.

    `person`: its submitter.
    """
    subject = submission.subject
    kind = _kind(submission)
    is_piece = kind in (MessageKind.PATCH, MessageKind.COVER, MessageKind.PULL)
    is_reply = kind is MessageKind.REPLY
    number, total = subject.number, subject.total
    # A patch set within a patch bomb is numbered among patch sets, not among patches.
    is_nested_set = kind is MessageKind.COVER and number != 0
    is_counted = number is not None and total is not None and total >= 1
    is_too_large = max(number or 0, total or 0) > MAX_NUMBER
    if not is_piece or is_nested_set or not is_counted or is_too_large:
        number = total = None
    parents = tuple(dict.fromkeys((*message.in_reply_to, *reversed(message.references))))
    dependencies = submission.dependencies
    return Facts(
        key=message.msgid,
        msgid=message.msgid,
        kind=kind,
        sender=person_key(person.email),
        date=message.date,
        parents=tuple(msgid for msgid in parents if msgid != message.msgid),
        name="" if is_reply else subject.name,
        prefixes=() if is_reply else subject.prefixes,
        title="" if is_reply else subject.title,
        tag=subject.target if is_piece else "",
        number=number,
        minor=subject.minor if number is not None else 0,
        total=total,
        version=subject.version if is_piece else 1,
        version_minor=subject.version_minor if is_piece else 0,
        version_given=subject.version_given if is_piece else False,
        title_version=None if is_reply else subject.title_version,
        rfc=subject.rfc and not is_reply,
        resend=subject.resend and not is_reply,
        reason=submission.reason,
        reply=subject.reply,
        patchset=subject.patchset and kind is MessageKind.COVER,
        hash=submission.hash if isinstance(submission, Patch | PullRequest) else None,
        change_id=dependencies.change_id,
        earlier=tuple(posting.msgid for posting in dependencies.earlier),
        supersedes=dependencies.supersedes,
        mentioned=dependencies.mentioned,
        aliases=other_ids(message),
        sender_name=name_key(person.name) if is_piece else "",
        files=sketch_files(submission.files) if isinstance(submission, Patch) else (),
        lines=sketch_lines(submission.diff) if isinstance(submission, Patch) else (),
        patch_id=submission.patch_id if isinstance(submission, Patch | PullRequest) else None,
        pull_url=_pull_url(submission),
        state=_state(message) if is_piece else "new",
    )


def other_ids(message: Message) -> tuple[str, ...]:
    """Return the other ids by which replies may name the message.

    They are those of mails that lists wrapped it in, and the id that the sender's program gave it
    and a provider has replaced: the other patches of the series were made to answer that one.
    """
    named = set(message.wrapper.msgids) if message.wrapper is not None else set()
    for header in _ORIGINAL_ID_HEADERS:
        for value in message.values.get(header, ())[:1]:
            named.update(bound_id(msgid) for msgid in parse_ids(value)[:1])
    named.discard(message.msgid)
    return tuple(sorted(named))


def linked_ids(message: Message) -> tuple[str, ...]:
    """Return every id that connects the mail to a thread, except for its own."""
    before = original_id(message.msgid)
    named = (*other_ids(message), *message.in_reply_to, *message.references)
    return (*named, before) if before is not None else named


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
        case _:
            assert_never(submission)


def _state(message: Message) -> str:
    """Return the state that the sender requests; "new" where the request is no state's name."""
    state = " ".join((message.header(_STATE_HEADER) or "").split()).lower()
    return state if state.isprintable() and 0 < len(state) <= _MAX_STATE else "new"


def _pull_url(submission: Submission) -> str | None:
    return submission.pull_url if isinstance(submission, Cover | PullRequest) else None
