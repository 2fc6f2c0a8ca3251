"""Read what landing needs to know of patches: the keys that find them, and what decides."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.lifecycle.commit import find_link, find_originals, sample_lines
from ingest.lifecycle.landing import PatchFacts
from ingest.mail.message import Address
from ingest.model import Derived
from ingest.series.facts import key_of
from ingest.store import schema
from ingest.store.commits.keys import patch_keys
from ingest.store.sql.key_lists import chunks, is_any


@frozen
class LandingPatch:
    """A patch that may have landed, with the id of its message."""

    message_id: int
    facts: PatchFacts


def _patch_query() -> Any:
    message, patch = schema.message.c, schema.patch.c
    return select(
        message.id,
        message.msgid,
        message.variant,
        message.date,
        message.facts,
        message.sender_name,
        message.sender_email,
        message.author_name,
        message.author_email,
        patch.patch_id,
    ).join(schema.patch, patch.message_id == message.id)


def read_patch_keys(connection: Connection, message_ids: Collection[int]) -> dict[int, set[int]]:
    """Return the keys of those of the messages that are patches, by message."""
    keys: dict[int, set[int]] = {}
    for chunk in chunks(message_ids):
        query = _patch_query().where(is_any(schema.message.c.id, chunk))
        keys.update((row.id, patch_keys(_make_facts(row))) for row in connection.execute(query))
    return keys


def read_patches(connection: Connection, message_ids: Collection[int]) -> dict[int, LandingPatch]:
    """Return what landing needs to know of patches, by message."""
    patches: dict[int, LandingPatch] = {}
    links = _read_links(connection, message_ids)
    body = schema.body.c
    query = (
        _patch_query()
        .add_columns(body.content, body.diff)
        .join(schema.body, body.message_id == schema.message.c.id)
    )
    for chunk in chunks(message_ids):
        for row in connection.execute(query.where(is_any(schema.message.c.id, chunk))):
            lines = (row.diff or "").encode("utf-8", "replace").split(b"\n")
            facts = replace(
                _make_facts(row),
                links=tuple(links.get(row.id, ())),
                originals=find_originals(row.content),
                sample=sample_lines(lines),
            )
            patches[row.id] = LandingPatch(row.id, facts)
    return patches


def _read_links(connection: Connection, message_ids: Collection[int]) -> dict[int, list[str]]:
    """Return the mails that trailers in the patches name, by patch."""
    trailer = schema.trailer.c
    links: dict[int, list[str]] = defaultdict(list)
    for chunk in chunks(message_ids):
        query = select(trailer.message_id, trailer.value).where(
            is_any(trailer.message_id, chunk), trailer.key.in_(("Link", "Message-ID"))
        )
        for row in connection.execute(query.order_by(trailer.message_id, trailer.position)):
            if link := find_link(row.value):
                links[row.message_id].append(link)
    return links


def make_new_facts(mail: Derived) -> PatchFacts:
    """Return of a patch that is not stored what its keys are made of."""
    facts = mail.facts
    return PatchFacts(
        key=facts.key,
        ids=(facts.msgid, *facts.aliases),
        title=facts.title,
        authors=(),
        date=facts.date,
        patch_id=facts.patch_id,
    )


def _make_facts(row: Any) -> PatchFacts:
    """Return the facts of a patch, without those that its text has."""
    facts: dict[str, Any] = json.loads(row.facts)
    authors = [Address(row.sender_name, row.sender_email)]
    if row.author_email:
        authors.append(Address(row.author_name or "", row.author_email))
    return PatchFacts(
        key=key_of(row.msgid, row.variant),
        ids=(row.msgid, *facts.get("aliases", ())),
        title=facts.get("title", ""),
        authors=tuple(authors),
        date=row.date,
        patch_id=row.patch_id,
    )
