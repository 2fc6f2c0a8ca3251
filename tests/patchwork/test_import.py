"""Test the import of a Patchwork site: numbers, rights, states, and what is run again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, select, update

from ingest.config.settings import DEFAULT_STATES, Config
from ingest.patchwork import activity
from ingest.patchwork import mails as import_mails
from ingest.patchwork.run import ImportSummary, read_patchwork_site
from ingest.patchwork.verify.compare import compare_stores
from ingest.patchwork.verify.difference import Comparison
from ingest.replay.replay import reparse, replay
from ingest.reports.check import check_store
from ingest.reports.export import export_records
from ingest.series.outcome import Outcome
from ingest.sources.detect import open_source
from ingest.store import schema
from ingest.store.activity.accounts import find_account
from ingest.store.activity.overrides import read_related_patches
from ingest.store.database.transactions import write_transaction
from ingest.store.imports.ledger import read_entry_numbers
from ingest.store.patchwork.database import PatchworkError, open_patchwork
from ingest.store.read.messages import MessageRow, read_messages
from ingest.store.read.pages.event_rows import read_events
from ingest.store.read.substitutes import NOT_AVAILABLE, find_substitutes
from ingest.store.site.bundles import read_bundles
from ingest.store.site.comment_marks import read_comment_marks
from ingest.store.site.numbers import NumberKind, imported_row, shown_number
from ingest.store.site.states import read_states
from tests.patchwork.conftest import import_site
from tests.support import mails
from tests.support.patchwork_site import ADA, BO, DEV, EVE, NET, ROOT, TOKENS, Site, fill


def patch(connection: Connection, number: int) -> MessageRow:
    (row,) = read_messages(connection, [imported_row(NumberKind.PATCH, number)])
    return row


def rows_of(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of the store, by table, without what tells when something was stored."""
    with engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in schema.metadata.sorted_tables
        }


def faults(engine: Engine) -> list[object]:
    return list(check_store(engine, Config()).faults)


def compare(engine: Engine, site: Site) -> Comparison:
    with engine.connect() as connection, open_patchwork(site.url) as database:
        return compare_stores(connection, database, read_patchwork_site(database))


def test_everything_is_as_in_patchwork(engine: Engine, site: Site) -> None:
    summary = import_site(engine, site)
    assert summary.mail.made == 6
    result = compare(engine, site)
    assert result.differences == []
    assert result.counts["patch"] == 4
    assert result.counts["event"] == 8
    assert faults(engine) == []


def test_an_old_patchwork_is_imported_too(engine: Engine, old_site: Site) -> None:
    import_site(engine, old_site)
    result = compare(engine, old_site)
    assert result.differences == []
    assert result.counts["cover"] == 2
    assert result.counts["cover-comment"] == 1
    with engine.connect() as connection:
        slugs = [state.slug for state in read_states(connection, DEFAULT_STATES)]
    assert slugs[-1] == "queued-for-next", "2.2 has no slugs in the database"


def test_states_have_the_time_and_the_account_of_their_events(engine: Engine, site: Site) -> None:
    import_site(engine, site)
    with engine.connect() as connection:
        row = patch(connection, 1)
        assert (row.current_state, row.commit_ref) == ("accepted", "a" * 40)
        override = schema.override.c
        set_by = connection.execute(
            select(override.state_account_id, override.state_date).where(
                override.message_id == row.id
            )
        ).one()
        (event,) = [row for row in site.rows("patchwork_event") if row.id == 4]
        assert tuple(set_by) == (ADA, event.date)
        untouched = patch(connection, 2)
        assert untouched.current_state == "new"
        date = connection.execute(
            select(override.state_date).where(override.message_id == untouched.id)
        ).scalar_one()
        assert date == mails.NOW, "nobody has set it: it holds since the import"
        assert untouched.delegate_id == ADA
        assert patch(connection, 4).delegate_id is None


def test_a_patch_on_two_lists_keeps_both_its_records(engine: Engine, site: Site) -> None:
    import_site(engine, site)
    with engine.connect() as connection:
        dev, net = patch(connection, 2), patch(connection, 3)
        assert dev.msgid == net.msgid
        assert (dev.current_state, net.current_state) == ("new", "queued-for-next")
        assert [row.id for row in dev.lists] == [DEV]
        assert [row.id for row in net.lists] == [NET]
        assert (dev.series_id, net.series_id) == (5, 6)
        assert (dev.archived, net.archived) == (False, True)
        replies = connection.execute(
            select(schema.comment.c.message_id, schema.comment.c.parent_id)
        ).all()
        assert {(shown_number(row.message_id), row.parent_id) for row in replies} >= {
            (1, dev.id),
            (2, net.id),
        }


