"""Schema migrations (Alembic), run by `store.database` inside a transaction of its own."""
