"""The tables as they are at the newest revision; `migrations/` has how they came to be so."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
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
)

MAX_TEXT = 200

# SQLite counts up by itself in columns of its own kind of integer only, which has 64 bits too.
_COUNTED = BigInteger().with_variant(Integer, "sqlite")

# Names for what databases would name each in its own way: migrations must find them again.
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
    """0 <= seed < 2**64, in the 64 bits that both databases have for a number with a sign."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        del dialect
        return value - 2**64 if value is not None and value >= 2**63 else value

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:
        del dialect
        return None if value is None else value % 2**64


# One that was given back has no holder and no value; it stays for a while, so that its token goes on growing.
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

# One row. No lease that was swept away had a larger token, and one of a new name begins above it.
swept_leases = Table(
    "swept_leases",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("highest_token", BigInteger, nullable=False),
)

# number: gives their order, and is told to nobody, for it says how many there are. ended_s: once all variations have.
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

# tenant, queue: of the job, once more, for the index by which one is claimed. token: of the lease under which it was
# last begun, or above it. due: by the clock of leases. The last five: its sound's health, all of them or none; without
# a frame that sounds it has no flatness and no harmonicity.
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

# What goes with the first codes and never changes: apart, for SQLite writes the whole of a row when it changes.
variation_starts = Table(
    "variation_starts",
    metadata,
    Column("variation", BigInteger, ForeignKey(variations.c.id, ondelete="CASCADE"), primary_key=True),
    Column("outcome", String(16), nullable=False),
    Column("age_s", BigInteger),
    Column("identity", JSON, nullable=False),
    Column("text_states", LargeBinary),
)

# codes: int16 [K, num_frames], little-endian, from frame `first_frame` on; each follows the one before without a gap.
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
