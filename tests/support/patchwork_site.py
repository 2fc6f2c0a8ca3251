"""Build a small Patchwork database, as its versions lay it out: invented people and mail.

`Site.create(url)` makes the tables of 3.3, `Site.create(url, old=True)` those of 2.2, in which
patches and covers share the table `patchwork_submission`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import Message
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    create_engine,
    select,
    update,
)

from ingest.patch.diffs.patchwork_hash import patchwork_hash
from tests.support import mails

JOINED = datetime(2025, 1, 1, 9)
STATES = (
    (1, "New", "new", 0, True),
    (2, "Under Review", "under-review", 1, True),
    (3, "Accepted", "accepted", 2, False),
    (4, "Superseded", "superseded", 3, False),
    (7, "Queued For Next", "queued-for-next", 4, False),
)
# Patchwork's tokens: 40 hex digits.
TOKENS = {number: f"{number:040x}" for number in (11, 12, 13)}
ADA, BO, EVE, ROOT = 11, 12, 13, 14
DEV, NET = 1, 2


def _tables(*, old: bool) -> MetaData:
    metadata = MetaData()

    def table(name: str, *columns: Column[Any]) -> None:
        Table(name, metadata, Column("id", Integer, primary_key=True), *columns)

    def integer(name: str, **more: Any) -> Column[Any]:
        return Column(name, Integer, **more)

    table(
        "auth_user",
        *(Column(name, String(150)) for name in ("username", "first_name", "last_name")),
        Column("email", String(254)),
        Column("password", String(128)),
        Column("is_superuser", Boolean),
        Column("is_staff", Boolean),
        Column("is_active", Boolean),
        Column("date_joined", DateTime),
    )
    Table(
        "authtoken_token", metadata, Column("key", String(40), primary_key=True),
        Column("created", DateTime), integer("user_id"),
    )  # fmt: skip
    table(
        "patchwork_project",
        *(Column(name, String(255)) for name in ("linkname", "name", "listid", "listemail")),
        *(
            Column(name, String(2000))
            for name in (
                "web_url", "scm_url", "webscm_url", "list_archive_url", "list_archive_url_format",
                "commit_url_format",
            )
        ),
        Column("subject_match", String(64)),
        Column("send_notifications", Boolean),
        Column("use_tags", Boolean),
        *([] if old else [Column("show_dependencies", Boolean)]),
    )  # fmt: skip
    table(
        "patchwork_state",
        Column("name", String(100)),
        *([] if old else [Column("slug", String(100))]),
        integer("ordering"),
        Column("action_required", Boolean),
    )
    table(
        "patchwork_tag", Column("name", String(20)), Column("pattern", String(50)),
        Column("abbrev", String(2)), Column("show_column", Boolean),
    )  # fmt: skip
    table(
        "patchwork_person", Column("email", String(255)), Column("name", String(255)),
        integer("user_id"),
    )  # fmt: skip
    table(
        "patchwork_userprofile", integer("user_id"), Column("send_email", Boolean),
        integer("items_per_page"), Column("show_ids", Boolean),
    )  # fmt: skip
    table(
        "patchwork_userprofile_maintainer_projects", integer("userprofile_id"),
        integer("project_id"),
    )  # fmt: skip
    table(
        "patchwork_delegationrule", Column("path", String(255)), integer("priority"),
        integer("project_id"), integer("user_id"),
    )  # fmt: skip
    table(
        "patchwork_series", Column("name", String(255)), Column("date", DateTime),
        integer("version"), integer("total"), integer("project_id"), integer("submitter_id"),
        integer("cover_letter_id"),
    )  # fmt: skip
    table("patchwork_patchrelation")
    table(
        "patchwork_check", integer("patch_id"), integer("user_id"), Column("date", DateTime),
        Column("state", SmallInteger), Column("target_url", String(200)),
        Column("description", Text), Column("context", String(255)),
    )  # fmt: skip
    table(
        "patchwork_bundle", integer("owner_id"), integer("project_id"), Column("name", String(50)),
        Column("public", Boolean),
    )  # fmt: skip
    table("patchwork_bundlepatch", integer("bundle_id"), integer("patch_id"), integer("order"))
    table(
        "patchwork_event",
        Column("category", String(25)),
        Column("date", DateTime),
        *(
            integer(name)
            for name in (
                "project_id", "actor_id", "series_id", "patch_id", "cover_id", "created_check_id",
                "previous_state_id", "current_state_id", "previous_delegate_id",
                "current_delegate_id",
            )
        ),
        *(
            []
            if old
            else [
                integer(name)
                for name in (
                    "previous_relation_id", "current_relation_id", "patch_comment_id",
                    "cover_comment_id",
                )
            ]
        ),
    )  # fmt: skip

    def mail() -> list[Column[Any]]:
        return [
            Column("msgid", String(255)), Column("date", DateTime), Column("headers", Text),
            Column("content", Text), integer("submitter_id"),
        ]  # fmt: skip

    def shared() -> list[Column[Any]]:
        return [*mail(), Column("name", String(255)), integer("project_id")]

    patch = [
        Column("diff", Text), Column("hash", String(40)), Column("pull_url", String(255)),
        Column("commit_ref", String(255)), Column("archived", Boolean), integer("delegate_id"),
        integer("state_id"), integer("series_id"), integer("number"), integer("related_id"),
    ]  # fmt: skip
    if old:
        table("patchwork_submission", *shared())
        for name, columns in (("patch", patch), ("coverletter", [])):
            key = Column("submission_ptr_id", Integer, primary_key=True)
            Table(f"patchwork_{name}", metadata, key, *columns)
        table("patchwork_comment", *mail(), integer("submission_id"))
    else:
        table("patchwork_patch", *shared(), *patch)
        table("patchwork_cover", *shared())
        for name in ("patch", "cover"):
            table(
                f"patchwork_{name}comment", *mail(), integer(f"{name}_id"),
                Column("addressed", Boolean),
            )  # fmt: skip
    return metadata


@dataclass
class Site:
    """A Patchwork database. `raw` has the mail that it was made from, by Message-ID."""

    url: str
    engine: Engine
    tables: MetaData
    old: bool
    raw: dict[str, bytes] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def create(url: str, *, old: bool = False) -> Site:
        """Make the tables, with two projects and four users."""
        engine = create_engine(url)
        tables = _tables(old=old)
        tables.create_all(engine)
        site = Site(url, engine, tables, old)
        site._add_projects()
        site._add_users()
        return site

    def insert(self, name: str, /, **values: Any) -> None:
        table = self.tables.tables[name]
        with self.engine.begin() as connection:
            known = {key: value for key, value in values.items() if key in table.c}
            connection.execute(table.insert().values(**known))

    def change(self, name: str, number: int, /, **values: Any) -> None:
        table = self.tables.tables[name]
        key = table.c.submission_ptr_id if "submission_ptr_id" in table.c else table.c.id
        with self.engine.begin() as connection:
            connection.execute(update(table).where(key == number).values(**values))

    def _add_projects(self) -> None:
        for number, name in ((DEV, "dev"), (NET, "net")):
            self.insert(
                "patchwork_project",
                id=number, linkname=name, name=f"The {name} list",
                listid=f"{name}.lists.example.org", listemail=f"{name}@lists.example.org",
                subject_match="", web_url="", scm_url="", webscm_url="",
                list_archive_url=f"https://lore.example.org/{name}",
                list_archive_url_format=f"https://lore.example.org/{name}/{{}}",
                commit_url_format="", send_notifications=False, use_tags=True,
                show_dependencies=True,
            )  # fmt: skip
        for number, name, slug, ordering, action in STATES:
            self.insert(
                "patchwork_state", id=number, name=name, slug=slug, ordering=ordering,
                action_required=action,
            )  # fmt: skip
        self.insert(
            "patchwork_tag", id=1, name="Acked-by", pattern="^Acked-by:", abbrev="A",
            show_column=True,
        )  # fmt: skip

    def _add_users(self) -> None:
        for number, name, projects in (
            (ADA, "ada", (DEV,)),
            (BO, "bo", (DEV, NET)),
            (EVE, "eve", ()),
            (ROOT, "root", ()),
        ):
            self.insert(
                "auth_user",
                id=number, username=name, first_name=name.title(), last_name="Example",
                email=f"{name}@example.org", password="md5$secret", is_superuser=number == ROOT,
                is_staff=number == ROOT, is_active=number != EVE, date_joined=JOINED,
            )  # fmt: skip
            self.insert(
                "patchwork_userprofile", id=number + 100, user_id=number, send_email=False,
                items_per_page=50, show_ids=True,
            )  # fmt: skip
            for project in projects:
                self.insert(
                    "patchwork_userprofile_maintainer_projects", userprofile_id=number + 100,
                    project_id=project,
                )  # fmt: skip
            if number in TOKENS:
                self.insert("authtoken_token", key=TOKENS[number], created=JOINED, user_id=number)
        self.insert(
            "patchwork_delegationrule", id=1, path="fs/*", priority=3, project_id=DEV, user_id=BO
        )

    def person(self, sender: str, user: int | None = None) -> int:
        """Return the number of a person, who is made if there is none."""
        name, _, email = sender.rpartition(" ")
        email = email.strip("<>")
        if email not in self.people:
            self.people[email] = 31 + len(self.people)
            self.insert(
                "patchwork_person", id=self.people[email], email=email, name=name, user_id=user
            )
        return self.people[email]

    def add_series(self, number: int, project: int, /, *, cover: int | None, **values: Any) -> None:
        self.insert(
            "patchwork_series",
            **{
                "id": number, "name": "s", "date": mails.START, "version": 1, "total": 1,
                "project_id": project, "submitter_id": self.person(mails.ADA),
                "cover_letter_id": cover, **values,
            },
        )  # fmt: skip

    def add_patch(self, number: int, raw: bytes, project: int, /, **values: Any) -> None:
        """Add the patch of a mail. `values`: what people set, and its series and number there."""
        shared, parts = self._mail(raw, with_diff=True)
        own: dict[str, Any] = {
            "diff": parts.diff, "hash": patchwork_hash(parts.diff), "pull_url": None,
            "commit_ref": None, "archived": False, "delegate_id": None, "state_id": 1,
            "related_id": None, **values,
        }  # fmt: skip
        shared |= {"project_id": project, "name": parts.name}
        if self.old:
            self.insert("patchwork_submission", id=number, **shared)
            self.insert("patchwork_patch", submission_ptr_id=number, **own)
        else:
            self.insert("patchwork_patch", id=number, **shared, **own)

    def add_cover(self, number: int, raw: bytes, project: int) -> None:
        shared, parts = self._mail(raw)
        shared |= {"project_id": project, "name": parts.name}
        if self.old:
            self.insert("patchwork_submission", id=number, **shared)
            self.insert("patchwork_coverletter", submission_ptr_id=number)
        else:
            self.insert("patchwork_cover", id=number, **shared)

    def add_comment(
        self, number: int, raw: bytes, parent: int, *, of_cover: bool = False,
        addressed: bool | None = False,
    ) -> None:  # fmt: skip
        shared, _ = self._mail(raw)
        if self.old:
            self.insert("patchwork_comment", id=number, submission_id=parent, **shared)
            return
        kind = "cover" if of_cover else "patch"
        key = {f"{kind}_id": parent}
        self.insert(f"patchwork_{kind}comment", id=number, addressed=addressed, **key, **shared)

    def add_event(self, number: int, category: str, project: int, **values: Any) -> None:
        date = values.pop("date", mails.START + timedelta(hours=number))
        self.insert(
            "patchwork_event", id=number, category=category, project_id=project, date=date,
            **values,
        )  # fmt: skip

    def rows(self, name: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(self.tables.tables[name])))

    def _mail(self, raw: bytes, *, with_diff: bool = False) -> tuple[dict[str, Any], _Parts]:
        message = message_from_bytes(raw)
        msgid = message["Message-ID"]
        self.raw[msgid] = raw
        text = message.get_payload(decode=True).decode()  # type: ignore[union-attr]
        content, diff = text, ""
        if with_diff:
            before, _, after = text.partition("diff --git")
            diff = ("diff --git" + after).partition("\n-- \n")[0] + "\n"
            content = before.rstrip("\n")
        shared = {
            "msgid": msgid,
            "date": _date(message),
            "headers": raw.decode().partition("\n\n")[0],
            "content": content,
            "submitter_id": self.person(str(message["From"])),
        }
        return shared, _Parts(_name(str(message["Subject"])), diff)


@dataclass(frozen=True)
class _Parts:
    name: str
    diff: str


def _date(message: Message) -> datetime:
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(message["Date"]).replace(tzinfo=None)


def _name(subject: str) -> str:
    """Return the name of a patch, as Patchwork writes it: `[v2,1/3] title`."""
    mark, bracket, title = subject.partition("] ")
    if not bracket:
        return subject
    words = [word for word in mark.lstrip("[").split() if word != "PATCH"]
    return f"[{','.join(words)}] {title}" if words else title


def fill(site: Site) -> None:
    """Add mail and what people did: a series on two lists, a lone patch, replies, and so on."""
    cover, one, two = mails.series("s", 2)
    base = 0 if not site.old else 20  # before 3.0, covers and patches share their numbers
    site.add_cover(base + 1, cover, DEV)
    site.add_series(5, DEV, cover=base + 1, name="s: improve all", total=2)
    site.add_patch(1, one, DEV, series_id=5, number=1, state_id=3, commit_ref="a" * 40)
    site.add_patch(2, two, DEV, series_id=5, number=2, delegate_id=ADA, related_id=1)
    # The same mail as it is on the other list, to which the first patch was not sent.
    site.add_cover(base + 2, cover, NET)
    site.add_series(6, NET, cover=base + 2, name="s: improve all", total=2)
    site.add_patch(3, two, NET, series_id=6, number=2, state_id=7, archived=True)
    lone = mails.patch("lone@example.org", "[PATCH] fs: fix a hang", name="hang")
    site.add_series(7, DEV, cover=None, name="fs: fix a hang")
    site.add_patch(4, lone, DEV, series_id=7, number=1, related_id=1)
    reply = mails.reply("r1@example.com", "s-2@example.org", "Acked-by: Bob Tester <bob@x.org>")
    site.add_comment(1, reply, 2, addressed=True)
    site.add_comment(2, reply, 3)
    site.add_comment(
        3 if site.old else 1,
        mails.reply("r2@example.com", "s-0@example.org", minutes=90),
        base + 1,
        of_cover=True,
    )
    site.insert("patchwork_patchrelation", id=1)
    for number, state in ((8, 1), (9, 3)):
        site.insert(
            "patchwork_check", id=number, patch_id=2, user_id=BO, date=mails.NOW, state=state,
            target_url="https://ci.example.org/8", description="built", context="build",
        )  # fmt: skip
    site.insert(
        "patchwork_bundle", id=3, owner_id=ADA, project_id=DEV, name="for next", public=True
    )
    for order, patch in enumerate((4, 1), 1):
        site.insert("patchwork_bundlepatch", bundle_id=3, patch_id=patch, order=order)
    site.add_event(1, "series-created", DEV, series_id=5)
    site.add_event(2, "patch-created", DEV, patch_id=1)
    site.add_event(3, "patch-created", NET, patch_id=3)
    site.add_event(
        4, "patch-state-changed", DEV, patch_id=1, actor_id=ADA, previous_state_id=1,
        current_state_id=3,
    )  # fmt: skip
    site.add_event(5, "patch-delegated", DEV, patch_id=2, actor_id=BO, current_delegate_id=ADA)
    site.add_event(6, "check-created", DEV, patch_id=2, actor_id=BO, created_check_id=8)
    site.add_event(
        7, "patch-relation-changed", DEV, patch_id=2, actor_id=ADA, current_relation_id=1
    )
    site.add_event(8, "patch-comment-created", DEV, patch_id=2, patch_comment_id=1)
