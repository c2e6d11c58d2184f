"""Evidence files larger than 2 GiB

PostgreSQL's integer ends at 2 GiB; a day of one camera is twenty times that. SQLite's has always been large enough.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("evidence_items", "size", existing_type=sa.Integer(), type_=sa.BigInteger())


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("evidence_items", "size", existing_type=sa.BigInteger(), type_=sa.Integer())
