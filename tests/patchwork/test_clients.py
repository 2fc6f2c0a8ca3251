"""Test that the programs of CI and the real clients work with an imported site as before.

`nipa` and `kernel_patches_daemon` do what the Patchwork code of these programs does, written from
its behaviour.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_string
from email.utils import getaddresses
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from ingest.api.server import ApiServer
from ingest.config.settings import ApiConfig, Config
from ingest.config.sockets import InetAddress
from tests.patchwork.conftest import import_site
from tests.support.patchwork_site import ADA, BO, TOKENS, Site


@pytest.fixture
def address(engine: Engine, site: Site) -> Iterator[str]:
    """Return the address of a server over an imported site."""
    import_site(engine, site)
    config = Config(api=ApiConfig(listen=InetAddress("127.0.0.1", 0)))
    server = ApiServer(engine, lambda: config)
    server.start()
    yield server.address
    server.stop()


class Client:
    """Requests with a token, as `requests` sends them: it follows redirects."""

    def __init__(self, address: str, user: int) -> None:
        headers = {"Authorization": f"Token {TOKENS[user]}"}
        self._client = httpx.Client(base_url=address, headers=headers, follow_redirects=True)

    def get(self, path: str, **params: Any) -> Any:
        answer = self._client.get(path, params=params)
        answer.raise_for_status()
        return answer.json()

    def text(self, url: str) -> str:
        answer = self._client.get(url)
        answer.raise_for_status()
        return answer.text

    def get_all(self, path: str, **params: Any) -> list[Any]:
        """Return the records of all pages, found by the header `Link`."""
        found: list[Any] = []
        answer = self._client.get(path, params={"per_page": 2, **params})
        while True:
            answer.raise_for_status()
            found += answer.json()
            following = answer.links.get("next")
            if following is None:
                return found
            answer = self._client.get(following["url"])

    def post(self, path: str, **data: Any) -> Any:
        answer = self._client.post(path, data=data)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def patch(self, path: str, **data: Any) -> Any:
        answer = self._client.patch(path, json=data)
        answer.raise_for_status()
        return answer.json()


def test_nipa_polls_states_reads_mail_and_reports_checks(address: str) -> None:
    client = Client(address, BO)
    (project,) = [one for one in client.get("/api/1.1/projects/") if one["link_name"] == "dev"]
    events = client.get_all(
        "/api/1.1/events/", project=project["id"], category="series-created", order="date"
    )
    assert [event["payload"]["series"]["id"] for event in events][:1] == [5]
    waiting = client.get_all(
        "/api/1.1/patches/", project=project["id"], state=[1, 2], archived="False"
    )
    assert [patch["id"] for patch in waiting] == [2, 4]
    series = client.get("/api/1.1/series/5/")
    assert (series["received_all"], [patch["id"] for patch in series["patches"]]) == (True, [1, 2])
    for patch in series["patches"]:
        mail = message_from_string(client.text(f"/patch/{patch['id']}/mbox/").split("\n", 1)[1])
        assert [pair[1] for pair in getaddresses(mail.get_all("To", []))] == [
            "dev@lists.example.org"
        ]
        check = client.post(
            f"/api/1.1/patches/{patch['id']}/checks/",
            context="netdev/build_32bit", state="success", target_url="https://ci.example.org/1",
            description="Errors and warnings before: 1 this patch: 1",
        )  # fmt: skip
        assert check["user"]["username"] == "bo"
        shown = client.get(f"/api/1.1/patches/{patch['id']}/")
        assert shown["check"] in ("success", "fail")
    (cover,) = client.get("/api/1.1/covers/", project=project["id"], msgid="s-0@example.org")
    assert "Subject: [PATCH 0/2]" in client.text(f"/cover/{cover['id']}/mbox/")


def test_kernel_patches_daemon_finds_subjects_and_sets_states(address: str) -> None:
    client = Client(address, ADA)
    filters = {"project": "dev", "archived": False, "state": [1, 2, 3], "delegate": ADA}
    patches = client.get_all("/api/1.1/patches/", **filters)
    assert [patch["id"] for patch in patches] == [2]
    series_id = patches[0]["series"][0]["id"]
    series = client.get(f"/api/1.1/series/{series_id}/")
    revisions = client.get_all("/api/1.1/series/", project="dev", q=series["name"])
    assert [one["id"] for one in revisions] == [series_id]
    for patch in series["patches"]:
        client.post(
            f"/api/1.1/patches/{patch['id']}/checks/",
            context="VM_Test-1", state="pending", target_url="https://ci.example.org/2",
        )  # fmt: skip
        checks = client.get_all(f"/api/1.1/patches/{patch['id']}/checks/")
        assert checks[-1]["context"] == "VM_Test-1"
        client.patch(f"/api/1.1/patches/{patch['id']}/", state="under-review")
    found = client.get_all("/api/1.1/patches/", project="dev", state=2)
    assert [patch["id"] for patch in found] == [1, 2]


def _run(words: list[str], home: Path) -> str:
    program = Path(sys.executable).with_name(words[0])
    done = subprocess.run(
        [str(program), *words[1:]],
        cwd=home,
        env={
            "PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8",
            "GIT_PAGER": "cat",  # git-pw starts it, and `less` may not be installed
        },
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


@pytest.mark.usefixtures("git_program")
@pytest.mark.skipif(importlib.util.find_spec("git_pw") is None, reason="git_pw is not installed")
def test_git_pw_works_with_its_old_token_and_numbers(address: str, tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text(
        f"[pw]\nserver = {address}/api/1.2\nproject = dev\ntoken = {TOKENS[ADA]}\n"
    )
    assert "<s-2@example.org>" in _run(["git-pw", "patch", "show", "2"], tmp_path)
    _run(["git-pw", "patch", "update", "--state", "accepted", "--archived", "yes", "2"], tmp_path)
    listed = _run(["git-pw", "patch", "list", "--state", "accepted", "--archived"], tmp_path)
    assert "s: step 2" in listed
    assert "for next" in _run(["git-pw", "bundle", "list"], tmp_path)
    assert "for next" in _run(["git-pw", "bundle", "show", "3"], tmp_path)
    words = ["git-pw", "bundle", "create", "--public", "mine", "1", "2"]
    _run(words, tmp_path)
    bundles = httpx.get(f"{address}/api/1.2/bundles/?q=mine").json()
    assert [patch["id"] for patch in bundles[0]["patches"]] == [1, 2]
    _run(["git-pw", "bundle", "update", "--name", "renamed", str(bundles[0]["id"])], tmp_path)
    _run(["git-pw", "bundle", "delete", str(bundles[0]["id"])], tmp_path)


@pytest.mark.skipif(
    importlib.util.find_spec("pwclient") is None, reason="pwclient is not installed"
)
def test_pwclient_works_with_its_old_token_and_numbers(address: str, tmp_path: Path) -> None:
    (tmp_path / ".pwclientrc").write_text(
        f"[options]\ndefault = dev\n[dev]\nbackend = rest\nurl = {address}/api/\n"
        f"token = {TOKENS[ADA]}\n"
    )
    assert "dev" in _run(["pwclient", "projects"], tmp_path)
    assert "s: step 2" in _run(["pwclient", "info", "2"], tmp_path)
    assert "Subject: [PATCH 2/2] s: step 2" in _run(["pwclient", "view", "2"], tmp_path)
    _run(["pwclient", "update", "-s", "Queued For Next", "2"], tmp_path)
    assert "queued-for-next" in _run(["pwclient", "info", "2"], tmp_path)
    assert "build" in _run(["pwclient", "check-list", "2"], tmp_path)


# What `b4 am`, `b4 ty` and `b4 review` do with Patchwork: they print it for terminals only.
B4 = """
import json, sys, b4
from b4.review import pw_fetch_checks, pw_fetch_series, pw_set_series_state
if hasattr(b4, "setup_config"):
    b4.setup_config(type("Given", (), {"config": None}))
