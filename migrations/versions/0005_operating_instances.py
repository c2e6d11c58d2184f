"""Operating instances: restarted from where, results held while suspended, owners and reminders of tasks"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("instances", sa.Column("restarted_from", sa.Uuid(), nullable=True))
    op.create_index("ix_instances_restarted_from", "instances", ["restarted_from"])
    op.add_column("jobs", sa.Column("outcome", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("owner", sa.String(length=64), nullable=True))
    op.add_column("tasks", sa.Column("remind_at", sa.String(length=32), nullable=True))
    op.create_index("ix_tasks_remind_at", "tasks", ["remind_at"])
    op.execute("UPDATE tasks SET remind_at = due_at WHERE state IN ('open', 'claimed')")


def downgrade() -> None:
    op.drop_index("ix_tasks_remind_at", "tasks")
    op.drop_column("tasks", "remind_at")
    op.drop_column("tasks", "owner")
    op.drop_column("jobs", "outcome")
    op.drop_index("ix_instances_restarted_from", "instances")
    op.drop_column("instances", "restarted_from")
