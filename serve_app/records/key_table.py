"""API keys in a database. Each call waits for it, and is one short transaction."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import insert, select, update

from serve_app.access.api_key import ApiKey
from serve_app.records.database import Database
from serve_app.records.schema import api_keys


class KeyTable:
    """Every call raises StoreError where the database can't do it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, key: ApiKey) -> None:
        """Raises: Conflict, a StoreError, where there is one with this id."""
        with self.database.writing() as connection:
            connection.execute(insert(api_keys).values(**asdict(key)))

    def all(self) -> list[ApiKey]:
        """Revoked ones too, oldest first."""
        with self.database.reading() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_s, api_keys.c.id))
            return [ApiKey(**row._mapping) for row in rows]

    def revoke(self, key_id: str, at_s: float) -> bool:
        """Whether there was such a key that had not been revoked."""
        mine = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_s.is_(None))
        with self.database.writing() as connection:
            return connection.execute(mine.values(revoked_s=at_s)).rowcount == 1
