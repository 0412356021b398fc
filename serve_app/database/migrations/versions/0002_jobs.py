"""Jobs, API keys and the audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TEXT = sa.String(200)


def upgrade() -> None:
    _create_jobs()
    _create_variations()
    op.create_table(
        "api_keys",
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("revoked_s", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    _create_audit()


def downgrade() -> None:
    for table in ("audit", "api_keys", "variation_codes", "variation_starts", "variations", "jobs"):
        op.drop_table(table)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("number", _COUNTED, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("key_id", _TEXT, nullable=False),
        sa.Column("queue", sa.String(16), nullable=False),
        sa.Column("request_id", _TEXT, nullable=False),
        sa.Column("model", _TEXT, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("duration_ms", sa.BigInteger, nullable=False),
        sa.Column("sampling", sa.JSON, nullable=False),
        sa.Column("cache", sa.String(16), nullable=False),
        sa.Column("scope", _TEXT, nullable=False),
        sa.Column("body_digest", sa.String(64), nullable=False),
        sa.Column("idempotency_key", _TEXT),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("ended_s", sa.Double),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.UniqueConstraint("tenant", "idempotency_key", name="uq_jobs_tenant_idempotency_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_tenant_number", "jobs", ["tenant", "number"])
    op.create_index("ix_jobs_ended_s", "jobs", ["ended_s"])


def _create_variations() -> None:
    op.create_table(
        "variations",
        sa.Column("id", _COUNTED, nullable=False),
        sa.Column("job", sa.BigInteger, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("queue", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("seed", sa.BigInteger),
        sa.Column("generation", sa.String(64)),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("num_frames", sa.Integer, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_era", _TEXT, nullable=False),
        sa.Column("due_s", sa.Double, nullable=False),
        sa.Column("fault_type", _TEXT),
        sa.Column("fault_message", sa.Text),
        sa.Column("started_s", sa.Double),
        sa.Column("ended_s", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_variations"),
        sa.ForeignKeyConstraint(["job"], ["jobs.number"], name="fk_variations_job", ondelete="CASCADE"),
        sa.UniqueConstraint("job", "number", name="uq_variations_job_number"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_variations_state_tenant_queue_job_number", "variations", ["state", "tenant", "queue", "job", "number"]
    )
    op.create_table(
        "variation_starts",
        sa.Column("variation", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("age_s", sa.BigInteger),
        sa.Column("identity", sa.JSON, nullable=False),
        sa.Column("text_states", sa.LargeBinary),
        sa.PrimaryKeyConstraint("variation", name="pk_variation_starts"),
        sa.ForeignKeyConstraint(
            ["variation"], ["variations.id"], name="fk_variation_starts_variation", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "variation_codes",
        sa.Column("variation", sa.BigInteger, nullable=False),
        sa.Column("first_frame", sa.Integer, nullable=False),
        sa.Column("num_frames", sa.Integer, nullable=False),
        sa.Column("codes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("variation", "first_frame", name="pk_variation_codes"),
        sa.ForeignKeyConstraint(
            ["variation"], ["variations.id"], name="fk_variation_codes_variation", ondelete="CASCADE"
        ),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _COUNTED, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("request_id", _TEXT, nullable=False),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("key_id", _TEXT, nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("route", _TEXT, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("model", _TEXT),
        sa.Column("audio_s", sa.Double, nullable=False),
        sa.Column("generation", _TEXT),
        sa.Column("prompt", sa.Text),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at_s", "audit", ["at_s"])
    op.create_index("ix_audit_tenant_at_s", "audit", ["tenant", "at_s"])
