"""API keys and the audit in a database. Each call blocks, and is one short transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from sqlalchemy import delete, insert, select, update

from serve_app.database.database import Database
from serve_app.database.schema import api_keys, audit
from serve_app.identity import ApiKey, AuditRecord

_AUDIT_COLUMNS = [audit.c[field.name] for field in fields(AuditRecord)]


class KeyTable:
    """API keys. Every call raises StoreError where the database fails."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, key: ApiKey) -> None:
        """Raises: RowExists, a StoreError, for an id that exists."""
        with self.database.writing() as connection:
            connection.execute(insert(api_keys).values(**asdict(key)))

    def all(self) -> list[ApiKey]:
        """All keys, revoked ones included, oldest first."""
        with self.database.reading() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_s, api_keys.c.id))
            return [ApiKey(**row._mapping) for row in rows]

    def revoke(self, key_id: str, at_s: float) -> bool:
        """Returns whether there was such a key that had not been revoked."""
        mine = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_s.is_(None))
        with self.database.writing() as connection:
            return connection.execute(mine.values(revoked_s=at_s)).rowcount == 1


class AuditTable:
    """The audit. Every call raises StoreError where the database fails."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def write(self, records: Sequence[AuditRecord]) -> None:
        """Writes all of them, or none."""
        if records:
            with self.database.writing() as connection:
                connection.execute(insert(audit), [asdict(record) for record in records])

    def page(self, tenant: str | None, limit: int, before_s: float) -> list[AuditRecord]:
        """The records from before that second, newest first. tenant: None: those of all tenants."""
        mine = select(*_AUDIT_COLUMNS).where(audit.c.at_s < before_s)
        if tenant is not None:
            mine = mine.where(audit.c.tenant == tenant)
        with self.database.reading() as connection:
            rows = connection.execute(mine.order_by(audit.c.at_s.desc(), audit.c.id.desc()).limit(limit))
            return [AuditRecord(**row._mapping) for row in rows]

    def sweep(self, before_s: float, limit: int = 1000) -> int:
        """Deletes records from before that second, the oldest first. Returns how many."""
        old = select(audit.c.id).where(audit.c.at_s < before_s).order_by(audit.c.at_s).limit(limit)
        with self.database.writing() as connection:
            return connection.execute(delete(audit).where(audit.c.id.in_(old))).rowcount
