"""An index of the parts of case numbers, kept by triggers, and indexes of where tokens stand

The numbers that are there already are indexed too. Open tasks, undecided jobs and instances that still run are few
beside the ended ones; their indexes hold only them.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SQLITE = """
BEGIN
    INSERT INTO number_parts (part, business_key)
    SELECT substr(lower(NEW.business_key), n, 16), NEW.business_key
    FROM (
        WITH RECURSIVE positions (n) AS (
            SELECT 1 UNION ALL SELECT n + 1 FROM positions WHERE n < length(NEW.business_key)
        )
        SELECT n FROM positions
    )
    WHERE true
    ON CONFLICT DO NOTHING;
END
"""

POSTGRESQL = """
CREATE OR REPLACE FUNCTION keep_number_parts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO number_parts (part, business_key)
    SELECT substr(lower(NEW.business_key), n, 16), NEW.business_key
    FROM generate_series(1, length(lower(NEW.business_key))) AS n
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$
"""

NEW = "CREATE TRIGGER number_parts_of_new AFTER INSERT ON instances"
CHANGED = "CREATE TRIGGER number_parts_of_changed AFTER UPDATE OF business_key ON instances"
CALLED = "EXECUTE FUNCTION keep_number_parts()"

KEPT_BY = {
    "sqlite": [
        f"{NEW} WHEN NEW.business_key <> '' {SQLITE}",
        f"{CHANGED} WHEN NEW.business_key NOT IN ('', OLD.business_key) {SQLITE}",
    ],
    "postgresql": [
        POSTGRESQL,
        f"{NEW} FOR EACH ROW WHEN (NEW.business_key <> '') {CALLED}",
        f"{CHANGED} FOR EACH ROW WHEN (NEW.business_key NOT IN ('', OLD.business_key)) {CALLED}",
    ],
}

DROPPED_BY = {
    "sqlite": ["DROP TRIGGER number_parts_of_new", "DROP TRIGGER number_parts_of_changed"],
    "postgresql": ["DROP FUNCTION keep_number_parts() CASCADE"],
}

THERE_ALREADY = """
WITH RECURSIVE positions (n) AS (
    SELECT 1 UNION ALL
    SELECT n + 1 FROM positions WHERE n < (SELECT max(length(lower(business_key))) FROM instances)
)
INSERT INTO number_parts (part, business_key)
SELECT DISTINCT substr(lower(business_key), n, 16), business_key
FROM instances JOIN positions ON n <= length(lower(business_key))
"""

BEFORE = (["started_at"], ["state", "started_at"], ["process_id"])
SINCE = (["state", "started_at", "id"], ["process_id", "started_at", "id", "version"])
UNDER_WAY = sa.text("state IN ('running', 'suspended')")
OPEN = sa.text("state IN ('open', 'claimed')")
UNDECIDED = sa.text("state IN ('ready', 'running', 'held', 'incident')")


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    op.create_table(
        "number_parts",
        sa.Column(
            "part",
            sa.String(length=16).with_variant(sa.String(length=16, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("business_key", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("part", "business_key", name=op.f("pk_number_parts")),
        sqlite_with_rowid=False,
    )
    op.execute(THERE_ALREADY)
    for statement in KEPT_BY[dialect]:
        op.execute(statement)
    for columns in BEFORE:
        op.drop_index(op.f(f"ix_instances_{'_'.join(columns)}"), table_name="instances")
    for columns in SINCE:
        op.create_index(op.f(f"ix_instances_{'_'.join(columns)}"), "instances", columns)
    op.create_index("ix_instances_newest", "instances", ["started_at", "id", "business_key"])
    for name, table, columns, held in (
        ("ix_instances_under_way", "instances", ["started_at", "id"], UNDER_WAY),
        ("ix_tasks_open_at", "tasks", ["element", "instance_id"], OPEN),
        ("ix_jobs_undecided_at", "jobs", ["element", "instance_id"], UNDECIDED),
    ):
        op.create_index(name, table, columns, sqlite_where=held, postgresql_where=held)


def downgrade() -> None:
    op.drop_index("ix_jobs_undecided_at", table_name="jobs")
    op.drop_index("ix_tasks_open_at", table_name="tasks")
    op.drop_index("ix_instances_under_way", table_name="instances")
    op.drop_index("ix_instances_newest", table_name="instances")
    for columns in SINCE:
        op.drop_index(op.f(f"ix_instances_{'_'.join(columns)}"), table_name="instances")
    for columns in BEFORE:
        op.create_index(op.f(f"ix_instances_{'_'.join(columns)}"), "instances", columns)
    for statement in DROPPED_BY[op.get_bind().dialect.name]:
        op.execute(statement)
    op.drop_table("number_parts")
