"""Run migrations for Alembic on the connection that the caller passes, without committing.

The caller begins and commits the transaction, so that a migration and the check that it is needed
happen under one lock.
"""

from alembic import context

from ingest.store.schema import metadata
from ingest.store.schema.base import declare_conditions

declare_conditions()
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
