"""`ingest explain`: what each stage makes of a mail."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from typing import assert_never

import click

from ingest.cli.options import ANY_PATH, CommandSettings, asker, store_options
from ingest.cli.progress import say_left_out
from ingest.cli.terminal import escape_line, format_person, format_signature
from ingest.model import Delivery, Derived
from ingest.pipeline.derive import Steps, derive_steps
from ingest.reports.export import format_date
from ingest.series.arrange import Arrangement, arrange
from ingest.sources.source import NoMail, RawMail
from ingest.trust.signatures.dns_answer import (
    Answer,
    KeyRecord,
    NoSuchKey,
    NotQueried,
    TemporaryFailure,
)


@click.command(name="explain")
@click.argument("file", type=ANY_PATH)
@click.option("--dns", is_flag=True, help="Ask DNS for the keys of signatures.")
@store_options
def command(settings: CommandSettings, file: str, dns: bool) -> None:
    """Say what each stage makes of a mail, and why. Stores nothing.

    FILE is an .eml, an mbox, or - for standard input. With several mails, their threads and
    series are explained as well. Signatures are judged by the time at which the mail came; what
    is not found out, because DNS is not asked or has no key any more, is not-checked.
    """
    from ingest.sources.detect import open_source
    from ingest.trust.signatures.dkim_arc import key_names

    ask = asker(settings.config.trust) if dns else _nobody
    items = list(open_source(file).read())
    left_out = [item for item in items if isinstance(item, NoMail)]
    for item in left_out:
        say_left_out(item.reason)
    made = [
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
    if not made:
        raise click.ClickException(f"{file} holds no mail")
    facts = {one.derived.facts.key: one.derived.facts for one in made if not one.derived.ignored}
    arrangement = arrange(facts.values())
    for one in made:
        for line in _explained(one, arrangement):
            click.echo(escape_line(line))
        click.echo()
    if left_out:
        sys.exit(1)


def _nobody(names: Iterable[str]) -> dict[str, Answer]:
    return dict.fromkeys(names, NotQueried())


def _explained(one: Steps, arrangement: Arrangement) -> Iterator[str]:
    message, derived, submission = one.message, one.derived, one.submission
    facts = derived.facts
    yield f"message     {message.msgid}"
    yield f"  subject   {message.subject}"
    yield f"  date      {format_date(message.date) or 'none that can be'}"
    yield f"  answers   {', '.join(facts.parents[:5]) or 'nothing'}"
    yield f"  lists     {', '.join(name.list_id for name in derived.lists) or 'none'}"
    for part in message.parts:
        said = f"{len(part.text)} characters" if part.text is not None else "not read"
        name = f", {part.filename}" if part.filename else ""
        yield f"  part      {part.content_type}{name}: {said}"
    for defect in derived.defects:
        yield f"  defect    {defect}"
    yield f"submitter   {format_person(one.submitter.person)}"
    if one.submitter.rewriting is not None:
        yield f"  From      was rewritten: {one.submitter.rewriting}"
        yield f"  person    from {one.submitter.person_source or 'nowhere: From stands'}"
    yield from _vouching(derived)
    yield f"kind        {facts.kind}, since: {submission.reason}"
    subject = submission.subject
    place = "none" if facts.number is None else f"{subject.number}/{subject.total}"
    given = "" if subject.version_given else " (not written)"
    yield f"  subject   number {place}, version {subject.version}{given}"
    yield f"  prefixes  {', '.join(subject.prefixes) or 'none'}"
    if facts.hash is not None:
        yield f"  hash      {facts.hash}"
        yield f"  patch-id  {derived.patch_id or 'none'}"
    if derived.pull_url is not None:
        yield f"  pull      {derived.pull_url}"
    for trailer in submission.trailers:
        yield f"  trailer   {trailer.key}: {trailer.value}"
    if derived.ignored:
        yield f"outcome     ignored, since: {derived.ignored}"
        return
    where = arrangement.places[facts.key]
    yield f"outcome     {where.outcome}, since: {where.reason or submission.reason}"
    if where.parent is not None:
        yield f"  speaks to {where.parent}"
    for series in arrangement.series:
        for member in series.members:
            if member.key == facts.key:
                yield f"  series    {series.key}: {series.received_total} of {series.total}"
                yield f"  by rule   {member.rule} ({member.evidence or 'nothing above'})"


def _vouching(derived: Derived) -> Iterator[str]:
    """The names that were needed, what DNS said, and each verdict with its reason."""
    if derived.keys or derived.verdicts:
        yield f"signatures  {len(derived.verdicts)}"
    for name, said in derived.keys or ():
        yield f"  key       {name}: {_said(said)}"
    for verdict in derived.verdicts:
        yield f"  verdict   {format_signature(verdict)}"
    if derived.chain is not None:
        yield f"  chain     {derived.chain}"
    for results in derived.auth_results:
        found = ", ".join(f"{one.method}={one.result}" for one in results.results)
        yield f"  checked   by {results.server}: {found or 'nothing'}"


def _said(said: Answer) -> str:
    match said:
        case KeyRecord():
            return said.text
        case NoSuchKey():
            return "DNS has none"
        case TemporaryFailure():
            return "DNS did not say"
        case NotQueried():
            return "not asked"
    assert_never(said)
