"""Indexes that hold for many instances: of the open tasks alone, of what a person has done, of the newest instances

The inbox asks for open tasks only, whose number does not grow with the finished ones.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OPEN = sa.text("state IN ('open', 'claimed')")
BEFORE = ("assignee", "candidate_group", "claimed_by")


def upgrade() -> None:
    for column in BEFORE:
        op.drop_index(op.f(f"ix_tasks_state_{column}"), table_name="tasks")
    columns = ["claimed_by", "assignee", "candidate_group", "element"]
    op.create_index("ix_tasks_open", "tasks", columns, sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_index(op.f("ix_tasks_completed_by_completed_at"), "tasks", ["completed_by", "completed_at"])
    op.create_index(op.f("ix_instances_started_at"), "instances", ["started_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_instances_started_at"), table_name="instances")
    op.drop_index(op.f("ix_tasks_completed_by_completed_at"), table_name="tasks")
    op.drop_index("ix_tasks_open", table_name="tasks")
    for column in BEFORE:
        op.create_index(op.f(f"ix_tasks_state_{column}"), "tasks", ["state", column])
