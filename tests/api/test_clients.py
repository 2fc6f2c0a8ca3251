"""Test clients as they are on PyPI, with a store of real mail."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from ingest.store.activity.accounts import add_token
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import mails
from tests.support.command import arguments, environment
from tests.support.places import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("git_program")
STEPS = "s: step"  # names of the patches of the series that applies to the repository of the test


def has(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed")


@dataclass(frozen=True)
class Site:
    """A server, and a user's repository."""

    url: str
    home: Path
    repository: Path

    def run(self, *words: str, status: int = 0, code: str | None = None) -> str:
        """Run a client in the repository. Return what it prints."""
        program = [sys.executable, "-c", code] if code else [_program(words[0])]
        done = subprocess.run(
            [*program, *words[1:]],
            cwd=self.repository,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.home),
                "LC_ALL": "C.UTF-8",
                "XDG_CACHE_HOME": str(self.home / "cache"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == status, (done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode()

    def get(self, path: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}{path}") as answer:
            return list(json.load(answer))

    def fresh(self) -> None:
        """Reset the repository."""
        self.run("git", "reset", "--quiet", "--hard", "start")

    def titles(self) -> list[str]:
        shown = self.run("git", "log", "--reverse", "--format=%s", "start..")
        return shown.splitlines()


def _program(name: str) -> str:
    program = Path(sys.executable).with_name(name)
    return str(program) if program.exists() else name


@pytest.fixture(scope="module")
def site(real_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve `ingest api` for a copy of the store of real mail, with a series that applies."""
    home = tmp_path_factory.mktemp("clients")
    database = f"sqlite:///{home / 'store.db'}"
    shutil.copy(str(make_url(real_store).database), home / "store.db")
    engine = open_store(database)
    given = f"Good.\n\nReviewed-by: {mails.BOB}"
    mails.store(engine, [*mails.series("s", 3), mails.reply("r@x", "s-2@example.org", given)])
    with write_transaction(engine) as connection:
        token = add_token(connection, "ci", email="ci@example.org", lists=(), now=mails.NOW)
    engine.dispose()
    url = f"http://127.0.0.1:{free_port()}"
    repository = _repository(home, url, token)
    served = subprocess.Popen(
        arguments("--database", database, "api", "--listen", url.removeprefix("http://")),
        cwd=home, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        until(lambda: _answers(url), "the API")
        yield Site(url, home, repository)
    finally:
        served.send_signal(signal.SIGTERM)
        _, said = served.communicate(timeout=60)
    assert (served.returncode, said.decode()) == (0, f"API at {url}\n")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/"):
            return True
    except OSError:
        return False


def _repository(home: Path, url: str, token: str) -> Path:
    folder = home / "r"
    folder.mkdir()
    (home / ".gitconfig").write_text(
        f"[user]\nname = M\nemail = m@example.org\n"
        f"[pw]\nserver = {url}/api/1.2\nproject = linux-ext4\ntoken = {token}\n"
        f"[b4]\npw-url = {url}\npw-key = {token}\npw-project = linux-ext4\n"
    )
    (home / ".pwclientrc").write_text(
        f"[options]\ndefault = linux-ext4\n[linux-ext4]\nbackend = rest\n"
        f"url = {url}/api/\ntoken = {token}\n[dev]\nbackend = rest\n"
        f"url = {url}/api/\ntoken = {token}\n"
    )
    site = Site(url, home, folder)
    site.run("git", "init", "--quiet", "--initial-branch=main")
    for number in (1, 2, 3):
        (folder / f"s{number}.c").write_text(mails.content())
    site.run("git", "add", ".")
    site.run("git", "commit", "--quiet", "--message=Begin")
    site.run("git", "tag", "start")
    return folder


# --- git-pw -----------------------------------------------------------------------------------


def _csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@has("git_pw")
def test_git_pw_lists_patches(site: Site) -> None:
    """There are more than two pages; by state, submitter and words."""
    form = ("--format", "csv", "--limit")
    found = _csv(site.run("git-pw", "patch", "list", *form, "75", "--sort", "-date"))
    assert len({patch["ID"] for patch in found}) == 75
    more = _csv(site.run("git-pw", "patch", "list", *form, "300", "--state", "new"))
    assert len({patch["ID"] for patch in more}) == 250, "as many as a page may have"
    who = found[0]["Submitter"].split("(")[1].rstrip(")")
    theirs = _csv(site.run("git-pw", "patch", "list", *form, "20", "--submitter", who, "ext4"))
    assert theirs
    assert all(who in patch["Submitter"] for patch in theirs)
    assert all("ext4" in patch["Name"].lower() for patch in theirs)


def _ours(site: Site) -> list[str]:
    """Return the numbers of the three patches that apply."""
    return [str(patch["id"]) for patch in site.get("/api/patches/?project=dev&order=id")]


@has("git_pw")
def test_git_pw_shows_downloads_applies_and_updates_a_patch(site: Site) -> None:
    one, two, three = _ours(site)
    shown = site.run("git-pw", "patch", "show", two)
    assert "<s-2@example.org>" in shown
    assert "Ada Byron (ada@example.org)" in shown
    site.run("git-pw", "patch", "download", two, str(site.home / "two.patch"))
    assert b"Reviewed-by: Bob" in (site.home / "two.patch").read_bytes()
    site.run("git-pw", "patch", "download", "--diff", two, str(site.home / "two.diff"))
    assert (site.home / "two.diff").read_text().startswith("diff --git")
    site.fresh()
    site.run("git-pw", "patch", "apply", two)
    assert site.titles() == ["s: step 1", "s: step 2"], "with the patches before it"
    assert "Reviewed-by: Bob Tester <bob@example.com>" in site.run("git", "log", "-1")
    site.run("git-pw", "patch", "update", "--state", "accepted", "--archived", "no", one, three)
    site.run("git-pw", "patch", "update", "--delegate", "ci", "--commit-ref", "abc", three)
    (delegated,) = site.get("/api/patches/?delegate=ci")
    assert (delegated["id"], delegated["commit_ref"]) == (int(three), "abc")
    words = ("--project", "dev", "patch", "list", "--state", "accepted", "--format", "csv")
    assert {row["ID"] for row in _csv(site.run("git-pw", *words))} == {one, three}


@has("git_pw")
def test_git_pw_lists_shows_and_applies_series(site: Site) -> None:
    words = ("--format", "csv", "--limit", "80", "--sort", "-date")
    found = _csv(site.run("git-pw", "series", "list", *words))
    assert len({patch["ID"] for patch in found}) == 80
    (ours,) = _csv(site.run("git-pw", "--project", "dev", "series", "list", *words, "improve"))
    shown = site.run("git-pw", "series", "show", ours["ID"])
    assert shown.count(STEPS) == 3
    site.fresh()
    site.run("git-pw", "series", "apply", ours["ID"])
    assert site.titles() == ["s: step 1", "s: step 2", "s: step 3"]


# --- pwclient ---------------------------------------------------------------------------------


@has("pwclient")
def test_pwclient_lists_and_searches(site: Site) -> None:
    """It follows the `Link` header page by page, spelled as it is."""
    listed = site.run("pwclient", "list", "-f", "%{id}|%{name}", "ext4").splitlines()
    found = {line.split("|")[0] for line in listed if re.match(r"\d+\|", line)}
    assert len(found) > 75
    ours = site.run("pwclient", "search", "-p", "dev", "-f", "%{id}|%{msgid}", STEPS)
    assert ours.count("|<s-") == 3
    assert "linux-ext4" in site.run("pwclient", "projects")


@has("pwclient")
def test_pwclient_gets_views_applies_updates_and_checks(site: Site) -> None:
    one, two, _ = _ours(site)
    for name in site.repository.glob("*.patch"):
        name.unlink()
    site.run("pwclient", "get", one)
    (saved,) = site.repository.glob("*.patch")
    assert b"s: step 1" in saved.read_bytes()
    saved.unlink()
    assert "Subject: [PATCH 2/3] s: step 2" in site.run("pwclient", "view", two)
    site.fresh()
    site.run("pwclient", "git-am", one, two)
    assert site.titles() == ["s: step 1", "s: step 2"]
    site.run("pwclient", "update", "-s", "Under Review", "-a", "yes", two)
    assert re.search(r"state\s*: under-review", site.run("pwclient", "info", two))
    words = ("-c", "build", "-s", "warning", "-u", "https://ci.example.org/1", "-d", "hm")
    site.run("pwclient", "check-create", *words, two)
    checks = site.run("pwclient", "check-list", two)
    assert "build" in checks
    assert "warning" in checks
    assert "check-created" in site.run("pwclient", "event-list", "-p", "dev")


# --- b4 ---------------------------------------------------------------------------------------

ASKS = """
import sys, b4
msgid = sys.argv[1]
b4.setup_config(type("Given", (), {"config": None})) if hasattr(b4, "setup_config") else None
found = b4.LoreMessage.get_patchwork_data_by_msgid(msgid)
print(found["id"], found["state"], found["check"], found["name"])
b4.patchwork_set_state([msgid], "queued")
b4.clear_cache(sys.argv[2], suffix="lookup")
print(b4.LoreMessage.get_patchwork_data_by_msgid(msgid)["state"])
"""


@has("b4")
def test_b4_finds_a_patch_and_sets_its_state(site: Site) -> None:
    (found,) = site.get("/api/patches/?project=linux-ext4&order=-id&per_page=1")
    newest = str(found["msgid"]).strip("<>")
    key = f"{site.url}linux-ext4{newest}"
    first, second = site.run("python", newest, key, code=ASKS).splitlines()[-2:]
    assert first.split()[1:3] == ["new", "pending"]
    assert second == "queued"
