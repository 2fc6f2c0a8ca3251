"""Test `ingest import-patchwork` as an administrator runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest

from ingest.config.file import load_config
from tests.support import mails
from tests.support.command import arguments, environment, ingest
from tests.support.patchwork_site import DEV, Site
from tests.support.waiting import until

STORE = ("--database", "sqlite:///store.db")


def test_try_import_and_verify(site: Site, tmp_path: Path) -> None:
    preview = ingest(*STORE, "import-patchwork", "--dry-run", site.url, cwd=tmp_path)
    assert preview.returncode == 0, preview.stderr
    assert b"# mail to be made of Patchwork's rows: 6" in preview.stdout
    assert not (tmp_path / "store.db").exists(), "nothing is written"
    (tmp_path / "ingest.toml").write_bytes(preview.stdout)
    config = load_config(tmp_path / "ingest.toml")
    (dev, net) = sorted(config.lists, key=lambda item: item.link_name)
    assert dev.list_id == "dev.lists.example.org"
    assert dev.maintainers == ("ada@example.org", "bo@example.org")
    assert [(rule.path, rule.account) for rule in dev.delegation] == [("fs/*", "bo")]
    assert net.name == "The net list"
    with_config = (*STORE, "--config", "ingest.toml", "import-patchwork")
    done = ingest(*with_config, site.url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"6 made of Patchwork's rows (raw mail not available), 0 quarantined" in done.stdout
    assert b"states: 4/4" in done.stderr
    verified = ingest(*STORE, "import-patchwork", "--verify", site.url, cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout
    assert b"patch: 4 compared, 0 differ" in verified.stdout
    quiet = ingest(*with_config, "-q", site.url, cwd=tmp_path)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"", b"")


def test_a_preview_tells_what_an_archive_has(site: Site, tmp_path: Path) -> None:
    raws = list(site.raw.values())
    (tmp_path / "archive.mbox").write_bytes(mails.mbox(raws[:4]))
    words = ("import-patchwork", "--dry-run", site.url, "--mail", "archive.mbox")
    preview = ingest(*STORE, *words, cwd=tmp_path)
    assert b"# mail to be stored from archives: 4" in preview.stdout
    assert b"# mail to be made of Patchwork's rows: 2" in preview.stdout


def test_differences_are_printed_by_class_and_reported(site: Site, tmp_path: Path) -> None:
    assert ingest(*STORE, "import-patchwork", "-q", site.url, cwd=tmp_path).returncode == 0
    site.change("patchwork_patch", 1, state_id=2, archived=True)
    words = ("import-patchwork", "--verify", "--report", "report.jsonl", site.url)
    verified = ingest(*STORE, *words, cwd=tmp_path)
    assert verified.returncode == 1
    assert b"patch: 4 compared, 1 differ" in verified.stdout
    assert b"patch.state: 1 difference\n  1: 'under-review' in Patchwork, 'accepted' here" in (
        verified.stdout
    )
    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert {line["field"] for line in lines} == {"state", "archived"}


def test_a_list_that_is_not_configured_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "ingest.toml").write_text('[lists.dev]\nlist_id = "dev.lists.example.org"\n')
    words = ("--config", "ingest.toml", "import-patchwork", site.url)
    refused = ingest(*STORE, *words, cwd=tmp_path)
    assert refused.returncode == 1
    assert b"the configuration has no list net.lists.example.org" in refused.stderr
    assert refused.stderr.count(b"\n") == 1


def test_a_store_with_other_mail_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "archive.mbox").write_bytes(mails.mbox([mails.patch()]))
    assert ingest(*STORE, "replay", "-q", "archive.mbox", cwd=tmp_path).returncode == 0
    for words, text in (
        ((), b"the store has mail already"),
        (("--dry-run",), b"the store has mail already"),
        (("--verify",), b"no Patchwork site was imported into this store"),
    ):
        refused = ingest(*STORE, "import-patchwork", *words, site.url, cwd=tmp_path)
        assert refused.returncode == 1
        assert text in refused.stderr
        assert refused.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("sqlite:///none.db",), b"there is no file none.db"),
        (("nonsense",), b"must be like postgresql://"),
        (("--dry-run", "--verify", "sqlite:///x"), b"exclude each other"),
        (("--report", "x", "sqlite:///x"), b"--report is for --verify"),
        ((), b"Missing argument 'URL'"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, words: tuple[str, ...], text: bytes) -> None:
    refused = ingest(*STORE, "import-patchwork", *words, cwd=tmp_path)
    assert refused.returncode in (1, 2)
    assert text in refused.stderr
    assert refused.stderr.count(b"\n") == 1
    assert not (tmp_path / "store.db").exists()


def test_an_import_that_is_killed_resumes(site: Site, tmp_path: Path) -> None:
    """It is killed as soon as some of its mail is stored, whatever it is doing then."""
    for number in range(100, 700):
        raw = mails.patch(f"k{number}@example.org", f"[PATCH] k: {number}", name=f"k{number}")
        site.add_series(number, DEV, cover=None, name=f"k: {number}")
        site.add_patch(number, raw, DEV, series_id=number, number=1)
    process = subprocess.Popen(
        arguments(*STORE, "import-patchwork", "--parsers", "1", site.url),
        cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    store = tmp_path / "store.db"
    until(lambda: _count_mail(store) > 0 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    stored = _count_mail(store)
    assert 0 < stored <= 606
    resumed = ingest(*STORE, "import-patchwork", site.url, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{606 - stored} made of Patchwork's rows".encode() in resumed.stdout
    verified = ingest(*STORE, "import-patchwork", "--verify", site.url, cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout
    assert ingest(*STORE, "check", cwd=tmp_path).returncode == 0


def _count_mail(store: Path) -> int:
    """Return the number of mails in a store that another process may be making."""
    import sqlite3

    if not store.exists():
        return 0
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM mail").fetchone()[0])
    except sqlite3.OperationalError:  # no table yet
        return 0
    finally:
        connection.close()


def test_the_configuration_is_toml_whatever_names_are(tmp_path: Path) -> None:
    from ingest.patchwork.configuration import format_configuration
    from ingest.store.patchwork.rows import PatchworkProject

    project = PatchworkProject(
        number=1, link_name="a b", name='A "list"\x7f', list_id="l.example.org", list_email="",
        subject_match="", web_url="https://example.org/\\", scm_url="", webscm_url="",
        list_archive_url="", list_archive_url_format="", commit_url_format="", use_tags=True,
        show_dependencies=False,
    )  # fmt: skip
    parsed = tomllib.loads(format_configuration([project], [], []))
    assert parsed["lists"]["a b"]["name"] == 'A "list"\x7f'
    assert parsed["lists"]["a b"]["web_url"] == "https://example.org/\\"