def test_records_survive_a_reparse_and_mail_of_their_list(engine: Engine, site: Site) -> None:
    import_site(engine, site)
    before = rows_of(engine)
    reparse(engine, Config())
    assert rows_of(engine) == before
    assert faults(engine) == []
    (raw,) = [raw for msgid, raw in site.raw.items() if msgid == "<s-2@example.org>"]
    received = raw.replace(b"dev.lists.example.org", b"net.lists.example.org")
    mails.store(engine, [received])
    with engine.connect() as connection:
        assert [row.id for row in patch(connection, 3).lists] == [NET]
        assert NET not in [row.id for row in patch(connection, 2).lists]
    assert faults(engine) == []


def test_a_later_revision_supersedes_a_patch_on_both_its_lists(engine: Engine, site: Site) -> None:
    site.change("patchwork_patch", 3, state_id=2)
    import_site(engine, site)
    later = mails.NOW + timedelta(days=1)
    posted = mails.series("s", 2, version=2, start=later)
    mails.store(engine, [raw.replace(b"<s-", b"<v2-") for raw in posted])
    with engine.connect() as connection:
        assert patch(connection, 2).current_state == "superseded"
        assert patch(connection, 3).current_state == "superseded"
        assert patch(connection, 1).current_state == "accepted", "as somebody has decided"
    assert faults(engine) == []


def test_relations_checks_bundles_and_marks_are_kept(engine: Engine, site: Site) -> None:
    import_site(engine, site)
    with engine.connect() as connection:
        one, two, four = (patch(connection, number).id for number in (1, 2, 4))
        assert read_related_patches(connection, [two]) == {two: (four,)}
        checks = connection.execute(select(schema.check).order_by(schema.check.c.id)).all()
        assert [(row.id, row.message_id, row.state, row.account_id) for row in checks] == [
            (8, two, "success", BO),
            (9, two, "fail", BO),
        ]
        bundle = read_bundles(connection, [3])[3]
        assert (bundle.name, bundle.account_id, bundle.patches) == ("for next", ADA, (four, one))
        comment = imported_row(NumberKind.PATCH_COMMENT, 1)
        other = imported_row(NumberKind.PATCH_COMMENT, 2)
        assert read_comment_marks(connection, [comment, other]) == {comment: True, other: False}
        events = read_events(connection, [4, 5, 7])
        assert (events[4].previous, events[4].current) == ("new", "accepted")
        assert events[5].current == str(ADA)
        assert events[7].current == str(four)


def test_tokens_and_rights_work_as_before(engine: Engine, site: Site) -> None:
    import_site(engine, site)
    with engine.connect() as connection:
        ada, bo = (find_account(connection, TOKENS[number]) for number in (ADA, BO))
        assert ada is not None
        assert bo is not None
        assert (ada.id, ada.name, ada.first_name) == (ADA, "ada", "Ada")
        assert ada.may_write(["dev.lists.example.org"])
        assert not ada.may_write(["net.lists.example.org"])
        assert bo.may_write(["net.lists.example.org"])
        assert find_account(connection, TOKENS[EVE]) is None, "the account is switched off"
        stored = connection.execute(select(schema.account)).all()
        root = next(row for row in stored if row.id == ROOT)
        assert (root.is_superuser, root.all_lists) == (True, False)
        assert not any(token.encode() in bytes(row.digest or b"") for row in stored
                       for token in TOKENS.values())  # fmt: skip


def test_imported_twice_nothing_changes(engine: Engine, site: Site) -> None:
    import_site(engine, site)
    before = rows_of(engine)
    summary = import_site(engine, site)
    assert rows_of(engine) == before
    assert summary == ImportSummary(), "nothing was new or has changed"


def test_a_later_run_takes_over_what_has_changed(engine: Engine, site: Site) -> None:
    import_site(engine, site)
    site.change("patchwork_patch", 2, state_id=7, delegate_id=None, related_id=None)
    site.change("patchwork_patch", 4, related_id=None, archived=True)
    site.change("patchwork_patch", 3, archived=False)
    site.change("patchwork_patchcomment", 1, addressed=False)
    site.change("patchwork_bundle", 3, name="later")
    site.change("auth_user", EVE, is_active=True)
    site.add_event(9, "patch-state-changed", DEV, patch_id=2, actor_id=BO, previous_state_id=1,
                   current_state_id=7)  # fmt: skip
    new = mails.patch("new@example.org", "[PATCH] fs: more", name="more")
    site.add_series(8, DEV, cover=None, name="fs: more")
    site.add_patch(5, new, DEV, series_id=8, number=1, state_id=2)
    site.add_event(10, "patch-created", DEV, patch_id=5)
    summary = import_site(engine, site)
    assert summary.mail.made == 1
    assert summary.activity.events == 2
    assert compare(engine, site).differences == []
    assert faults(engine) == []
    with engine.connect() as connection:
        assert find_account(connection, TOKENS[EVE]) is not None
        numbered = select(schema.event.c.number).where(schema.event.c.category == "patch-created")
        assert 10 in connection.execute(numbered).scalars().all()