key, url, project, msgid = sys.argv[1:]
found = b4.LoreMessage.get_patchwork_data_by_msgid(msgid)
shown = [found["id"], found["state"], found["check"]]
listed = pw_fetch_series(key, url, project)
series = [[one["id"], one["patch_ids"], one["check"], one["delegate"]] for one in listed.series]
checks = [check["context"] for check in pw_fetch_checks(key, url, [found["id"]])]
b4.patchwork_set_state([msgid], "queued-for-next")
changed = pw_set_series_state(key, url, [1, 2], "under-review", False)
print(json.dumps([shown, listed.outstanding, series, checks, changed]))
"""


@pytest.mark.usefixtures("git_program")
@pytest.mark.skipif(importlib.util.find_spec("b4") is None, reason="b4 is not installed")
def test_b4_works_with_its_old_token_and_numbers(address: str, tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text(
        f"[user]\nname = M\nemail = m@example.org\n"
        f"[b4]\npw-url = {address}\npw-key = {TOKENS[ADA]}\npw-project = dev\n"
    )
    words = [TOKENS[ADA], address, "dev", "s-2@example.org"]
    said = _run(["python", "-c", B4, *words], tmp_path)
    shown, outstanding, series, checks, changed = json.loads(said.splitlines()[-1])
    assert shown == [2, "new", "fail"]
    assert outstanding == 2
    assert series == [[5, [2], "fail", "ada"], [7, [4], "pending", ""]]
    assert checks == ["build", "build"]
    assert changed == [2, 0]
    states = [httpx.get(f"{address}/api/patches/{number}/").json()["state"] for number in (1, 2)]
    assert states == ["under-review", "under-review"]
    (tmp_path / "series.mbox").write_text(httpx.get(f"{address}/series/5/mbox/").text)
    words = ["b4", "--offline-mode", "am", "--no-cover", "-m", "series.mbox", "-o", "."]
    _run(words, tmp_path)
    (saved,) = tmp_path.glob("*.mbx")
    text = saved.read_text()
    assert text.count("Subject: [PATCH ") == 2
    assert "Acked-by: Bob Tester <bob@x.org>" in text
