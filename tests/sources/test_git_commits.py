"""Test repositories that try to make git run, read or fetch something."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.patch.diffs.patch_id import patch_id
from ingest.sources import git_commits
from ingest.sources.git import git_error
from ingest.sources.source import SourceError
from tests.support import mails
from tests.support.landing import MASTER, LandingRepository, base, changed

pytestmark = pytest.mark.usefixtures("git_program")


@pytest.fixture
def repository(tmp_path: Path) -> LandingRepository:
    return LandingRepository(tmp_path)


def tips(repository: LandingRepository, *patterns: str) -> dict[str, str]:
    directory = git_commits.open_repository(repository.path)
    return git_commits.list_refs(directory, patterns or ("refs/heads/*",))


def test_refs_by_name_and_by_pattern(repository: LandingRepository) -> None:
    commit = base(repository)
    for ref in ("refs/heads/next/a", "refs/heads/next/b/c", "refs/heads/nextish", "refs/x/y"):
        repository.set_ref(ref, commit)
    repository.run("update-ref", "refs/heads/next/blob", f"{commit}:f.c", check=False)
    repository.run("tag", "-a", "-m", "tag", "v1", commit, check=False)
    assert set(tips(repository, "refs/heads/next/*", "refs/x/y", "refs/heads/n")) == {
        "refs/heads/next/a",
        "refs/heads/next/b/c",
        "refs/x/y",
    }
    assert tips(repository, MASTER) == {MASTER: commit}


def test_a_tag_contains_the_commits_behind_it(repository: LandingRepository) -> None:
    commit = base(repository)
    stream = b"tag v1\nfrom %b\ntagger A <a@example.org> 1 +0000\ndata 1\nt\n" % commit.encode()
    repository.run("fast-import", "--quiet", given=stream)
    (tip,) = tips(repository, "refs/tags/*").values()
    assert tip != commit
    assert list(git_commits.list_commits(repository.path, [tip], [])) == [commit]


def test_the_patch_id_is_that_of_the_mail(repository: LandingRepository) -> None:
    base(repository, "f", "g")
    files = {"new dir/ä.c": "x\n" * 30, "f.c": changed(), "data": "\0binary\n"}
    commit = repository.commit("t\n", files)
    (facts,) = git_commits.read_commits(repository.path, [commit])
    given = repository.mail(commit, "p@example.org").decode()
    assert facts.patch_id == patch_id(given[given.index("diff --git") :])
    other = git_commits.compute_other_patch_ids(repository.path, [commit])[commit]
    assert facts.patch_id in other


def test_commits_without_a_change_and_merges(repository: LandingRepository) -> None:
    start = base(repository)
    empty = repository.commit("empty\n", {"f.c": mails.content()})
    side = repository.commit("side\n", {"s.c": "s\n"}, ref="refs/heads/side", parents=[start])
    repository.commit("merge\n", {"s.c": "s\n"}, parents=[empty, side])
    directory, tip = repository.path, tips(repository)[MASTER]
    listed = list(git_commits.list_commits(directory, [tip], [start]))
    assert set(listed) == {empty, side}
    facts = {item.id: item for item in git_commits.read_commits(directory, listed)}
    assert facts[empty].patch_id is facts[empty].sample is None
    assert facts[side].patch_id is not None


def test_a_diff_that_is_too_large(
    repository: LandingRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_commits, "_MAX_DIFF", 1_000)
    base(repository)
    large = repository.commit("large\n", {"l.c": "a line\n" * 1_000})
    small = repository.commit("small\n", {"f.c": changed()})
    facts = git_commits.read_commits(repository.path, [large, small])
    assert [item.patch_id is None for item in facts] == [True, False]


def test_a_repository_runs_nothing(repository: LandingRepository, tmp_path: Path) -> None:
    base(repository)
    marker = tmp_path / "marker"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {marker}\ncat\n")
    program.chmod(0o755)
    commit = repository.commit("t\n", {"f.c": changed()})
    expected = git_commits.read_commits(repository.path, [commit])
    for key in (
        "diff.external", "diff.evil.command", "diff.evil.textconv", "filter.evil.smudge",
        "filter.evil.process", "core.fsmonitor", "core.pager", "core.sshCommand", "core.editor",
        "core.alternateRefsCommand", "uploadpack.packObjectsHook", "credential.helper",
    ):  # fmt: skip
        repository.run("config", key, str(program))
    (repository.path / "info").mkdir(exist_ok=True)
    (repository.path / "info" / "attributes").write_text("* diff=evil filter=evil\n")
    hooks = repository.path / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "reference-transaction", "pre-auto-gc"):
        (hooks / name).write_text(program.read_text())
        (hooks / name).chmod(0o755)
    for key, value in (
        ("diff.noprefix", "true"), ("diff.mnemonicPrefix", "true"), ("diff.context", "9"),
        ("diff.algorithm", "patience"), ("diff.suppressBlankEmpty", "true"),
        ("diff.orderFile", "/dev/zero"), ("core.quotePath", "false"), ("color.ui", "always"),
        ("diff.interHunkContext", "50"), ("log.showSignature", "true"),
    ):  # fmt: skip
        repository.run("config", key, value)
    assert tips(repository)[MASTER] == commit
    assert commit in git_commits.list_commits(repository.path, [commit], [])
    assert git_commits.read_commits(repository.path, [commit]) == expected
    git_commits.compute_other_patch_ids(repository.path, [commit])
    assert not marker.exists()


def test_replaced_objects_and_grafts_count_for_nothing(repository: LandingRepository) -> None:
    start = base(repository)
    commit = repository.commit("t\n", {"f.c": changed()})
    evil = repository.commit("evil\n", {"f.c": changed("evil")}, ref="refs/heads/e", parents=[])
    repository.run("replace", commit, evil)
    (repository.path / "info").mkdir(exist_ok=True)
    (repository.path / "info" / "grafts").write_text(f"{commit} {evil}\n")
    assert list(git_commits.list_commits(repository.path, [commit], [])) == [commit, start]
    assert git_commits.read_commits(repository.path, [commit])[0].title == "t"


def test_a_lazy_fetch_does_not_happen(repository: LandingRepository, tmp_path: Path) -> None:
    base(repository)
    commit = repository.commit("t\n", {"f.c": changed()})
    marker = tmp_path / "marker"
    for key, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", f"ext::touch {marker}"),
        ("remote.origin.promisor", "true"),
        ("protocol.ext.allow", "always"),
    ):
        repository.run("config", key, value)
    blob = repository.run("rev-parse", f"{commit}:f.c")
    repository.run("unpack-objects", "-q", check=False)
    for pack in (repository.path / "objects").rglob("*.pack"):
        data = pack.read_bytes()
        pack.with_suffix(".idx").unlink()
        pack.unlink()
        repository.run("unpack-objects", "-q", given=data)
    loose = repository.path / "objects" / blob[:2] / blob[2:]
    loose.unlink()
    with pytest.raises(SourceError):
        git_commits.read_commits(repository.path, [commit])
    assert not marker.exists()


def test_objects_of_other_repositories_are_not_read(
    repository: LandingRepository, tmp_path: Path
) -> None:
    base(repository)
    other = LandingRepository(tmp_path, "other.git")
    base(other, "secret")
    alternates = repository.path / "objects" / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_text(f"{other.path}/objects\n")
    with pytest.raises(SourceError, match="has objects in another repository"):
        git_commits.open_repository(repository.path)
    # One that is inside is no harm, until it leads outside by itself.
    inside = repository.path / "more"
    (inside / "info").mkdir(parents=True)
    alternates.write_text("../more\n")
    git_commits.open_repository(repository.path)
    (inside / "info" / "alternates").write_text(f"{other.path}/objects\n")
    with pytest.raises(SourceError, match="has objects in another repository"):
        git_commits.open_repository(repository.path)
    alternates.unlink()
    (repository.path / "commondir").write_text(f"{other.path}\n")
    with pytest.raises(SourceError, match="is a working tree of another repository"):
        git_commits.open_repository(repository.path)
    (repository.path / "commondir").unlink()
    objects = repository.path / "objects"
    objects.rename(tmp_path / "objects")
    objects.symlink_to(other.path / "objects")
    with pytest.raises(SourceError, match="objects is outside of the repository"):
        git_commits.open_repository(repository.path)


def test_the_callers_environment_has_no_effect(
    repository: LandingRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = base(repository)
    other = LandingRepository(tmp_path, "other.git")
    base(other, "secret")
    for name in ("GIT_DIR", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(other.path))
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    assert tips(repository) == {MASTER: commit}
    assert not (tmp_path / "trace").exists()


def test_what_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a git repository"):
        git_commits.open_repository(tmp_path)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b"fatal: not a git repository: 'x'\n", "fatal: not a git repository: 'x'"),
        (b"hint: grafts are deprecated\nhint: \nfatal: bad object\n", "fatal: bad object"),
        (b"warning: no such ref\nerror: object is corrupt\nfatal: x\n", "error: object is corrupt"),
        (b"hint: only this\n", "hint: only this"),
        (b"", "git failed"),
    ],
)
def test_an_error_of_git_says_why_and_not_what_git_advises(output: bytes, reason: str) -> None:
    assert str(git_error(output, Path("/srv/linux.git"))) == f"/srv/linux.git: {reason}"


def test_too_many_refs(repository: LandingRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_commits, "MAX_REFS", 2)
    commit = base(repository)
    for number in range(2):
        repository.set_ref(f"refs/heads/n{number}", commit)
    with pytest.raises(SourceError, match="3 refs match, which is more than 2; name fewer refs"):
        tips(repository)


def test_which_objects_exist(repository: LandingRepository) -> None:
    commit = base(repository)
    blob = repository.run("rev-parse", f"{commit}:f.c")
    assert git_commits.find_existing(repository.path, [commit, blob, "0" * 40]) == {commit}
