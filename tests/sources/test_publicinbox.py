"""Test public-inbox archives made with git: both versions, epochs, withdrawn mail, broken ones."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import threading
from pathlib import Path

import pytest

from ingest.sources.detect import open_source
from ingest.sources.git_blobs import list_blobs, read_blobs
from ingest.sources.publicinbox import PublicInbox
from ingest.sources.source import Deletion, NoMail, RawMail, SourceError
from tests.sources.test_mbox import ONE, THREE, TWO
from tests.support.git_repository import Tree, repository, run

pytestmark = pytest.mark.usefixtures("git_program")


def v2(*mails: bytes) -> list[Tree]:
    return [{"m": mail} for mail in mails]


def v1_path(name: bytes) -> str:
    digest = hashlib.sha1(name).hexdigest()
    return f"{digest[:2]}/{digest[2:]}"


def texts(source: object, after: str | None = None) -> list[tuple[str, bytes]]:
    assert isinstance(source, PublicInbox)
    items = list(source.read(after=after))
    assert not [item for item in items if isinstance(item, NoMail)]
    return [("-" if isinstance(item, Deletion) else "+", item.raw) for item in items]


def test_version_2(tmp_path: Path) -> None:
    path = repository(tmp_path / "a.git", v2(ONE, TWO, THREE))
    source = open_source(str(path))
    assert isinstance(source, PublicInbox)
    assert source.key == f"public-inbox:{path.resolve()}"
    assert (source.total, source.resumable) == (3, True)
    commits = run(path, "rev-list", "--reverse", "HEAD").split()
    assert list(source.read()) == [
        RawMail(mail, f"0:{commit}")
        for mail, commit in zip([ONE, TWO, THREE], commits, strict=True)
    ]


def test_any_bytes_behind_a_field_are_a_mail(tmp_path: Path) -> None:
    odd = [b"", b"\n", b"\0\xff\r\n" * 3, b"no newline", b"x" * 5_000_000, b"abc commit 3 mail\n"]
    mails = [b"Subject: x\n" + path for path in odd]
    source = open_source(str(repository(tmp_path / "a.git", v2(*mails))))
    assert [raw for _, raw in texts(source)] == mails


def test_withdrawn_mail_of_version_2(tmp_path: Path) -> None:
    trees: list[Tree] = [{"m": ONE}, {"m": TWO}, {"d": ONE}, {"d": TWO}, {"m": THREE}, {"m": ONE}]
    source = open_source(str(repository(tmp_path / "a.git", trees)))
    assert texts(source) == [
        ("+", ONE),
        ("+", TWO),
        ("-", ONE),
        ("-", TWO),
        ("+", THREE),
        ("+", ONE),
    ]


def test_purged_mail_leaves_a_commit_without_one(tmp_path: Path) -> None:
    source = open_source(str(repository(tmp_path / "a.git", [{"m": ONE}, {}, {"m": TWO}, {}])))
    assert [raw for _, raw in texts(source)] == [ONE, TWO]
    assert source.total == 4


def test_version_1(tmp_path: Path) -> None:
    a, b, c = (v1_path(name) for name in (b"a", b"b", b"c"))
    trees: list[Tree] = [{a: ONE}, {a: ONE, b: TWO}, {b: TWO}, {b: ONE, c: THREE}, {}]
    path = repository(tmp_path / "a.git", trees)
    items = [("+", ONE), ("+", TWO), ("-", ONE)]
    source = open_source(str(path))
    assert texts(source)[:3] == items
    # The fourth changes one file and adds another, the fifth removes both, in tree order.
    assert sorted(texts(source)[3:]) == sorted([("+", ONE), ("+", THREE), ("-", ONE), ("-", THREE)])


def test_several_mails_of_one_commit_resume_together(tmp_path: Path) -> None:
    paths = sorted(v1_path(name) for name in (b"a", b"b", b"c"))
    first: Tree = {paths[0]: ONE}
    both: Tree = first | {paths[1]: TWO, paths[2]: THREE}
    source = open_source(str(repository(tmp_path / "a.git", [both, first, both])))
    items = list(source.read())
    assert [type(item) for item in items] == [RawMail] * 3 + [Deletion] * 2 + [RawMail] * 2
    assert items[0].position == items[1].position == "0:"
    for index, item in enumerate(items):
        rest = list(source.read(after=item.position))
        assert rest[-len(items[index + 1 :]) or len(rest) :] == items[index + 1 :]
        assert all(left in items for left in rest)
    assert list(source.read(after=items[2].position)) == items[3:]
    assert list(source.read(after=items[3].position)) == items[3:]
    assert list(source.read(after=items[-1].position)) == []


def test_a_run_resumes_at_each_position(tmp_path: Path) -> None:
    mails = [b"Subject: %d\n\nx\n" % number for number in range(7)]
    repository(tmp_path / "git" / "0.git", v2(*mails[:3]))
    repository(tmp_path / "git" / "1.git", v2(*mails[3:5]))
    repository(tmp_path / "git" / "10.git", v2(*mails[5:]))
    source = open_source(str(tmp_path))
    items = list(source.read())
    assert [item.raw for item in items] == mails
    assert [item.position.partition(":")[0] for item in items] == [*"00011", "10", "10"]
    for index, item in enumerate(items):
        assert list(source.read(after=item.position)) == items[index + 1 :]


@pytest.mark.parametrize("below", ["git", ""])
def test_epochs_are_read_in_order_of_number(tmp_path: Path, below: str) -> None:
    for number, mail in ((10, THREE), (2, TWO), (1, ONE)):
        repository(tmp_path / "list" / below / f"{number}.git", v2(mail))
    repository(tmp_path / "list" / "all.git", [])
    (tmp_path / "list" / "inbox.lock").touch()
    (tmp_path / "list" / below / "3.git.tmp").mkdir()
    source = open_source(str(tmp_path / "list"))
    assert texts(source) == [("+", ONE), ("+", TWO), ("+", THREE)]
    assert source.total == 3


def test_one_epoch_has_the_number_of_its_name(tmp_path: Path) -> None:
    path = repository(tmp_path / "7.git", v2(ONE))
    items = list(open_source(str(path)).read())
    assert items[0].position.startswith("7:")


def test_an_epoch_that_is_just_begun(tmp_path: Path) -> None:
    repository(tmp_path / "0.git", v2(ONE))
    repository(tmp_path / "1.git", [])
    source = open_source(str(tmp_path))
    items = list(source.read())
    assert [item.raw for item in items] == [ONE]
    repository(tmp_path / "1.git", [])
    run(tmp_path / "1.git", "fetch", "--quiet", str(tmp_path / "0.git"), "master:master")
    assert [item.raw for item in source.read(after=items[-1].position)] == [ONE]


def test_an_archive_that_has_grown(tmp_path: Path) -> None:
    path = repository(tmp_path / "a.git", v2(ONE))
    source = open_source(str(path))
    position = list(source.read())[-1].position
    assert list(source.read(after=position)) == []
    repository(path, v2(TWO, THREE))
    assert texts(source, after=position) == [("+", TWO), ("+", THREE)]
    assert source.key == open_source(str(path)).key


@pytest.mark.parametrize(
    "position",
    ["0:" + "0" * 40, "0:" + "0" * 64, "9:" + "0" * 40, "0:", "", "nonsense", "0:HEAD", "0:--all"],
)
def test_a_position_that_is_not_there_starts_anew(tmp_path: Path, position: str) -> None:
    source = open_source(str(repository(tmp_path / "a.git", v2(ONE, TWO))))
    assert texts(source, after=position) == [("+", ONE), ("+", TWO)]


def test_rewritten_history_is_read_from_where_it_parted(tmp_path: Path) -> None:
    path = repository(tmp_path / "a.git", v2(ONE, TWO))
    source = open_source(str(path))
    position = list(source.read())[-1].position
    run(path, "update-ref", "refs/heads/master", "master^")
    repository(path, v2(THREE))
    assert texts(source, after=position) == [("+", THREE)]


def test_a_merge_leaves_no_mail_out(tmp_path: Path) -> None:
    path = repository(tmp_path / "a.git", v2(ONE, TWO))
    tree = run(path, "rev-parse", "master^{tree}")
    side = repository(tmp_path / "b.git", v2(THREE))
    run(path, "fetch", "--quiet", str(side), "master:side")
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    merge = run(path, *identity, "commit-tree", "-p", "master", "-p", "side", "-m", ".", tree)
    run(path, "update-ref", "refs/heads/master", merge)
    source = open_source(str(path))
    items = list(source.read())
    assert sorted(item.raw for item in items) == sorted([ONE, TWO, THREE])
    for index, item in enumerate(items):
        rest = list(source.read(after=item.position))
        assert {left.raw for left in rest} >= {left.raw for left in items[index + 1 :]}


def test_a_clone_that_is_not_bare(tmp_path: Path) -> None:
    path = repository(tmp_path / "a.git", v2(ONE, TWO))
    subprocess.run(
        ["git", "clone", "--quiet", str(path), str(tmp_path / "clone")],
        check=True,
        capture_output=True,
    )
    assert texts(open_source(str(tmp_path / "clone"))) == [("+", ONE), ("+", TWO)]


@pytest.mark.parametrize("branches", [["only"], ["other", "master"], ["main", "x"]])
def test_a_head_without_a_branch(tmp_path: Path, branches: list[str]) -> None:
    path = tmp_path / "a.git"
    for branch in branches:
        part = repository(tmp_path / branch, v2(b"From: %b\n\n" % branch.encode()), branch)
        if not path.exists():
            repository(path, [])
        run(path, "fetch", "--quiet", str(part), f"{branch}:{branch}")
    run(path, "symbolic-ref", "HEAD", "refs/heads/gone")
    wanted = next(name for name in branches if name in ("only", "master", "main"))
    assert texts(open_source(str(path))) == [("+", b"From: %b\n\n" % wanted.encode())]


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as error:
        open_source(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "trees",
    [
        [{"README": b"Hello: you\n", "src/main.c": b"int main;\n"}],
        [{"m": b"int m;\n", "README": b"A matrix\n"}],
        [{"bc/main.c": b"int main;\n", "dc/main.c": b"int main;\n"}],
        [{"README": b"x\n"}, {}],
    ],
)
def test_a_source_repository_is_refused(tmp_path: Path, trees: list[Tree]) -> None:
    path = repository(tmp_path / "a.git", trees)
    assert "is a git repository without mail" in refusal(path)


@pytest.mark.parametrize(
    "trees",
    [
        [{"m": ONE}, {"m": ONE, "README": b"An archive\n"}],
        [{"m": ONE}, {}],
        [{v1_path(b"a"): ONE}, {}],
        [{v1_path(b"a"): ONE, "README": b"An archive\n"}],
    ],
)
def test_an_archive_with_an_odd_tree_is_accepted(tmp_path: Path, trees: list[Tree]) -> None:
    assert ("+", ONE) in texts(open_source(str(repository(tmp_path / "a.git", trees))))


def test_a_repository_without_commits_is_refused(tmp_path: Path) -> None:
    assert "without commits" in refusal(repository(tmp_path / "a.git", []))


def test_a_bundle_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = repository(tmp_path / "a.git", v2(ONE))
    run(path, "bundle", "create", "--quiet", str(tmp_path / "a.bundle"), "master")
    assert "git clone --mirror" in refusal(tmp_path / "a.bundle")


def test_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = repository(tmp_path / "a.git", v2(ONE))
    source = open_source(str(path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git is not installed" in refusal(path)
    with pytest.raises(SourceError, match="git is not installed"):
        list(source.read())


def test_a_repository_that_git_cannot_read(tmp_path: Path) -> None:
    path = repository(tmp_path / "a.git", v2(ONE))
    with (path / "config").open("a") as config:
        config.write("[core]\n\trepositoryformatversion = 99\n")
    assert "99" in refusal(path)


def loosen(path: Path) -> None:
    for pack in (path / "objects" / "pack").glob("*.pack"):
        content = pack.read_bytes()
        for file in pack.parent.iterdir():
            file.unlink()
        run(path, "unpack-objects", "-q", given=content)


def object_file(path: Path, name: str) -> Path:
    oid = run(path, "rev-parse", name)
    return path / "objects" / oid[:2] / oid[2:]


@pytest.mark.parametrize("portions", [False, True])
def test_a_missing_mail_is_an_error_after_the_mail_before_it(
    tmp_path: Path, portions: bool
) -> None:
    path = repository(tmp_path / "a.git", v2(ONE, TWO, THREE))
    loosen(path)
    object_file(path, "master~1:m").unlink()
    source = open_source(str(path))
    assert isinstance(source, PublicInbox)
    reading = next(source.list_portions(None, 9)).read() if portions else source.read()
    assert next(reading).raw == ONE
    with pytest.raises(SourceError, match=r"object [0-9a-f]{40} is missing"):
        next(reading)


@pytest.mark.parametrize("name", ["master~1", "master~1:m", "master~1^{tree}"])
def test_a_broken_repository_is_an_error(tmp_path: Path, name: str) -> None:
    mails = [ONE, TWO, *(b"Subject: %d\n\nx\n" % number for number in range(2000)), THREE, ONE]
    path = repository(tmp_path / "a.git", v2(*mails))
    source = open_source(str(path))
    loosen(path)
    file = object_file(path, name)
    file.chmod(0o600)
    file.write_bytes(b"rubbish")
    with pytest.raises(SourceError) as error:
        list(source.read())
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert "git failed" not in str(error.value)


def test_the_callers_git_variables_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository(tmp_path / "a.git", v2(ONE))
    other = repository(tmp_path / "b.git", v2(TWO))
    monkeypatch.setenv("GIT_DIR", str(other))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / "objects"))
    monkeypatch.setenv("GIT_TRACE", "1")
    assert texts(open_source(str(path))) == [("+", ONE)]


def test_replaced_objects_are_not_used(tmp_path: Path) -> None:
    path = repository(tmp_path / "a.git", v2(ONE))
    other = run(path, "hash-object", "-w", "--stdin", given=TWO)
    run(path, "replace", run(path, "rev-parse", "master:m"), other)
    assert texts(open_source(str(path))) == [("+", ONE)]


def test_nothing_that_the_repository_names_is_run(tmp_path: Path) -> None:
    """A partial clone whose remote is a command: a missing blob must not start it."""
    path = repository(tmp_path / "a.git", v2(ONE, TWO))
    loosen(path)
    object_file(path, "master:m").unlink()
    mark = tmp_path / "ran"
    run(path, "config", "core.repositoryformatversion", "1")
    run(path, "config", "extensions.partialClone", "origin")
    run(path, "config", "remote.origin.promisor", "true")
    run(path, "config", "remote.origin.url", f"ext::sh -c touch% {mark}")
    run(path, "config", "remote.origin.uploadpack", f"touch {mark};")
    run(path, "config", "protocol.allow", "always")
    with pytest.raises(SourceError):
        list(open_source(str(path)).read())
    assert not mark.exists()


def children() -> set[str]:
    """Return the processes that this one has started, zombies included."""
    task = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return set(task.read_text().split())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("taken", [0, 1, 3000])
def test_a_closed_run_leaves_no_process(tmp_path: Path, taken: int) -> None:
    mails = [b"Subject: %d\n\n" % number + b"x" * 3000 for number in range(6000)]
    source = open_source(str(repository(tmp_path / "a.git", v2(*mails))))
    before, threads = children(), threading.active_count()
    reading = source.read()
    for number in range(taken):
        assert next(reading).raw == mails[number]
    reading.close()  # type: ignore[attr-defined]
    assert children() == before
    assert threading.active_count() == threads


def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    mails = [b"Subject: %d\n\nx\n" % number for number in range(600)]
    source = open_source(str(repository(tmp_path / "a.git", v2(*mails))))
    seen: list[bytes] = []
    position = None
    while len(seen) < len(mails):
        reading = source.read(after=position)
        for item, _ in zip(reading, range(250), strict=False):
            seen.append(item.raw)
            position = item.position
        reading.close()  # type: ignore[attr-defined]
    assert seen == mails


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_portions_have_the_items_of_reading(tmp_path: Path, count: int) -> None:
    """From each position, in other processes too: both versions, epochs, withdrawn mail, several
    mails of one commit."""
    paths = sorted(v1_path(name) for name in (b"a", b"b", b"c"))
    one = {paths[0]: ONE}
    repository(tmp_path / "0.git", [{"m": ONE}, {"m": TWO}, {"d": ONE}, {}, {"m": THREE}])
    repository(tmp_path / "1.git", [one, {**one, paths[1]: TWO, paths[2]: THREE}, {}, one])
    repository(tmp_path / "2.git", [])
    source = open_source(str(tmp_path))
    assert isinstance(source, PublicInbox)
    items = list(source.read())
    assert len(items) == 4 + 7
    for after in (None, *(item.position for item in items)):
        wanted = list(source.read(after))
        portions = [
            pickle.loads(pickle.dumps(portion)) for portion in source.list_portions(after, count)
        ]
        read = [list(portion.read()) for portion in portions]
        assert [item for items in read for item in items] == wanted
        assert all(len(items) <= count for items in read)
        assert [portion.position for portion in portions] == [items[-1].position for items in read]


def test_portions_of_a_history_that_is_not_there(tmp_path: Path) -> None:
    path = repository(tmp_path / "a.git", v2(ONE, TWO))
    with pytest.raises(SourceError, match="bad object"):
        list(list_blobs(path, "0" * 40, lambda *_: "mail", 9))


def test_many_requests_do_not_block_the_responses(tmp_path: Path) -> None:
    """There is more than all pipes can hold in both directions, and the reader begins late."""
    mails = [b"%d: x\n\n" % number + bytes(number % 9) * 4000 for number in range(8_000)]
    path = repository(tmp_path / "a.git", v2(*mails))
    tip = run(path, "rev-parse", "master")
    reading = read_blobs(path, tip, lambda name, _: "mail" if name == b"m" else None)
    assert [blob.content for blob in reading] == mails


def test_the_real_archive(archive: Path, corpus: list[tuple[str, bytes]]) -> None:
    source = open_source(str(archive))
    assert source.total == len(corpus)
    assert [(item.position, item.raw) for item in source.read()] == [
        (f"0:{commit}", raw) for commit, raw in corpus
    ]
    middle = len(corpus) // 2
    rest = source.read(after=f"0:{corpus[middle][0]}")
    assert [item.raw for item in rest] == [raw for _, raw in corpus[middle + 1 :]]
