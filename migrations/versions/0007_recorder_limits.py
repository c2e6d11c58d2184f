"""Bandwidth and hours of recorders

How many bytes a second may be fetched from a recorder, and at what time of the day in its own zone.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("recorders", sa.Column("bandwidth", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("recorders", sa.Column("hours", sa.String(32), nullable=False, server_default=""))
    op.add_column("recorders", sa.Column("zone", sa.String(64), nullable=False, server_default="Asia/Shanghai"))
    with op.batch_alter_table("recorders") as table:
        for column in ("bandwidth", "hours", "zone"):
            table.alter_column(column, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("recorders") as table:
        for column in ("zone", "hours", "bandwidth"):
            table.drop_column(column)
