"""The tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Double, Index, Integer, MetaData, String, Table, insert, select

MAX_TEXT = 200

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


def create(connection: Connection) -> None:
    """Makes what is not there yet. One at a time: the caller's transaction has to see to that."""
    metadata.create_all(connection)
    if connection.execute(select(swept_leases.c.id)).first() is None:
        connection.execute(insert(swept_leases).values(id=1, highest_token=0))
