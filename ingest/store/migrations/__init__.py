"""Schema migrations (Alembic), run by `store.engine` inside a transaction of its own."""
