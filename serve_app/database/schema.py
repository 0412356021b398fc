"""The tables at the newest revision, and how a database is migrated to a revision (`migrations/` has the scripts).

Alembic is imported only where there is something to migrate.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    inspect,
    text,
)

# In their order, as in `migrations/versions`.
REVISIONS = ("0001", "0002", "0003")
NEWEST = REVISIONS[-1]
# Before there are any tables.
BASE = "base"
MAX_TEXT = 200

_MIGRATIONS = Path(__file__).parent / "migrations"
# Alembic keeps state in its modules.
_one_migration_at_a_time = threading.Lock()

# SQLite increments only columns of its own type INTEGER, which has 64 bits too.
_COUNTED = BigInteger().with_variant(Integer, "sqlite")

# Each database would choose other names for these; migrations must find them.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Seed(TypeDecorator[int]):
    """0 <= seed < 2**64, stored as the signed 64-bit integers that both databases have."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        del dialect
        return value - 2**64 if value is not None and value >= 2**63 else value

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:
        del dialect
        return None if value is None else value % 2**64


# A released lease has no holder and no value; its row stays for a while, so that its token goes on growing.
leases = Table(
    "leases",
    metadata,
    Column("name", String(MAX_TEXT), primary_key=True),
    Column("holder", String(MAX_TEXT), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("era", String(MAX_TEXT), nullable=False),
    Column("expires_s", Double, nullable=False),
    Column("value", String(MAX_TEXT), nullable=False),
    Index(None, "era", "expires_s"),
)

# One row. No lease that was swept had a larger token, and a lease of a new name begins above it.
swept_leases = Table(
    "swept_leases",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("highest_token", BigInteger, nullable=False),
)

# number: gives their order; clients never see it, since it says how many jobs there are. ended_s: of all variations.
jobs = Table(
    "jobs",
    metadata,
    Column("number", _COUNTED, primary_key=True),
    Column("id", String(32), nullable=False),
    Column("tenant", String(MAX_TEXT), nullable=False),
    Column("key_id", String(MAX_TEXT), nullable=False),
    Column("queue", String(16), nullable=False),
    Column("request_id", String(MAX_TEXT), nullable=False),
    Column("model", String(MAX_TEXT), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Column("sampling", JSON, nullable=False),
    Column("cache", String(16), nullable=False),
    Column("scope", String(MAX_TEXT), nullable=False),
    Column("body_digest", String(64), nullable=False),
    Column("idempotency_key", String(MAX_TEXT)),
    Column("created_s", Double, nullable=False),
    Column("ended_s", Double),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("id"),
    UniqueConstraint("tenant", "idempotency_key"),
    Index(None, "tenant", "number"),
    Index(None, "ended_s"),
    sqlite_autoincrement=True,
)

# tenant, queue: copies of the job's, for the index by which variations are claimed. token: of the lease under which it
# was last begun, or larger. due: by the clock of leases. The last five columns: its sound's health, all of them or none;
# a silent clip has no flatness and no harmonicity.
variations = Table(
    "variations",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("job", BigInteger, ForeignKey(jobs.c.number, ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("tenant", String(MAX_TEXT), nullable=False),
    Column("queue", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("seed", Seed),
    Column("generation", String(64)),
    Column("frames", Integer, nullable=False),
    Column("num_frames", Integer, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_era", String(MAX_TEXT), nullable=False),
    Column("due_s", Double, nullable=False),
    Column("fault_type", String(MAX_TEXT)),
    Column("fault_message", Text),
    Column("started_s", Double),
    Column("ended_s", Double),
    Column("silent_share", Double),
    Column("clipped_share", Double),
    Column("flatness", Double),
    Column("harmonicity", Double),
    Column("collapsed", Boolean),
    UniqueConstraint("job", "number"),
    Index(None, "state", "tenant", "queue", "job", "number"),
    sqlite_autoincrement=True,
)

# What belongs to the first codes and never changes: apart, since SQLite rewrites the whole row on a change.
variation_starts = Table(
    "variation_starts",
    metadata,
    Column("variation", BigInteger, ForeignKey(variations.c.id, ondelete="CASCADE"), primary_key=True),
    Column("outcome", String(16), nullable=False),
    Column("age_s", BigInteger),
    Column("identity", JSON, nullable=False),
    Column("text_states", LargeBinary),
)

# codes: int16 [K, num_frames], little-endian, from frame `first_frame` on, without gaps.
variation_codes = Table(
    "variation_codes",
    metadata,
    Column("variation", BigInteger, ForeignKey(variations.c.id, ondelete="CASCADE"), primary_key=True),
    Column("first_frame", Integer, primary_key=True),
    Column("num_frames", Integer, nullable=False),
    Column("codes", LargeBinary, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(MAX_TEXT), primary_key=True),
    Column("tenant", String(MAX_TEXT), nullable=False),
    Column("label", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_s", Double, nullable=False),
    Column("revoked_s", Double),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("at_s", Double, nullable=False),
    Column("request_id", String(MAX_TEXT), nullable=False),
    Column("tenant", String(MAX_TEXT), nullable=False),
    Column("key_id", String(MAX_TEXT), nullable=False),
    Column("key_hash", String(64), nullable=False),
    Column("method", String(16), nullable=False),
    Column("route", String(MAX_TEXT), nullable=False),
    Column("status", Integer, nullable=False),
    Column("model", String(MAX_TEXT)),
    Column("audio_s", Double, nullable=False),
    Column("generation", String(MAX_TEXT)),
    Column("prompt", Text),
    Column("seconds", Double, nullable=False),
    Index(None, "at_s"),
    Index(None, "tenant", "at_s"),
)


class UnknownRevision(Exception):
    """The database's tables are those of another release. The message says which revisions are known here."""


def current_revision(connection: Connection) -> str:
    """The revision of the database's tables. Raises: UnknownRevision, sqlalchemy.exc.SQLAlchemyError."""
    tables = inspect(connection)
    if tables.has_table("alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        if not found:
            return BASE
        if len(found) > 1 or found[0] not in REVISIONS:
            raise UnknownRevision(
                f"its tables are at revision {', '.join(map(repr, found))}, and this release knows {BASE}, "
                f"{', '.join(REVISIONS)}: run the release that it is from, or go back with that one's "
                f"`musicgen migrate down {NEWEST}`"
            )
        return str(found[0])
    # The table of leases is older than the table of revisions.
    return REVISIONS[0] if tables.has_table("leases") else BASE


def load_alembic() -> None:
    """Imports what `migrate` needs. That takes a third of a second, which should not be spent while holding a lock."""
    import alembic.command
    import alembic.config  # noqa: F401


def migrate(connection: Connection, target: str) -> None:
    """Migrates up or down to `target`, BASE or one of REVISIONS. Raises: as `current_revision`.

    The caller's transaction makes sure that nobody else migrates at the same time, and that all of it is done or none.
    """
    at = current_revision(connection)
    if at == target:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    order = (BASE, *REVISIONS)
    step: Callable[[Any, str], None] = command.upgrade if order.index(target) > order.index(at) else command.downgrade
    with _one_migration_at_a_time:
        if at == REVISIONS[0]:
            command.stamp(config, at)  # leases from before there were revisions
        step(config, target)
