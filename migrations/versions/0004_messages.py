"""Messages between instances, what instances wait for, and start events that wait outside any instance

What the running instances of an earlier release wait for is not in the tables: each gets a row that says so, and the
worker asks them (engine.subscriptions).
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("correlation", sa.String(length=80), nullable=False),
        sa.Column("definition_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["instance_id"], ["instances.id"], name=op.f("fk_subscriptions_instance_id")),
        sa.ForeignKeyConstraint(
            ["definition_id"], ["process_definitions.id"], name=op.f("fk_subscriptions_definition_id")
        ),
        sa.PrimaryKeyConstraint("instance_id", "kind", "name", "correlation", name=op.f("pk_subscriptions")),
    )
    op.create_index(
        op.f("ix_subscriptions_kind_name_definition_id_correlation"),
        "subscriptions",
        ["kind", "name", "definition_id", "correlation"],
    )
    op.create_table(
        "start_events",
        sa.Column("definition_id", sa.Integer(), nullable=False),
        sa.Column("element", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=True),
        sa.Column("due_at", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["definition_id"], ["process_definitions.id"], name=op.f("fk_start_events_definition_id")
        ),
        sa.PrimaryKeyConstraint("definition_id", "element", name=op.f("pk_start_events")),
    )
    op.create_index(op.f("ix_start_events_due_at"), "start_events", ["due_at"])
    op.create_index(op.f("ix_start_events_kind_name"), "start_events", ["kind", "name"])
    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("business_key", sa.String(length=100), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=True),
        sa.Column("sender_seq", sa.Integer(), nullable=True),
        sa.Column("sender_element", sa.String(length=200), nullable=False),
        sa.Column("sent_by", sa.String(length=64), nullable=False),
        sa.Column("sent_at", sa.String(length=32), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("target_id", sa.Uuid(), nullable=True),
        sa.Column("target_definition_id", sa.Integer(), nullable=True),
        sa.Column("target_element", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("due_at", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=True),
        sa.Column("received_by", sa.Uuid(), nullable=True),
        sa.Column("ended_at", sa.String(length=32), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sender_id"], ["instances.id"], name=op.f("fk_messages_sender_id")),
        sa.ForeignKeyConstraint(
            ["target_definition_id"], ["process_definitions.id"], name=op.f("fk_messages_target_definition_id")
        ),
        sa.ForeignKeyConstraint(["received_by"], ["instances.id"], name=op.f("fk_messages_received_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    for columns in (["sender_id"], ["received_by"], ["state", "due_at"], ["state", "name"]):
        op.create_index(op.f(f"ix_messages_{'_'.join(columns)}"), "messages", columns)
    op.execute(
        "INSERT INTO subscriptions (instance_id, kind, name, correlation, definition_id)"
        " SELECT id, 'unknown', '', '', definition_id FROM instances WHERE ended_at IS NULL"
    )


def downgrade() -> None:
    op.drop_table("messages")
    op.drop_table("start_events")
    op.drop_table("subscriptions")
