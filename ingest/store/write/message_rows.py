"""Write the rows of messages and of the records that they are: patch, cover or comment."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, assert_never

from sqlalchemy import Connection, Table, bindparam, delete, select, update

from ingest.frozen import frozen
from ingest.lifecycle.announcement import Announcements, AnnouncementSignature, dump_announcements
from ingest.series.arrange import Place
from ingest.series.facts import Facts, bucket, dump_facts
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.activity.states import KEPT_COLUMNS
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any
from ingest.store.sql.row_changes import RowChanges, compare_rows
from ingest.store.write.arrange import ArrangedSets, Node

# How many mails of its thread an announcement may apply to, and how many others.
_MAX_ANSWERED = 20
_MAX_NAMED = 50

# What a message is by its place in the thread.
_RECORD_TABLES = (schema.patch, schema.cover, schema.comment)
# What the mail alone says of a message, apart from the message's own row.
_CONTENT_TABLES = (
    schema.body,
    schema.trailer,
    schema.dependency,
    schema.announcement,
    schema.announcement_target,
)


@frozen
class _SortedNodes:
    """Messages by what must be written of them.

    `new` have no row; `replaced` are derived again; `moved` keep their rows but have another
    place in their thread. Messages with an unchanged row and place are in none of them.
    """

    new: list[Node]
    replaced: list[Node]
    moved: list[Node]


def write_messages(connection: Connection, arranged: ArrangedSets) -> set[int]:
    """Insert new messages, replace changed ones, and give each the record of its place.

    Returns the ids of all these.

    Rows of messages that have not changed, row and place, are not read. Of messages that are
    derived again, only the differences are written.
    """
    nodes = _sort_nodes(arranged)
    changes = _compare_other_rows(connection, arranged, nodes)
    # A record has a foreign key to its message's outcome: it is deleted before that changes, and
    # inserted after.
    for change in changes:
        change.delete_stale(connection)
    places = arranged.places
    insert_rows(connection, schema.message, [message_row(node, places) for node in nodes.new])
    rows = [message_row(node, places) for node in nodes.replaced]
    row_changes = compare_rows(connection, schema.message, "id", _ids(nodes.replaced), rows)
    _update_messages(connection, row_changes.rows)
    _update_messages(
        connection,
        [
            {
                "id": node.message_id,
                "outcome": places[node.facts.key].outcome,
                "reason": outcome_reason(node, places[node.facts.key]),
            }
            for node in nodes.moved
        ],
    )
    for change in changes:
        change.insert(connection)
    return {*_ids(nodes.new), *_ids(nodes.replaced), *_ids(nodes.moved)}


def delete_messages(connection: Connection, message_ids: set[int]) -> set[int]:
    """Delete messages that no mail is a copy of any more, with their records and memberships.

    Returns the series that they were in.
    """
    for chunk in chunks(message_ids):
        for table in (*_RECORD_TABLES, *_CONTENT_TABLES, schema.state_evidence):
            connection.execute(delete(table).where(is_any(table.c.message_id, chunk)))
    orphaned: set[int] = set()
    member = schema.member.c
    for chunk in chunks(message_ids):
        query = select(member.series_id).where(is_any(member.message_id, chunk))
        orphaned.update(connection.execute(query).scalars())
        connection.execute(delete(schema.member).where(is_any(schema.member.c.message_id, chunk)))
        connection.execute(
            update(schema.series)
            .where(is_any(schema.series.c.cover_id, chunk))
            .values(cover_id=None)
        )
        connection.execute(delete(schema.message).where(is_any(schema.message.c.id, chunk)))
    return orphaned


def message_row(node: Node, places: Mapping[str, Place]) -> dict[str, Any]:
    """Return the row of `message` for a derived message."""
    derived = node.derived
    assert derived is not None
    facts = node.facts
    place = places[facts.key]
    return {
        "id": node.message_id,
        "msgid": facts.msgid,
        "variant": node.variant,
        "fingerprint": derived.fingerprint,
        "mail_id": node.mail_id,
        "thread_id": node.thread_id,
        "bucket": bucket(facts),
        "date": facts.date,
        "subject": derived.subject,
        "person_id": node.person_id,
        "sender_name": derived.sender.name,
        "sender_email": derived.sender.email,
        "author_name": derived.author.name if derived.author else None,
        "author_email": derived.author.email if derived.author else None,
        "in_reply_to": facts.parents[0] if facts.parents else None,
        "kind": facts.kind,
        "outcome": place.outcome,
        "reason": outcome_reason(node, place),
        "defects": ",".join(derived.defects),
        "facts": dump_facts(facts),
        "rewriting": derived.rewriting,
        "person_source": derived.person_source,
    }


def patch_row(node: Node) -> dict[str, Any]:
    """Return the row of `patch` for a message, derived or not."""
    # A stored message may become one: a patch that was sent again, when the first is withdrawn.
    facts = node.facts
    return {
        "message_id": node.message_id,
        "name": facts.name,
        "prefixes": json.dumps(facts.prefixes, ensure_ascii=False),
        "hash": facts.hash,
        "patch_id": facts.patch_id,
        "pull_url": facts.pull_url,
        "state": facts.state,
        "derived_delegate": schema.storable(facts.delegate) if facts.delegate else None,
    }


def cover_row(node: Node) -> dict[str, Any]:
    """Return the row of `cover` for a message, derived or not."""
    # Replies may make a stored message a cover, and later ones may end that.
    return {
        "message_id": node.message_id,
        "name": node.facts.name,
        "prefixes": json.dumps(node.facts.prefixes, ensure_ascii=False),
        "pull_url": node.facts.pull_url,
    }


def outcome_reason(node: Node, place: Place) -> str:
    """Return why a message has its outcome: because of its place, else because of its mail."""
    return place.reason if place.reason is not None else node.facts.reason


def parent_id(place: Place, arranged: ArrangedSets) -> int | None:
    """Return the row id of the patch or cover that a comment applies to, None where none is."""
    return arranged.nodes[place.parent].message_id if place.parent is not None else None


def find_moved_comments(arranged: ArrangedSets) -> set[str]:
    """Return the Message-IDs of stored comments that apply to another message than before."""
    return {
        node.facts.msgid
        for key, node in arranged.nodes.items()
        if node.derived is None
        and node.outcome == Outcome.COMMENT
        and node.parent_id != parent_id(arranged.places[key], arranged)
    }


def _sort_nodes(arranged: ArrangedSets) -> _SortedNodes:
    nodes = _SortedNodes([], [], [])
    for key, node in arranged.nodes.items():
        place = arranged.places[key]
        if node.derived is not None:
            (nodes.replaced if node.is_stored else nodes.new).append(node)
        elif (node.outcome, node.reason, node.parent_id) != (
            place.outcome,
            outcome_reason(node, place),
            parent_id(place, arranged),
        ):
            nodes.moved.append(node)
    return nodes


def _compare_other_rows(
    connection: Connection, arranged: ArrangedSets, nodes: _SortedNodes
) -> list[RowChanges]:
    """Compare the rows that belong to messages with those that are wanted, table by table."""
    records = _record_rows((*nodes.new, *nodes.replaced, *nodes.moved), arranged)
    _keep_states(connection, records[schema.patch], _ids(nodes.replaced))
    contents = _content_rows((*nodes.new, *nodes.replaced))
    record_owners = _ids([*nodes.replaced, *nodes.moved])
    content_owners = _ids(nodes.replaced)
    changes = [
        compare_rows(connection, table, "message_id", record_owners, rows)
        for table, rows in records.items()
    ]
    changes += [
        compare_rows(connection, table, "message_id", content_owners, rows)
        for table, rows in contents.items()
    ]
    return changes


# What a patch has when nobody has set its state and nothing shows one.
_NO_STATE = dict.fromkeys(KEPT_COLUMNS) | {"archived": False}


def _keep_states(
    connection: Connection, patch_rows: Sequence[dict[str, Any]], replaced: Collection[int]
) -> None:
    """Add the columns of the state to rows of patches, as they are stored where a row is replaced.

    They are not of the mail: `store.activity.states` keeps them.
    """
    columns = schema.patch.c
    stored: dict[int, Any] = {}
    query = select(columns.message_id, *(columns[name] for name in KEPT_COLUMNS))
    for chunk in chunks(replaced):
        for row in connection.execute(query.where(is_any(columns.message_id, chunk))).mappings():
            stored[row["message_id"]] = dict(row)
    for patch in patch_rows:
        patch.update(stored.get(patch["message_id"], _NO_STATE))


def _record_rows(
    nodes: Iterable[Node], arranged: ArrangedSets
) -> dict[Table, list[dict[str, Any]]]:
    """Build the rows of what the messages are by their places."""
    rows: dict[Table, list[dict[str, Any]]] = {table: [] for table in _RECORD_TABLES}
    for node in nodes:
        place = arranged.places[node.facts.key]
        match place.outcome:
            case Outcome.PATCH:
                rows[schema.patch].append(patch_row(node))
            case Outcome.COVER:
                rows[schema.cover].append(cover_row(node))
            case Outcome.COMMENT:
                parent = parent_id(place, arranged)
                rows[schema.comment].append({"message_id": node.message_id, "parent_id": parent})
            case Outcome.OTHER | Outcome.IGNORED:
                pass
            case _:
                assert_never(place.outcome)
    return rows


def _content_rows(nodes: Iterable[Node]) -> dict[Table, list[dict[str, Any]]]:
    """Build the rows of what the mails alone say, apart from the messages' own rows."""
    bodies, trailers, dependencies, announcements, targets = [], [], [], [], []
    for node in nodes:
        derived = node.derived
        assert derived is not None
        bodies.append(
            {
                "message_id": node.message_id,
                "files": derived.files,
                "content": derived.content,
                "diff": derived.diff,
            }
        )
        trailers += [
            {
                "message_id": node.message_id,
                "position": position,
                "key": trailer.key,
                "value": trailer.value,
            }
            for position, trailer in enumerate(derived.trailers)
        ]
        dependencies += [
            {
                "message_id": node.message_id,
                "position": position,
                "kind": dependency.kind,
                "target": dependency.target,
            }
            for position, dependency in enumerate(derived.dependencies)
        ]
        if derived.announcements is not None:
            announcements.append(announcement_row(node.message_id, derived.announcements))
            targets += target_rows(node.message_id, node.facts, derived.announcements)
    return {
        schema.body: bodies,
        schema.dependency: dependencies,
        schema.trailer: trailers,
        schema.announcement: announcements,
        schema.announcement_target: targets,
    }


