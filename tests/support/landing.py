"""Bare repositories in which patches land, and mail whose diffs git itself has made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from ingest.config.settings import Config, ConfiguredList, ConfiguredRepository, RefState
from tests.support import git_repository, mails
from tests.support.mails import ADA, LIST, START

MASTER = "refs/heads/master"
DAN = "Dan Keeper <dan@example.org>"  # who commits


class LandingRepository:
    """A bare repository. Files are lists of lines."""

    def __init__(self, folder: Path, name: str = "work.git") -> None:
        self.path = folder / name
        self.path.mkdir(parents=True)
        git_repository.run(self.path, "init", "--quiet", "--bare", "--initial-branch=master")

    def commit(
        self,
        message: str,
        files: dict[str, str],
        *,
        ref: str = MASTER,
        parents: Sequence[str] | None = None,
        author: str = ADA,
        date: datetime = START,
        committed: datetime | None = None,
    ) -> str:
        """Commit files to a ref, on its tip or on `parents`, and return the id of the commit."""
        if parents is None:
            tip = self.run("rev-parse", "--verify", "--quiet", ref, check=False)
            parents = [tip] if tip else []
        committed = committed or date + timedelta(days=1)
        text = message.encode()
        lines = [
            f"commit {ref}",
            f"author {author} {_seconds(date)} +0000",
            f"committer {DAN} {_seconds(committed)} +0000",
            f"data {len(text)}",
        ]
        stream = "\n".join(lines).encode() + b"\n" + text + b"\n"
        for number, parent in enumerate(parents):
            stream += f"{'merge' if number else 'from'} {parent}\n".encode()
        for name, content in files.items():
            data = content.encode()
            stream += b"M 100644 inline %b\ndata %d\n%b\n" % (name.encode(), len(data), data)
        # Without parents, the ref gets a new root commit.
        if not parents:
            self.run("update-ref", "-d", ref, check=False)
        self.run("fast-import", "--quiet", "--force", given=stream)
        return self.run("rev-parse", ref)

    def set_ref(self, ref: str, target: str | None) -> None:
        """Move a ref to a commit, or delete it."""
        if target is None:
            self.run("update-ref", "-d", ref)
        else:
            self.run("update-ref", ref, target)

    def mail(
        self,
        commit: str,
        msgid: str,
        *,
        prefix: str = "PATCH",
        date: datetime | None = None,
        options: Sequence[str] = (),
        list_id: str = LIST,
        extra: str = "",
    ) -> bytes:
        """The mail that git format-patch makes of a commit; `extra` is put above its `---`."""
        text = self.run(
            "format-patch", "-1", "--stdout", f"--subject-prefix={prefix}", *options, commit
        )
        header, _, body = text.partition("\n\n")
        fields = header.split("\n", 1)[1]
        if date is not None:
            shown = format_datetime(date.replace(tzinfo=UTC))
            fields = re.sub(r"(?m)^Date: .*$", f"Date: {shown}", fields)
        if extra:
            body = body.replace("\n---\n", f"\n{extra}\n---\n", 1)
        own = f"Message-ID: <{msgid}>\nTo: dev@lists.example.org\nList-Id: <{list_id}>"
        return f"{fields}\n{own}\n\n{body}\n".encode()

    def run(self, *arguments: str, given: bytes = b"", check: bool = True) -> str:
        """Run git on the repository, and return what it prints."""
        return git_repository.run(self.path, *arguments, given=given, check=check)


def config(
    *repositories: LandingRepository,
    refs: dict[str, str] | None = None,
    list_id: str = LIST,
    more: Sequence[ConfiguredList] = (),
) -> Config:
    """A configuration in which patches of a list land in these repositories."""
    states = tuple(RefState(*item) for item in (refs or {MASTER: "accepted"}).items())
    configured = tuple(ConfiguredRepository(item.path, states) for item in repositories)
    own = ConfiguredList(list_id.partition(".")[0], list_id, repositories=configured)
    return Config(lists=(own, *more))


def base(repository: LandingRepository, *names: str, ref: str = MASTER) -> str:
    """Commit the files that `mails.diff` changes, and return the id."""
    files = {f"{name}.c": mails.content() for name in names or ("f",)}
    return repository.commit("start", files, ref=ref, date=START - timedelta(days=9))


def changed(word: str = "new") -> str:
    """What a file holds to which `mails.diff` was applied."""
    return mails.content().replace("two", word)


def _seconds(date: datetime) -> int:
    return int(date.replace(tzinfo=UTC).timestamp())