def test_what_people_changed_here_remains(engine: Engine, site: Site) -> None:
    from ingest.store.activity.overrides import Override, set_override

    import_site(engine, site)
    with write_transaction(engine) as connection:
        row = patch(connection, 4)
        set_override(connection, row.id, Override(state="under-review"), account_id=ADA,
                     now=mails.NOW)  # fmt: skip
    import_site(engine, site)
    with engine.connect() as connection:
        assert patch(connection, 4).current_state == "under-review"


class KilledError(Exception):
    pass


@pytest.mark.parametrize("step", ["store_made", "_write_checks", "import_events"])
def test_an_import_that_was_interrupted_continues(
    engine: Engine, site: Site, step: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It ends after the step has done its work, and before what follows."""
    module = import_mails if step == "store_made" else activity
    own = getattr(module, step)

    def interrupted(*words: object, **more: object) -> None:
        own(*words, **more)
        raise KilledError

    with monkeypatch.context() as patching:
        patching.setattr(module, step, interrupted)
        with pytest.raises(KilledError):
            import_site(engine, site)
    import_site(engine, site)
    assert compare(engine, site).differences == []
    assert faults(engine) == []
    before = rows_of(engine)
    import_site(engine, site)
    assert rows_of(engine) == before


def test_raw_mail_comes_from_an_archive(engine: Engine, site: Site, tmp_path: Path) -> None:
    archive = tmp_path / "archive.mbox"
    others = [mails.patch("other@example.org", "[PATCH] not in Patchwork", name="other")]
    archive.write_bytes(mails.mbox([*site.raw.values(), *others]))
    summary = import_site(engine, site, open_source(str(archive)))
    assert (summary.mail.archived, summary.mail.made) == (6, 0)
    assert compare(engine, site).differences == []
    with engine.connect() as connection:
        sources = set(connection.execute(select(schema.mail.c.source)).scalars())
        assert sources == {"replay"}
        assert len(mails.list_message_ids(connection, Outcome.PATCH)) == 3


def test_a_replay_brings_the_raw_mail_later(engine: Engine, site: Site, tmp_path: Path) -> None:
    import_site(engine, site)
    with engine.connect() as connection:
        made = patch(connection, 2)
        assert len(find_substitutes(connection)) == 9, "each record of the six mails"
        exported = [line for line in export_records(connection) if NOT_AVAILABLE in line]
        assert len(exported) == 6
    archive = tmp_path / "archive.mbox"
    archive.write_bytes(mails.mbox(list(site.raw.values())))
    replay(engine, open_source(str(archive)), Config())
    with engine.connect() as connection:
        found = patch(connection, 2)
        assert found.mail_id != made.mail_id
        assert (found.id, found.series_id, found.current_state) == (made.id, 5, "new")
        source = connection.execute(
            select(schema.mail.c.source).where(schema.mail.c.id == found.mail_id)
        ).scalar_one()
        assert source == "replay"
        assert find_substitutes(connection) == set()
        assert not [line for line in export_records(connection) if NOT_AVAILABLE in line]
    assert compare(engine, site).differences == []
    assert faults(engine) == []


def test_a_replay_renews_all_text_of_a_record_on_a_further_list(
    engine: Engine, site: Site, tmp_path: Path
) -> None:
    import_site(engine, site)
    with engine.connect() as connection:
        ids = [patch(connection, number).id for number in (2, 3)]
    body = schema.body
    query = select(body.c.files, body.c.content, body.c.diff).where(body.c.message_id.in_(ids))
    with write_transaction(engine) as connection:
        before = connection.execute(query).all()
        outdated = {"files": "old", "content": "old", "diff": "old"}
        connection.execute(update(body).where(body.c.message_id.in_(ids)).values(outdated))
    archive = tmp_path / "archive.mbox"
    archive.write_bytes(mails.mbox(list(site.raw.values())))
    replay(engine, open_source(str(archive)), Config())
    with engine.connect() as connection:
        assert connection.execute(query).all() == before


def test_a_mail_that_is_something_else_here_is_found_by_its_number(
    engine: Engine, site: Site
) -> None:
    """Patchwork has taken a reply for a patch, because of the diff that it suggests."""
    reply = mails.reply("odd@example.com", "lone@example.org", f"How about:\n\n{mails.diff()}")
    site.add_series(9, DEV, cover=None)
    site.add_patch(6, reply, DEV, series_id=9, number=1)
    import_site(engine, site)
    with engine.connect() as connection:
        rows = read_entry_numbers(connection, NumberKind.PATCH)
        (found,) = read_messages(connection, [rows[6] or 0])
        assert found.outcome is Outcome.COMMENT
        assert shown_number(found.id, found.outcome) != 6, "that may be a comment's number"
        redirect = schema.redirect.c
        query = select(redirect.to_id).where(redirect.id == imported_row(NumberKind.PATCH, 6))
        assert connection.execute(query).scalar_one() == found.id
    (difference,) = [item for item in compare(engine, site).differences if item.kind == "patch"]
    assert (difference.number, difference.ours) == (6, "missing")
    assert "comment" in difference.reason
    assert faults(engine) == []


def test_a_series_that_is_arranged_otherwise_is_found_by_its_number(
    engine: Engine, site: Site
) -> None:
    """Patchwork has put the second patch of a posting into a series of its own."""
    start = mails.START + timedelta(days=3)
    one, two = mails.series("t", 2, cover=False, start=start, sender=mails.BOB)
    site.add_series(20, DEV, cover=None, total=2)
    site.add_series(21, DEV, cover=None, total=2)
    site.add_patch(10, one, DEV, series_id=20, number=1)
    site.add_patch(11, two, DEV, series_id=21, number=2)
    import_site(engine, site)
    with engine.connect() as connection:
        assert patch(connection, 10).series_id == patch(connection, 11).series_id == 20
        assert read_entry_numbers(connection, NumberKind.SERIES)[21] == 20
        redirect = schema.redirect.c
        query = select(redirect.to_id).where(redirect.kind == "series", redirect.id == 21)
        assert connection.execute(query).scalar_one() == 20
    found = [item for item in compare(engine, site).differences if item.kind == "series"]
    assert {(item.number, item.field) for item in found} >= {(21, "number"), (21, "patches")}
    assert all("only here: <t-" in item.reason for item in found if item.field == "patches")


def test_new_mail_has_numbers_above_all_imported_ones(engine: Engine, site: Site) -> None:
    import_site(engine, site)
    mails.store(engine, [mails.patch("next@example.org", "[PATCH] next", name="next")])
    with engine.connect() as connection:
        newest = max(mails.list_message_ids(connection))
        assert shown_number(newest) == 5
        series = connection.execute(select(schema.series.c.id)).scalars().all()
        assert max(series) > 7 + 900, "numbers are kept for what Patchwork makes until the switch"


def test_numbers_that_patchwork_gives_later_are_free(engine: Engine, site: Site) -> None:
    """Here the posting is two series, of which Patchwork has made one."""
    posted = [mails.patch(f"x{number}@example.org", f"[PATCH] x: {number}", name=f"x{number}")
              for number in (1, 2)]  # fmt: skip
    site.add_series(8, DEV, cover=None)
    for number, raw in enumerate(posted, 1):
        site.add_patch(20 + number, raw, DEV, series_id=8, number=number)
    import_site(engine, site)
    later = mails.patch("y@example.org", "[PATCH] y: z", name="y", sender="New <new@example.org>")
    site.add_series(9, DEV, cover=None, submitter_id=site.person("New <new@example.org>"))
    site.add_patch(23, later, DEV, series_id=9, number=1)
    import_site(engine, site)
    with engine.connect() as connection:
        assert patch(connection, 23).series_id == 9
        assert patch(connection, 23).person_id == site.person("New <new@example.org>")
        assert {patch(connection, 21).series_id, patch(connection, 22).series_id} > {8}


def test_two_projects_of_one_list_are_two_lists(engine: Engine, site: Site) -> None:
    """Patchwork tells them apart by the subject of the mail."""
    site.change("patchwork_project", NET, listid="dev.lists.example.org", subject_match="net")
    import_site(engine, site)
    assert compare(engine, site).differences == []
    with engine.connect() as connection:
        ids = connection.execute(
            select(schema.list_.c.list_id).order_by(schema.list_.c.id)
        ).scalars()
        assert list(ids) == ["dev.lists.example.org", "net.dev.lists.example.org"]
        assert [row.id for row in patch(connection, 3).lists] == [NET]


def test_a_store_with_mail_is_refused(engine: Engine, site: Site) -> None:
    mails.store(engine, [mails.patch()])
    with pytest.raises(PatchworkError, match="the store has mail already"):
        import_site(engine, site)


def test_a_site_without_mail_is_imported(engine: Engine, tmp_path: Path) -> None:
    site = Site.create(f"sqlite:///{tmp_path / 'empty.db'}")
    import_site(engine, site)
    assert compare(engine, site).differences == []
    fill(site)
    import_site(engine, site)
    assert compare(engine, site).differences == []
