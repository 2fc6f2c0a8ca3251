"""Migrate the schema with Alembic. `store.engine` runs the migrations in one transaction."""
