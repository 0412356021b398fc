"""How variations sound. Of those that were made before nothing is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_SHARES = ("silent_share", "clipped_share", "flatness", "harmonicity")


def upgrade() -> None:
    for name in _SHARES:
        op.add_column("variations", sa.Column(name, sa.Double))
    op.add_column("variations", sa.Column("collapsed", sa.Boolean))


def downgrade() -> None:
    for name in ("collapsed", *reversed(_SHARES)):
        op.drop_column("variations", name)
