"""Define `ingest explain`, which shows what each stage makes of a mail."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import assert_never

import click

from ingest.cli.help import examples
from ingest.cli.options import ANY_PATH, CommandSettings, make_dns_lookup, store_options
from ingest.cli.progress import report_skipped
from ingest.cli.terminal import escape_line, format_person, format_signature
from ingest.lifecycle.evidence import Evidence, format_evidence
from ingest.mail.message import Message, Part
from ingest.mail.substitute import MARK
from ingest.model import Delivery, Derived
from ingest.patch.subjects.subject import Subject
from ingest.patch.submission import Patch
from ingest.pipeline.derive import Steps, derive_steps
from ingest.pipeline.states import find_superseded_patches
from ingest.reports.fields import format_date
from ingest.series.arrange import Arrangement, arrange
from ingest.series.facts import Facts
from ingest.sources.source import NoMail, RawMail
from ingest.trust.signatures.dns_answer import (
    Answer,
    KeyRecord,
    NoSuchKey,
    NotQueried,
    TemporaryFailure,
)

_MAX_PARENTS = 5  # ids to print
_MAX_FILES = 5  # names to print

_COMPRESSED_TYPES = frozenset(
    f"application/{name}"
    for name in (
        *("gzip", "x-gzip", "zip", "x-zip-compressed", "x-xz", "x-bzip2", "zstd", "x-tar"),
        *("x-compressed", "x-compressed-tar", "x-gtar", "x-7z-compressed", "x-bzip", "x-lzip"),
    )
)
_COMPRESSED_NAMES = (".gz", ".tgz", ".xz", ".bz2", ".zst", ".zip", ".tar", ".7z", ".lz")


@click.command(
    name="explain", epilog=examples("ingest explain patch.eml", "ingest explain - < patch.eml")
)
@click.argument("file", type=ANY_PATH)
@click.option("--dns", is_flag=True, help="Query DNS for the keys of signatures.")
@store_options
def command(settings: CommandSettings, file: str, dns: bool) -> None:
    """Explain what each stage makes of a mail, and why. Stores nothing.

    FILE is an .eml, an mbox, or - for standard input. With several mails, their threads and
    series are explained as well. Signatures are verified at the time when the mail arrived;
    without --dns, or where DNS has no key any more, the result is not-checked.
    """
    from ingest.sources.detect import open_source
    from ingest.trust.signatures.dkim_arc import key_names

    ask = make_dns_lookup(settings.config.trust) if dns else _ask_nobody
    items = list(open_source(file).read())
    skipped = [item for item in items if isinstance(item, NoMail)]
    for item in skipped:
        report_skipped(item.reason)
    steps = [
        derive_steps(
            Delivery(
                raw=item.raw,
                sha256=hashlib.sha256(item.raw).digest(),
                source="explain",
                container_errors=item.defects,
                keys=tuple(ask(key_names(item.raw)).items()),
            ),
            settings.config,
        )
        for item in items
        if isinstance(item, RawMail)
    ]
    if not steps:
        raise click.ClickException(f"{file} holds no mail")
    derived = [mail_steps.derived for mail_steps in steps]
    facts = {mail.facts.key: mail.facts for mail in derived if not mail.ignored}
    arrangement = arrange(facts.values())
    evidence = find_superseded_patches(
        arrangement.series, {mail.facts.key: mail for mail in derived}
    )
    for mail_steps in steps:
        for line in _explain(mail_steps, arrangement, evidence):
            click.echo(escape_line(line))
        click.echo()
    if skipped:
        sys.exit(1)


def _ask_nobody(names: Iterable[str]) -> dict[str, Answer]:
    return dict.fromkeys(names, NotQueried())


def _stage(name: str, value: object) -> str:
    return f"{name:<14}{value}"


def _detail(name: str, value: object) -> str:
    return f"  {name:<12}{value}"


def _explain(
    steps: Steps, arrangement: Arrangement, evidence: Mapping[str, Sequence[Evidence]]
) -> Iterator[str]:
    """Return the lines about one mail, stage by stage."""
    yield from _explain_message(steps)
    yield from _explain_sender(steps)
    yield from _explain_authentication(steps.derived)
    yield from _explain_submission(steps)
    yield from _explain_outcome(steps, arrangement)
    for item in evidence.get(steps.derived.facts.key, ()):
        yield _stage("state", f"{item.state}: {format_evidence(item)}")


def _explain_message(steps: Steps) -> Iterator[str]:
    message, derived = steps.message, steps.derived
    yield _stage("message", message.msgid)
    if source := message.header(MARK):
        yield _detail("imported", f"made from what is kept in {source}")
    if message.wrapper is not None:
        ids = ", ".join(message.wrapper.msgids) or "without another id"
        sender = format_person(message.wrapper.sender)
        yield _detail("unwrapped", f"a list has sent it within its own mail: {ids} from {sender}")
    yield _detail("subject", message.subject)
    yield _detail("date", format_date(message.date) or "none that is valid")
    yield _detail("in-reply-to", ", ".join(derived.facts.parents[:_MAX_PARENTS]) or "none")
    yield _detail("lists", ", ".join(name.list_id for name in derived.lists) or "none")
    for number, part in enumerate(message.parts, start=1):
        yield _detail(f"part {number}", f"{_format_part(part)}: {_format_reading(part)}")
    for defect in derived.defects:
        yield _detail("defect", defect)


def _format_part(part: Part) -> str:
    return f"{part.content_type}, {part.filename}" if part.filename else part.content_type


def _format_reading(part: Part) -> str:
    """Say whether a part was read, and why it was not."""
    if part.text is None:
        return f"not read: {_why_not_read(part)}"
    size = f"{len(part.text)} characters"
    if part.nested:
        return f"{size}, not searched: it is in an enclosed mail"
    if part.content_type == "text/html":
        return f"{size}, not searched: HTML"
    return f"{size}, unwrapped (format=flowed)" if part.flowed else size


def _why_not_read(part: Part) -> str:
    name = (part.filename or "").lower()
    if part.content_type in _COMPRESSED_TYPES or name.endswith(_COMPRESSED_NAMES):
        return "compressed or an archive, which is never unpacked"
    if part.content_type.endswith(("-signature", "-encrypted", "/pkcs7-mime")):
        return "a signature or encrypted"
    if part.content_type.startswith(("multipart/", "message/")):
        return "too deep or too many parts, or the rest of a mail that is elsewhere"
    return "neither its type nor its name is that of a text"


def _explain_sender(steps: Steps) -> Iterator[str]:
    submitter = steps.submitter
    yield _stage("submitter", format_person(submitter.person))
    if submitter.rewriting is not None:
        yield _detail("From", f"rewritten: {submitter.rewriting}")
        yield _detail("person", f"from {submitter.person_source or 'From: no other is known'}")


def _explain_authentication(derived: Derived) -> Iterator[str]:
    """Return the names of keys, the answers of DNS, and each verdict with its reason."""
    if derived.keys or derived.verdicts:
        yield _stage("signatures", len(derived.verdicts))
    for name, answer in derived.keys or ():
        yield _detail("key", f"{name}: {_format_answer(answer)}")
    for verdict in derived.verdicts:
        yield _detail("verdict", format_signature(verdict))
    if derived.chain is not None:
        yield _detail("chain", derived.chain)
    for server_results in derived.auth_results:
        results = ", ".join(f"{result.method}={result.result}" for result in server_results.results)
        yield _detail("checked by", f"{server_results.server}: {results or 'nothing'}")


def _explain_submission(steps: Steps) -> Iterator[str]:
    derived, submission = steps.derived, steps.submission
    facts, subject = derived.facts, submission.subject
    yield _stage("kind", f"{facts.kind}, reason: {submission.reason}")
    implied = "" if subject.version_given else " (not written)"
    yield _detail(
        "subject", f"{_format_number(subject, facts)}, version {subject.version}{implied}"
    )
    yield _detail("prefixes", ", ".join(subject.prefixes) or "none")
    if facts.hash is not None:
        yield _detail("hash", facts.hash)
        yield _detail("patch-id", facts.patch_id or "none")
    yield from (
        _detail("depends on", f"{item.kind} {item.target}") for item in derived.dependencies
    )
    yield from (_detail("supersedes", msgid) for msgid in facts.supersedes)
    if facts.pull_url is not None:
        yield _detail("pull", facts.pull_url)
    if isinstance(submission, Patch):
        yield from _explain_parts_of_patch(steps.message, submission)
    if submission.author is not None:
        yield _detail("author", format_person(submission.author))
    for trailer in submission.trailers:
        yield _detail("trailer", f"{trailer.key}: {trailer.value}")


def _format_number(subject: Subject, facts: Facts) -> str:
    if subject.number is None or subject.total is None:
        return "unnumbered"
    minor = f".{subject.minor}" if subject.minor else ""
    unused = "" if facts.number is not None else " (not used)"
    return f"number {subject.number}{minor}/{subject.total}{unused}"


def _explain_parts_of_patch(message: Message, patch: Patch) -> Iterator[str]:
    """Return the part that gave the patch, the commit that it describes, and the other diffs."""

    def describe(index: int) -> str:
        return f"part {index + 1}, {_format_part(message.parts[index])}"

    yield _detail("diff", f"from {describe(patch.part)}: {_format_files(patch.files)}")
    for index in patch.copies:
        yield _detail("copy", f"in {describe(index)}: not used")
    for other in patch.others:
        yield _detail("other patch", f"in {describe(other.part)}: {_format_files(other.files)}")
    commit = patch.commit
    if commit is not None:
        yield _detail("commit", commit.subject or "no subject")
        if commit.author is not None:
            yield _detail("by", format_person(commit.author))
        if commit.date is not None:
            yield _detail("on", commit.date)


def _format_files(files: tuple[str, ...]) -> str:
    more = f" and {len(files) - _MAX_FILES} more" if len(files) > _MAX_FILES else ""
    return ", ".join(files[:_MAX_FILES]) + more or "no file"


def _explain_outcome(steps: Steps, arrangement: Arrangement) -> Iterator[str]:
    derived = steps.derived
    if derived.ignored:
        yield _stage("outcome", f"ignored, reason: {derived.ignored}")
        return
    key = derived.facts.key
    place = arrangement.places[key]
    reason = place.reason or steps.submission.reason
    yield _stage("outcome", f"{place.outcome}, reason: {reason}")
    if place.parent is not None:
        yield _detail("applies to", place.parent)
    for series in arrangement.series:
        for member in series.members:
            if member.key == key:
                yield _detail("series", f"{series.key}: {series.received_total} of {series.total}")
                yield _detail("by rule", f"{member.rule} ({member.evidence or 'no parent'})")


def _format_answer(answer: Answer) -> str:
    match answer:
        case KeyRecord():
            return answer.text
        case NoSuchKey():
            return "no such key in DNS"
        case TemporaryFailure():
            return "DNS did not respond"
        case NotQueried():
            return "not queried"
    assert_never(answer)
