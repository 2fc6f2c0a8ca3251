"""Test that git reads the same from the original mail and from the mail that we write.

Differences must be of the classes that docs/git-am.md lists, with its counts for the whole archive.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from ingest.api.mbox import patch_mbox
from ingest.config.settings import Config
from ingest.mail.message import Message, Part
from ingest.mail.parse import parse_message
from ingest.patch.classify import PatchPart, find_patch_part
from ingest.patch.diffs.patch_id import patch_id
from ingest.patch.in_body import cut_at_scissors, find_patch_start
from ingest.series.outcome import Outcome
from ingest.store.database.engine import open_store
from ingest.store.read import messages
from ingest.trust.person import find_submitter
from tests.support import mails, preimages
from tests.support.git_mailinfo import NOTHING, PROCESSES, Reading, git, read_mails, split_mbox
from tests.support.paths import ROOT
from tests.support.situations import records, situations

pytestmark = pytest.mark.usefixtures("git_program")

SAMPLE = 300
TABLE = re.compile(r"^\| ([a-z][a-z -]+) \| ([0-9,]+) \|", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A patch: its original mail, and the one that we write. `patch_id`: of the record."""

    key: str
    sent: bytes
    ours: bytes
    patch_id: str | None


def handed_out(connection: Connection, limit: int | None = None) -> Iterator[HandedOut]:
    """Return the patches of a store that have a diff, or an evenly spread sample of them."""
    ids = mails.list_message_ids(connection, Outcome.PATCH)
    step = max(1, len(ids) // limit) if limit else 1
    rows = [row for row in messages.read_messages(connection, ids[::step]) if row.diff][:limit]
    raws = messages.read_raw_mails(connection, {row.mail_id for row in rows})
    ours = split_mbox(b"".join(patch_mbox(connection, rows)))
    assert len(ours) == len(rows), "one mail of the mbox for each patch"
    for row, mail in zip(rows, ours, strict=True):
        yield HandedOut(row.key, raws[row.mail_id], mail, row.patch_id)


def find_patch(raw: bytes) -> PatchPart | None:
    message = parse_message(raw)
    return find_patch_part(message, find_submitter(message).person)


def has_scissors(raw: bytes) -> bool:
    patch = find_patch(raw)
    text = patch.part.text or "" if patch is not None else ""
    return cut_at_scissors(text[: find_patch_start(text)]) is not None


def without_trailers(message: bytes, of: bytes) -> bytes:
    """Return `message` without the trailers at its end that `of` does not have."""
    own = set(of.splitlines())
    lines = message.rstrip().split(b"\n")
    while lines and lines[-1] not in own and re.match(rb"[A-Z][a-z]+-by: ", lines[-1]):
        lines.pop()
    return b"\n".join(lines).rstrip()


def differences(mail: HandedOut, sent: Reading, ours: Reading) -> list[str]:
    """Return the classes of the differences; `unexplained …` for those that no class explains."""
    if sent == ours:
        return []
    assert ours != NOTHING, mail.key
    if not (sent.subject or sent.date):  # refused, or its header ends early for git
        return ["repaired header"]
    if b"utf-7" in mail.sent.lower():  # git does not know it
        return ["repaired charset"]
    message = parse_message(mail.sent)
    if message.wrapper is not None:
        return ["wrapped mail"]
    patch = find_patch(mail.sent)
    assert patch is not None
    part = patch.part
    if patch.commit is not None:
        return ["attached patch with a mail header"]
    classes = [*_of_fields(message, sent, ours), *_of_message(part, sent.message, ours.message)]
    return [*classes, *_of_patch(message, part, sent.patch, ours.patch)]


def _of_fields(message: Message, sent: Reading, ours: Reading) -> Iterator[str]:
    if (sent.name, sent.email) != (ours.name, ours.email):
        if find_submitter(message).rewriting is not None:
            yield "rewritten from"
        elif _is_repaired(message, "from") or message.header("from") is None:
            yield "repaired header"
        else:
            yield "unexplained author"
    if sent.date != ours.date:
        yield "repaired header" if not sent.date or message.defects else "unexplained date"
    if sent.subject != ours.subject:
        yield "repaired header" if _is_repaired(message, "subject") else "unexplained subject"


def _is_repaired(message: Message, name: str) -> bool:
    """Tell whether a field occurs twice or has text that git reads differently from mail
    programs."""
    values = message.values.get(name, ())
    return len(values) > 1 or any(
        "=?" in value or value.count("@") > 1 or not value.isascii() for value in values
    )


def _of_message(part: Part, sent: bytes, ours: bytes) -> Iterator[str]:
    if sent == ours:
        return
    if part.flowed:
        yield "flowed text"
        return
    plain = sent.replace(b"\r\n", b"\n").strip()
    if plain != sent.strip() or sent.strip() == ours.strip():
        yield "line ends of the message"
    if without_trailers(ours, plain) != ours.rstrip():
        yield "trailers from replies"
    if without_trailers(ours, plain).strip() == plain:
        return
    if not _is_utf8(sent) or _ascii(sent) == _ascii(ours):  # git could not convert it
        yield "repaired charset"
    else:
        yield "text of other parts" if ours.strip() in sent else "unexplained message"


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ascii(text: bytes) -> bytes:
    return b" ".join(re.sub(rb"[^!-~]+", b" ", text).split())


def _of_patch(message: Message, part: Part, sent: bytes, ours: bytes) -> Iterator[str]:
    if sent.rstrip(b"\n") == ours.rstrip(b"\n"):
        return
    if part.flowed:
        yield "flowed text"
    elif len(message.parts) > 1:
        yield "text of other parts"
    else:
        yield "unexplained patch"


def compare(patches: Sequence[HandedOut]) -> Counter[str]:
    """Count the patches with differences of each class. Fail where no class explains one."""
    cuts = [has_scissors(patch.sent) for patch in patches]
    sent = read_mails([patch.sent for patch in patches], cuts)
    ours = read_mails([patch.ours for patch in patches])
    counts: Counter[str] = Counter()
    for patch, theirs, our in zip(patches, sent, ours, strict=True):
        classes = sorted(set(differences(patch, theirs, our)))
        assert not any(name.startswith("unexplained") for name in classes), (
            patch.key, classes, theirs, our,
        )  # fmt: skip
        counts.update(classes or ["equal"])
        if theirs != NOTHING and theirs.patch.rstrip(b"\n") == our.patch.rstrip(b"\n"):
            counts["other patch-id"] += patch_id(theirs.patch) != patch.patch_id
    return +counts


def documented() -> dict[str, int]:
    text = (ROOT / "docs" / "git-am.md").read_text(encoding="utf-8")
    return {name: int(count.replace(",", "")) for name, count in TABLE.findall(text)}


def test_git_reads_what_was_sent(real_store: str) -> None:
    """Test a sample of the archive's last mails."""
    engine = open_store(real_store)
    with engine.connect() as connection:
        counts = compare(list(handed_out(connection, SAMPLE)))
    engine.dispose()
    assert counts.keys() <= documented().keys()
    assert counts["equal"] + counts["trailers from replies"] > 0.95 * SAMPLE


@pytest.mark.torture
def test_git_reads_what_was_sent_in_the_whole_archive(whole_store: Engine) -> None:
    with whole_store.connect() as connection:
        counts = compare(list(handed_out(connection)))
    expected = documented()
    assert counts == {name: number for name, number in expected.items() if number}


@pytest.fixture(scope="module")
def whole_store(
    corpus: list[tuple[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("whole") / "store.db"
    engine = open_store(f"sqlite:///{path}", create=True)
    for start in range(0, len(corpus), 500):
        mails.store(engine, [raw for _, raw in corpus[start : start + 500]], Config())
    yield engine
    engine.dispose()


def test_git_reads_what_was_sent_in_the_situations(tmp_path: Path) -> None:
    """They are more unusual than real mail, and each difference has a reason too."""
    patches: list[HandedOut] = []
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    for situation in situations():
        # Those of subjects and series have plain patches. Hostile mail is read in different ways by
        # git and us; test_git_mail tests what matters.
        if not situation.name.startswith(("diff/", "kind/", "mail/", "trailer/", "trust/")):
            continue
        with engine.connect() as connection:
            records(connection, situation.mails(), Config())
            patches += handed_out(connection)
            connection.rollback()
    engine.dispose()
    assert compare(patches).keys() <= documented().keys()


# --- git am ----------------------------------------------------------------------------------


def check_git_am(engine: Engine, folder: Path, count: int) -> None:
    """Apply patches to files that have the lines that they change."""
    with engine.connect() as connection:
        patches = list(handed_out(connection, count))
    cuts = [has_scissors(patch.sent) for patch in patches]
    readings = read_mails([patch.sent for patch in patches], cuts)
    git(folder, "init", "--quiet", "--bare", "r.git")
    stream = b"".join(
        preimages.fast_import(f"refs/heads/p{number}", reading.patch)
        for number, reading in enumerate(readings)
    )
    done = git(folder / "r.git", "fast-import", "--quiet", given=stream)
    assert done.returncode == 0, done.stderr
    worktrees = [folder / f"w{number}" for number in range(PROCESSES)]
    for worktree in worktrees:
        git(folder / "r.git", "worktree", "add", "--quiet", "--detach", str(worktree), "p0")

    def apply(worktree: Path, numbers: Sequence[int]) -> list[tuple[int, str | None, str | None]]:
        results = []
        for number in numbers:
            option = "--scissors" if cuts[number] else "--no-scissors"
            sent = _apply(worktree, number, patches[number].sent, option)
            results.append((number, sent, _apply(worktree, number, patches[number].ours)))
        return results

    shares = [range(start, len(patches), PROCESSES) for start in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        results = [result for share in pool.map(apply, worktrees, shares) for result in share]
    for number, sent, ours in results:
        assert sent == ours, patches[number].key
    assert sum(1 for _, sent, _ in results if sent is not None) > 0.9 * len(patches)


def _apply(worktree: Path, number: int, mail: bytes, *options: str) -> str | None:
    """Return the tree and the author of the commit, None where the patch does not apply."""
    git(worktree, "checkout", "--quiet", "--force", "--detach", f"p{number}")
    done = git(worktree, "am", "--quiet", *options, given=_as_mbox(mail))
    if done.returncode:
        git(worktree, "am", "--abort")
        return None
    return git(worktree, "log", "-1", "--format=%T %an <%ae> %ai %s").stdout.decode()


def _as_mbox(mail: bytes) -> bytes:
    return mail if mail.startswith(b"From ") else b"From x Thu Jan  1 00:00:00 1970\n" + mail


def test_git_am_makes_the_same_trees(real_store: str, tmp_path: Path) -> None:
    engine = open_store(real_store)
    check_git_am(engine, tmp_path, SAMPLE // 5)
    engine.dispose()


@pytest.mark.torture
def test_git_am_makes_the_same_trees_of_300_patches(whole_store: Engine, tmp_path: Path) -> None:
    check_git_am(whole_store, tmp_path, SAMPLE)
