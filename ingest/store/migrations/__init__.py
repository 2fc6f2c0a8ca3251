"""Migrate the schema with Alembic. `store.database.schema_version` runs this in a transaction."""
