"""What Alembic runs: `schema.py` hands over the connection, which is in a transaction."""

from __future__ import annotations

from alembic import context

from serve_app.database.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
