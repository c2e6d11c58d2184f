"""seals: signed statements about the heads of all chains

Revision: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op


revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('seals',
    sa.Column('number', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('at', sa.String(length=32), nullable=False),
    sa.Column('statement', sa.Text(), nullable=False),
    sa.Column('signature', sa.String(length=100), nullable=False),
    sa.Column('public_key', sa.Text(), nullable=False),
    sa.Column('kept_at', sa.String(length=32), nullable=True),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_seals'))
    )
    op.create_table('sealed_heads',
    sa.Column('seal_number', sa.Integer(), nullable=False),
    sa.Column('place', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(length=16), nullable=False),
    sa.Column('stream_id', sa.Uuid(), nullable=False),
    sa.Column('seq', sa.Integer(), nullable=False),
    sa.Column('digest', sa.String(length=80), nullable=False),
    sa.ForeignKeyConstraint(['seal_number'], ['seals.number'], name=op.f('fk_sealed_heads_seal_number')),
    sa.PrimaryKeyConstraint('seal_number', 'place', name=op.f('pk_sealed_heads'))
    )
    with op.batch_alter_table('sealed_heads', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_sealed_heads_stream_id_kind_seq'), ['stream_id', 'kind', 'seq'], unique=False)


def downgrade() -> None:
    op.drop_table('sealed_heads')
    op.drop_table('seals')
