"""Store bundles: named lists of patches that accounts have made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, insert, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.site.numbers import NumberKind, read_reserved
from ingest.store.sql.insertion import allocate_ids, insert_rows
from ingest.store.sql.key_lists import chunks, is_any


@frozen
class Bundle:
    """A bundle. `patches` are the rows of its patches, in its order."""

    id: int
    account_id: int
    list_id: int
    name: str
    public: bool
    patches: tuple[int, ...]


class BundleError(Exception):
    """A bundle cannot be stored. The text is one line."""


def read_bundles(connection: Connection, ids: Iterable[int]) -> dict[int, Bundle]:
    """Return the bundles with these ids, by id."""
    table, item = schema.bundle, schema.bundle_patch.c
    bundles: dict[int, Bundle] = {}
    for chunk in chunks(ids):
        patches: dict[int, list[int]] = {}
        query = select(item.bundle_id, item.message_id).where(is_any(item.bundle_id, chunk))
        for row in connection.execute(query.order_by(item.position, item.message_id)):
            patches.setdefault(row.bundle_id, []).append(row.message_id)
        for row in connection.execute(select(table).where(is_any(table.c.id, chunk))):
            bundles[row.id] = Bundle(
                row.id, row.account_id, row.list_id, row.name, bool(row.public),
                tuple(patches.get(row.id, ())),
            )  # fmt: skip
    return bundles


def find_bundle(connection: Connection, account_id: int, name: str) -> int | None:
    """Return the number of the bundle of that name, None where its owner has none."""
    table = schema.bundle.c
    query = select(table.id).where(table.account_id == account_id, table.name == name)
    return connection.execute(query).scalar_one_or_none()


def add_bundle(connection: Connection, bundle: Bundle) -> int:
    """Store a new bundle and return its number. An id of 0 means the next one.

    Raises `BundleError` if its owner has one of that name.
    """
    _check_name(connection, bundle)
    bundle_id = bundle.id or _next_id(connection)
    connection.execute(insert(schema.bundle).values(id=bundle_id, **_values(bundle)))
    _write_patches(connection, bundle_id, bundle.patches)
    return bundle_id


def update_bundle(connection: Connection, bundle: Bundle) -> None:
    """Make the stored bundle of this number what `bundle` is. Raises `BundleError` as above."""
    _check_name(connection, bundle)
    table = schema.bundle
    connection.execute(update(table).where(table.c.id == bundle.id).values(**_values(bundle)))
    item = schema.bundle_patch
    connection.execute(delete(item).where(item.c.bundle_id == bundle.id))
    _write_patches(connection, bundle.id, bundle.patches)


def delete_bundle(connection: Connection, bundle_id: int) -> None:
    """Delete a bundle. Its number is not used again."""
    item, table = schema.bundle_patch, schema.bundle
    connection.execute(delete(item).where(item.c.bundle_id == bundle_id))
    connection.execute(delete(table).where(table.c.id == bundle_id))


def replace_in_bundles(connection: Connection, message_id: int, to: int | None) -> None:
    """Put the patch `to` in the place of one that is about to be deleted; with None, remove it."""
    item = schema.bundle_patch
    is_own = item.c.message_id == message_id
    if to is not None:
        holding = select(item.c.bundle_id).where(item.c.message_id == to)
        connection.execute(
            update(item).where(is_own, item.c.bundle_id.not_in(holding)).values(message_id=to)
        )
    connection.execute(delete(item).where(is_own))


def _check_name(connection: Connection, bundle: Bundle) -> None:
    owner = find_bundle(connection, bundle.account_id, bundle.name)
    if owner is not None and owner != bundle.id:
        raise BundleError(f"there is a bundle {bundle.name!r} already")


def _next_id(connection: Connection) -> int:
    """Return an id that no bundle has had."""
    (bundle_id,) = allocate_ids(connection, schema.bundle, 1)
    if connection.dialect.name == "postgresql":
        return bundle_id
    # SQLite would give the number of a deleted bundle to the next one.
    table = schema.reserved_number
    highest = max(bundle_id, read_reserved(connection, NumberKind.BUNDLE) + 1)
    is_own = table.c.kind == str(NumberKind.BUNDLE)
    result = connection.execute(update(table).where(is_own).values(highest=highest))
    if not result.rowcount:
        connection.execute(insert(table).values(kind=str(NumberKind.BUNDLE), highest=highest))
    return highest


def _values(bundle: Bundle) -> dict[str, object]:
    return {
        "account_id": bundle.account_id,
        "list_id": bundle.list_id,
        "name": bundle.name,
        "public": bundle.public,
    }


def _write_patches(connection: Connection, bundle_id: int, patches: Sequence[int]) -> None:
    insert_rows(
        connection,
        schema.bundle_patch,
        [
            {"bundle_id": bundle_id, "message_id": message_id, "position": position}
            for position, message_id in enumerate(dict.fromkeys(patches), 1)
        ],
    )
