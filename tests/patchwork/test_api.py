"""Test what an imported site answers by the numbers and paths that people have kept."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from ingest.config.settings import ApiConfig, Config
from tests.patchwork.conftest import import_site
from tests.support import mails
from tests.support.api_client import BASE, client_of
from tests.support.patchwork_site import ADA, BO, TOKENS, Site


@pytest.fixture
def client(engine: Engine, site: Site) -> TestClient:
    import_site(engine, site)
    return client_of(engine, Config(api=ApiConfig(url=BASE, rate=10_000, burst=10_000)))


def allowed(user: int) -> dict[str, str]:
    return {"Authorization": f"Token {TOKENS[user]}"}


def test_patches_covers_and_comments_have_the_same_numbers(client: TestClient) -> None:
    for version in ("", "/1.3"):
        patch = client.get(f"/api{version}/patches/1/").json()
        cover = client.get(f"/api{version}/covers/1/").json()
        assert (patch["id"], patch["msgid"]) == (1, "<s-1@example.org>")
        assert (cover["id"], cover["msgid"]) == (1, "<s-0@example.org>")
        (reply,) = client.get(f"/api{version}/patches/2/comments/").json()
        (other,) = client.get(f"/api{version}/covers/1/comments/").json()
        assert (reply["id"], reply["msgid"]) == (1, "<r1@example.com>")
        assert (other["id"], other["msgid"]) == (1, "<r2@example.com>")
    assert (reply["addressed"], other["addressed"]) == (True, False)
    assert client.get(reply["url"].removeprefix(BASE)).json() == reply
    assert client.get("/api/patches/99/").status_code == 404


def test_a_patch_on_two_lists_is_two(client: TestClient) -> None:
    ours, theirs = client.get("/api/patches/?msgid=s-2@example.org&order=id").json()
    assert (ours["id"], ours["state"], ours["project"]["link_name"]) == (2, "new", "dev")
    assert (theirs["id"], theirs["state"]) == (3, "queued-for-next")
    assert (theirs["project"]["link_name"], theirs["archived"]) == ("net", True)
    assert theirs["mbox"] == f"{BASE}/project/net/patch/s-2@example.org/mbox/"
    mail = client.get("/project/net/patch/s-2@example.org/mbox/").text
    assert "\nX-Patchwork-Id: 3\n" in mail
    assert "\nX-Patchwork-Id: 2\n" in client.get("/project/dev/patch/s-2@example.org/mbox/").text
    made = client.patch("/api/patches/3/", json={"state": 3}, headers=allowed(BO))
    assert made.json()["state"] == "accepted"
    assert client.get("/api/patches/2/").json()["state"] == "new"


@pytest.mark.parametrize(
    ("order", "numbers"),
    [
        ("state", [2, 1, 3]),
        ("-state", [3, 1, 2]),
        ("project", [1, 2, 3]),
        ("-project", [3, 2, 1]),
        ("check", [1, 2, 3]),  # is ignored
    ],
)
def test_states_and_projects_have_the_order_of_the_site(
    client: TestClient, order: str, numbers: list[int]
) -> None:
    patches = client.get(f"/api/patches/?order={order}").json()
    assert [patch["id"] for patch in patches if patch["id"] <= 3] == numbers


def test_tags_are_counted_on_pages_and_not_in_records(client: TestClient) -> None:
    """The list has `use_tags`, and a reply acks the patch: Patchwork's record has no count."""
    for version in ("1.0", "1.2", "1.4"):
        assert client.get(f"/api/{version}/patches/2/").json()["tags"] == {}
    page = client.get("/project/dev/list/?state=all").text
    assert 'title="Acked-by: 1, Reviewed-by: 0, Tested-by: 0"' in page


