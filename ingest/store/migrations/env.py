"""Alembic's way in: runs on the connection that `store.engine` hands over, and commits nothing.

Opening and committing is the caller's, so that a migration and the check that it is needed
happen under one lock.
"""

from alembic import context

from ingest.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
