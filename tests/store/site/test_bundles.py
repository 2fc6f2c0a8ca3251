"""Test bundles: their order, their names, and that a number is used once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.activity.accounts import add_token, find_account
from ingest.store.activity.overrides import transfer_overrides
from ingest.store.database.transactions import write_transaction
from ingest.store.site.bundles import (
    Bundle,
    BundleError,
    add_bundle,
    delete_bundle,
    find_bundle,
    read_bundles,
    update_bundle,
)
from tests.support import mails


def test_a_bundle_keeps_the_order_of_its_patches(engine: Engine) -> None:
    mails.store(engine, mails.series("s", 3))
    with write_transaction(engine) as connection:
        one, two, three = mails.list_message_ids(connection, Outcome.PATCH)
        token = add_token(connection, "ada", email="", lists=(), now=mails.NOW)
        owner = find_account(connection, token)
        assert owner is not None
        (list_id,) = connection.execute(schema.list_.select().with_only_columns(schema.list_.c.id))
        bundle = Bundle(0, owner.id, list_id.id, "for next", True, (three, one))
        number = add_bundle(connection, bundle)
        stored = replace(bundle, id=number)
        assert read_bundles(connection, [number]) == {number: stored}
        assert find_bundle(connection, owner.id, "for next") == number
        with pytest.raises(BundleError, match="for next"):
            add_bundle(connection, bundle)
        stored = replace(stored, name="later", public=False, patches=(two, three, one))
        update_bundle(connection, stored)
        assert read_bundles(connection, [number]) == {number: stored}
        transfer_overrides(connection, two, None)
        transfer_overrides(connection, three, one)
        assert read_bundles(connection, [number])[number].patches == (one,)
        delete_bundle(connection, number)
        assert read_bundles(connection, [number]) == {}
        assert add_bundle(connection, replace(bundle, patches=())) == number + 1
        delete_bundle(connection, number + 1)
        assert add_bundle(connection, bundle) == number + 2, "no number is used twice"
