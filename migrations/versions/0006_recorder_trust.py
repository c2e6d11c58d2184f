"""Recorders: the certificate that is trusted, and whether Basic authentication is allowed"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("recorders", sa.Column("certificate", sa.Text(), nullable=False, server_default=""))
    op.add_column("recorders", sa.Column("allow_basic", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("recorders") as table:
        table.alter_column("certificate", server_default=None)
        table.alter_column("allow_basic", server_default=None)


def downgrade() -> None:
    op.drop_column("recorders", "allow_basic")
    op.drop_column("recorders", "certificate")
