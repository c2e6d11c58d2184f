"""Messages ended by hand: who delivered or discarded one, and why"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("ended_by", sa.String(64), nullable=False, server_default=""))
    op.add_column("messages", sa.Column("reason", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("messages") as table:
        for column in ("ended_by", "reason"):
            table.alter_column(column, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("messages") as table:
        for column in ("ended_by", "reason"):
            table.drop_column(column)
