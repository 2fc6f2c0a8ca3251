"""Create indexes for the search in names, if PostgreSQL has the extension for them (pg_trgm).

They are created when the API first starts, so that a store without an API does not pay for them.
Without the extension, or the permission to create it, a search reads every name.
"""

from __future__ import annotations

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from ingest.store.engine import write_transaction

_INDEXES = {
    "ix_patch_name_words": "patch",
    "ix_cover_name_words": "cover",
    "ix_series_name_words": "series",
}


def create_search_indexes(engine: Engine) -> bool:
    """Create the indexes that do not exist, and return whether they exist now.

    Begins a transaction of its own. Writers of records wait until it ends: once, a second or two
    for a hundred thousand patches.
    """
    if engine.dialect.name != "postgresql":
        return False
    with engine.connect() as connection:
        query = text("SELECT count(*) FROM unnest(CAST(:names AS text[])) AS n"
                     " WHERE to_regclass(n) IS NOT NULL")  # fmt: skip
        if connection.execute(query, {"names": list(_INDEXES)}).scalar_one() == len(_INDEXES):
            return True
    try:
        with write_transaction(engine) as connection:
            connection.execute(text("SET LOCAL statement_timeout TO 0"))
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
            for index, table in _INDEXES.items():
                connection.execute(
                    text(
                        f"CREATE INDEX IF NOT EXISTS {index} ON {table} USING gin"
                        " (name gin_trgm_ops)"
                    )
                )
    except DBAPIError:  # the extension is missing, or this user may not create it
        return False
    return True
