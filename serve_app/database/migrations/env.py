"""Alembic's way in: the connection, and the transaction that it is in, are handed over by `migration.py`."""

from __future__ import annotations

from alembic import context

from serve_app.database.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
