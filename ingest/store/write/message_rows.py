"""The rows of messages and of the records that they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

from sqlalchemy import Connection, Table, bindparam, delete, select, update

from ingest.model import Derived
from ingest.series.arrange import Place
from ingest.series.facts import bucket, dump_facts
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.sql import chunks, compare_rows, insert_rows, is_any
from ingest.store.write.arrange import Arranged, Node

_RECORDS = (schema.patch, schema.cover, schema.comment)


def write_messages(connection: Connection, arranged: Arranged) -> None:
    """Insert what is new, replace what changed, and give each message the record of its place.

    Rows that stand and whose place stands are not read; of those that are derived again, only
    what differs is written.
    """
    new: list[Node] = []
    replaced: list[Node] = []
    moved: list[Node] = []
    for key, node in arranged.nodes.items():
        place = arranged.places[key]
        if node.derived is not None:
            (new if node.outcome is None else replaced).append(node)
        elif (node.outcome, node.reason, node.parent_id) != (
            place.outcome,
            _reason(node, place),
            parent_id(place, arranged),
        ):
            moved.append(node)
    changes = [
        compare_rows(connection, table, "message_id", _ids([*replaced, *moved]), some)
        for table, some in _record_rows((*new, *replaced, *moved), arranged).items()
    ]
    changes += [
        compare_rows(connection, table, "message_id", _ids(replaced), some)
        for table, some in _part_rows((*new, *replaced)).items()
    ]
    # A record hangs on its message's outcome: it goes before that changes, and comes after.
    for one in changes:
        one.drop(connection)
    places = arranged.places
    insert_rows(connection, schema.message, [_message_row(one, places) for one in new])
    wanted = [_message_row(one, places) for one in replaced]
    _update(connection, compare_rows(connection, schema.message, "id", _ids(replaced), wanted).rows)
    _update(
        connection,
        [
            {
                "id": one.message_id,
                "outcome": places[one.facts.key].outcome,
                "reason": _reason(one, places[one.facts.key]),
            }
            for one in moved
        ],
    )
    for one in changes:
        one.insert(connection)


def delete_messages(connection: Connection, message_ids: set[int]) -> set[int]:
    """Delete the rows of messages that no mail is a copy of any more. Returns the series that
    they were in.
    """
    _drop_records(connection, message_ids)
    _drop_parts(connection, message_ids)
    left: set[int] = set()
    member = schema.member.c
    for some in chunks(message_ids):
        query = select(member.series_id).where(is_any(member.message_id, some))
        left.update(connection.execute(query).scalars())
        connection.execute(delete(schema.member).where(is_any(schema.member.c.message_id, some)))
        connection.execute(
            update(schema.series)
            .where(is_any(schema.series.c.cover_id, some))
            .values(cover_id=None)
        )
        connection.execute(delete(schema.message).where(is_any(schema.message.c.id, some)))
    return left


def _message_row(node: Node, places: dict[str, Place]) -> dict[str, Any]:
    one = node.derived
    assert one is not None
    facts = node.facts
    place = places[facts.key]
    return {
        "id": node.message_id,
        "msgid": facts.msgid,
        "variant": node.variant,
        "fingerprint": one.fingerprint,
        "mail_id": node.mail_id,
        "thread_id": node.thread_id,
        "bucket": bucket(facts),
        "date": facts.date,
        "subject": one.subject,
        "person_id": node.person_id,
        "sender_name": one.sender.name,
        "author_name": one.author.name if one.author else None,
        "author_email": one.author.email if one.author else None,
        "in_reply_to": facts.parents[0] if facts.parents else None,
        "kind": facts.kind,
        "outcome": place.outcome,
        "reason": _reason(node, place),
        "defects": ",".join(one.defects),
        "facts": dump_facts(facts),
        "rewriting": one.rewriting,
        "person_source": one.person_source,
    }


def _reason(node: Node, place: Place) -> str:
    """Why a message is what it is: by its place, else by itself."""
    return place.reason if place.reason is not None else node.facts.reason


def _update(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        renamed = [{("b_id" if key == "id" else key): row[key] for key in row} for row in rows]
        connection.execute(
            update(schema.message).where(schema.message.c.id == bindparam("b_id")), renamed
        )


def _drop_records(connection: Connection, message_ids: Iterable[int]) -> None:
    for some in chunks(message_ids):
        for table in _RECORDS:
            connection.execute(delete(table).where(is_any(table.c.message_id, some)))


def _drop_parts(connection: Connection, message_ids: Iterable[int]) -> None:
    for some in chunks(message_ids):
        for table in (schema.body, schema.trailer, schema.dependency):
            connection.execute(delete(table).where(is_any(table.c.message_id, some)))


def _part_rows(nodes: Iterable[Node]) -> dict[Table, list[dict[str, Any]]]:
    """What a message's mail alone says, outside its own row."""
    bodies, trailers, dependencies = [], [], []
    for node in nodes:
        one = node.derived
        assert one is not None
        bodies.append({"message_id": node.message_id, "content": one.content, "diff": one.diff})
        trailers += [
            {
                "message_id": node.message_id,
                "position": position,
                "key": trailer.key,
                "value": trailer.value,
            }
            for position, trailer in enumerate(one.trailers)
        ]
        dependencies += [
            {
                "message_id": node.message_id,
                "position": position,
                "kind": dependency.kind,
                "target": dependency.target,
            }
            for position, dependency in enumerate(one.dependencies)
        ]
    return {schema.body: bodies, schema.dependency: dependencies, schema.trailer: trailers}


def _record_rows(nodes: Iterable[Node], arranged: Arranged) -> dict[Table, list[dict[str, Any]]]:
    """What the messages are by their places."""
    found: dict[Table, list[dict[str, Any]]] = {table: [] for table in _RECORDS}
    for node in nodes:
        place = arranged.places[node.facts.key]
        match place.outcome:
            case Outcome.PATCH:
                found[schema.patch].append(_patch_row(node, node.derived))
            case Outcome.COVER:
                found[schema.cover].append(_cover_row(node))
            case Outcome.COMMENT:
                parent = parent_id(place, arranged)
                found[schema.comment].append({"message_id": node.message_id, "parent_id": parent})
            case Outcome.OTHER | Outcome.IGNORED:
                pass
            case _:
                assert_never(place.outcome)
    return found


def _ids(nodes: Iterable[Node]) -> list[int]:
    return [node.message_id for node in nodes]


def parent_id(place: Place, arranged: Arranged) -> int | None:
    return arranged.nodes[place.parent].message_id if place.parent is not None else None


def _patch_row(node: Node, one: Derived | None) -> dict[str, Any]:
    # What is a patch is one by itself, in every thread: its row is written with its message.
    assert one is not None, f"{node.facts.key} became a patch by its place"
    return {
        "message_id": node.message_id,
        "name": one.facts.name,
        "prefixes": json.dumps(one.facts.prefixes, ensure_ascii=False),
        "hash": one.facts.hash,
        "patch_id": one.patch_id,
        "pull_url": one.pull_url,
        "state": one.state,
        "archived": False,
        "commit_ref": None,
    }


def _cover_row(node: Node) -> dict[str, Any]:
    # A mail may become a cover, and cease to be one, by what comes to answer it; one that is
    # also a pull request is a cover by itself.
    return {
        "message_id": node.message_id,
        "name": node.facts.name,
        "prefixes": json.dumps(node.facts.prefixes, ensure_ascii=False),
        "pull_url": node.derived.pull_url if node.derived is not None else None,
    }
