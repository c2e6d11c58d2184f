"""A copy of their own for each viewer, found again by its code; grants that deliver the master, or redacted copies only"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for name in ("master", "redacted"):
        op.add_column("grants", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "viewer_copies",
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("grant_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=True),
        sa.Column("instance_id", sa.Uuid(), nullable=True),
        sa.Column("asked_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name=op.f("fk_viewer_copies_grant_id")),
        sa.ForeignKeyConstraint(["source_id"], ["evidence_items.id"], name=op.f("fk_viewer_copies_source_id")),
        sa.ForeignKeyConstraint(["item_id"], ["evidence_items.id"], name=op.f("fk_viewer_copies_item_id")),
        sa.ForeignKeyConstraint(["instance_id"], ["instances.id"], name=op.f("fk_viewer_copies_instance_id")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_viewer_copies")),
        sa.UniqueConstraint("grant_id", "source_id", name=op.f("uq_viewer_copies_grant_id_source_id")),
    )


def downgrade() -> None:
    op.drop_table("viewer_copies")
    with op.batch_alter_table("grants") as table:
        table.drop_column("redacted")
        table.drop_column("master")
