"""The audit in a database. Each call waits for it, and is one short transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from sqlalchemy import delete, insert, select

from serve_app.access.audit_record import AuditRecord
from serve_app.records.database import Database
from serve_app.records.schema import audit

_COLUMNS = [audit.c[field.name] for field in fields(AuditRecord)]


class AuditTable:
    """Every call raises StoreError where the database can't do it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def write(self, records: Sequence[AuditRecord]) -> None:
        """All of them, or none."""
        if records:
            with self.database.writing() as connection:
                connection.execute(insert(audit), [asdict(record) for record in records])

    def page(self, tenant: str | None, limit: int, before_s: float) -> list[AuditRecord]:
        """A tenant's, or None: everybody's, newest first, from before that second."""
        mine = select(*_COLUMNS).where(audit.c.at_s < before_s)
        if tenant is not None:
            mine = mine.where(audit.c.tenant == tenant)
        with self.database.reading() as connection:
            rows = connection.execute(mine.order_by(audit.c.at_s.desc(), audit.c.id.desc()).limit(limit))
            return [AuditRecord(**row._mapping) for row in rows]

    def sweep(self, before_s: float, limit: int = 1000) -> int:
        """Takes away records from before that second, the oldest first; how many."""
        old = select(audit.c.id).where(audit.c.at_s < before_s).order_by(audit.c.at_s).limit(limit)
        with self.database.writing() as connection:
            return connection.execute(delete(audit).where(audit.c.id.in_(old))).rowcount