def announcement_row(message_id: int, announcements: Announcements) -> dict[str, Any]:
    """Return the row of `announcement` for a message."""
    content = schema.storable(dump_announcements(announcements))
    return {"message_id": message_id, "content": content}


def target_rows(
    message_id: int, facts: Facts, announcements: Announcements
) -> list[dict[str, Any]]:
    """Return the rows of `announcement_target` for a message."""
    answered = facts.parents
    if len(answered) > _MAX_ANSWERED:
        answered = (*answered[: _MAX_ANSWERED - 1], answered[-1])  # the nearest, and the first
    named = dict.fromkeys(msgid for item in announcements.items for msgid in item.msgids)
    is_entitled = (
        bool(announcements.entitled) and announcements.signature is not AnnouncementSignature.FAILED
    )
    return [
        {
            "message_id": message_id,
            "target": schema.storable(target),
            "position": position,
            "is_answered": position < len(answered),
            "is_entitled": is_entitled,
        }
        for position, target in enumerate((*answered, *list(named)[:_MAX_NAMED]))
    ]


def _update_messages(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        renamed = [{("b_id" if key == "id" else key): row[key] for key in row} for row in rows]
        connection.execute(
            update(schema.message).where(schema.message.c.id == bindparam("b_id")), renamed
        )


def _ids(nodes: Iterable[Node]) -> list[int]:
    return [node.message_id for node in nodes]