def test_states_are_those_of_the_site(client: TestClient) -> None:
    for state in (7, "queued-for-next", "Queued For Next"):
        (found,) = client.get("/api/patches/", params={"state": state}).json()
        assert found["id"] == 3
    answer = client.patch("/api/patches/2/", json={"state": "rfc"}, headers=allowed(ADA))
    assert (answer.status_code, list(answer.json())) == (400, ["state"])


def test_rights_are_those_of_the_site(client: TestClient) -> None:
    change = {"archived": True}
    assert client.patch("/api/patches/3/", json=change, headers=allowed(ADA)).status_code == 403
    assert client.patch("/api/patches/3/", json=change, headers=allowed(BO)).status_code == 200
    dev = client.get("/api/projects/dev/").json()
    assert [user["username"] for user in dev["maintainers"]] == ["ada", "bo"]
    assert dev["maintainers"][0]["first_name"] == "Ada"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/patch/2/", "/project/dev/patch/s-2@example.org/"),
        ("/patch/3/", "/project/net/patch/s-2@example.org/"),
        ("/patch/2/mbox/", "/project/dev/patch/s-2@example.org/mbox/"),
        ("/patch/3/raw/", "/project/net/patch/s-2@example.org/raw/"),
        ("/cover/1/", "/project/dev/cover/s-0@example.org/"),
        ("/cover/1/mbox/", "/project/dev/cover/s-0@example.org/mbox/"),
        ("/comment/1/", "/project/dev/patch/s-2@example.org/#1"),
        ("/series/5/", "/project/dev/list/?series=5"),
        ("/api/1.2/patches", "/api/1.2/patches/"),
        ("/api/patches/2?format=json", "/api/patches/2/?format=json"),
    ],
)
def test_kept_paths_lead_to_their_places(client: TestClient, path: str, place: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (301, 302)
    assert answer.headers["location"] == place
    page = client.get(place.partition("#")[0])
    assert page.status_code == 200


def test_kept_pages(client: TestClient) -> None:
    for path in (
        "/series/5/mbox/", "/bundle/ada/for%20next/", "/bundle/ada/for%20next/mbox/",
        "/project/dev/list/?series=5&state=*&q=s:&delegate=ada&archive=both&order=-name",
        "/project/dev/", "/user/login/",
    ):  # fmt: skip
        answer = client.get(path, follow_redirects=True)
        assert answer.status_code == 200, path
    assert "fix a hang" in client.get("/bundle/ada/for%20next/").text
    todo = client.get("/user/todo/", headers=allowed(ADA)).text
    assert "s: step 2" in todo
    assert client.get("/bundle/ada/none/").status_code == 404


def test_new_mail_has_numbers_above_those_of_the_site(client: TestClient, engine: Engine) -> None:
    raw = mails.patch("new@example.org", "[PATCH] new", name="n")
    mails.store(engine, [raw, mails.reply("new-r@example.com", "new@example.org")])
    (patch,) = client.get("/api/patches/?msgid=new@example.org").json()
    assert patch["id"] > 4
    assert client.get(f"/api/patches/{patch['id']}/").json()["msgid"] == "<new@example.org>"
    (reply,) = client.get(f"/api/patches/{patch['id']}/comments/").json()
    assert client.get(reply["url"].removeprefix(BASE)).json()["msgid"] == "<new-r@example.com>"
    made = client.patch(
        "/api/patches/4/", json={"related": [patch["id"]]}, headers=allowed(ADA)
    ).json()
    assert patch["id"] in [other["id"] for other in made["related"]]


def test_versions_have_the_fields_of_patchwork(client: TestClient) -> None:
    series = client.get("/api/1.4/series/5/").json()
    assert list(series)[-2:] == ["dependencies", "dependents"]
    assert "metadata" not in series
    change = {"metadata": {"run": "7"}}
    made = client.patch("/api/1.4/series/5/", json=change, headers=allowed(ADA)).json()
    assert made["metadata"] == {"run": "7"}
    assert "state_evidence" not in client.get("/api/1.4/patches/1/").json()
