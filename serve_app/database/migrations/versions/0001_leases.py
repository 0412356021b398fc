"""Leases, as they were before there were revisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("era", sa.String(200), nullable=False),
        sa.Column("expires_s", sa.Double, nullable=False),
        sa.Column("value", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_index("ix_leases_era_expires_s", "leases", ["era", "expires_s"])
    swept_leases = op.create_table(
        "swept_leases",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("highest_token", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_swept_leases"),
    )
    op.bulk_insert(swept_leases, [{"id": 1, "highest_token": 0}])


def downgrade() -> None:
    op.drop_table("swept_leases")
    op.drop_table("leases")
