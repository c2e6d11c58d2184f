"""The migrations lead from nothing to exactly the schema of the models, on SQLite and on PostgreSQL."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from device.models import Case, EvidenceItem
from engine import listing
from engine.columns import Base
from engine.db import Database
from engine.listing import Total, Wanted
from engine.models import Deployment, Instance, ProcessDefinition
from engine.settings import ROOT


@pytest.fixture(params=["sqlite", "postgresql"] if os.environ.get("DIAOQU_TEST_POSTGRES_URL") else ["sqlite"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    if request.param == "postgresql":
        found = Database(request.getfixturevalue("postgres_url"))
        with found.writer.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    else:
        found = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    yield found
    if request.param == "postgresql":  # other tests expect the tables to be those of the models
        with found.writer.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    found.dispose()


def with_condition(index: dict[str, Any]) -> dict[str, Any]:
    """Two texts of SQL are not equal as objects."""
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return {**index, "dialect_options": options}


def schema(engine: Engine) -> dict[str, Any]:
    """Everything that the database itself says about its tables."""
    found = inspect(engine)

    def by_name(rows: Any) -> list[dict[str, Any]]:
        return sorted((dict(row) for row in rows), key=lambda row: str(row.get("name")))

    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in found.get_columns(table)
            },
            "primary key": found.get_pk_constraint(table),
            "foreign keys": by_name(found.get_foreign_keys(table)),
            "unique": by_name(found.get_unique_constraints(table)),
            "indexes": [with_condition(index) for index in by_name(found.get_indexes(table))],
        }
        for table in found.get_table_names()
        if table != "alembic_version"
    }


TRIGGERS = {
    "sqlite": "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
    "postgresql": "SELECT tgname, pg_get_triggerdef(t.oid), pg_get_functiondef(tgfoid) FROM pg_trigger t"
    " WHERE NOT tgisinternal ORDER BY tgname",
}


def triggers(engine: Engine) -> list[tuple[str, ...]]:
    """What the database does by itself, as text without its spaces."""
    with engine.connect() as connection:
        found = connection.execute(text(TRIGGERS[engine.dialect.name])).all()
    return [tuple(" ".join(str(column).split()) for column in row) for row in found]


def test_the_migrations_make_the_schema_of_the_models(empty: Database) -> None:
    empty.upgrade()
    migrated = schema(empty.writer), triggers(empty.writer)
    with empty.writer.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    Base.metadata.drop_all(empty.writer)
    Base.metadata.create_all(empty.writer)
    assert migrated == (schema(empty.writer), triggers(empty.writer))
    assert set(migrated[0]) == set(Base.metadata.tables)
    assert len(migrated[1]) == 2


def test_the_newest_migrations_can_be_taken_back_one_by_one(empty: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["engine"] = empty.writer
    empty.upgrade("0010")
    before = [(schema(empty.writer), triggers(empty.writer))]
    newest = [found.revision for found in ScriptDirectory.from_config(config).iterate_revisions("head", "0010")]
    for revision in reversed(newest):
        empty.upgrade(revision)
        before.append((schema(empty.writer), triggers(empty.writer)))
    last = before.pop()
    while before:
        command.downgrade(config, "-1")
        assert (schema(empty.writer), triggers(empty.writer)) == before.pop()
    empty.upgrade()
    assert (schema(empty.writer), triggers(empty.writer)) == last


def test_upgrading_again_changes_nothing(empty: Database) -> None:
    empty.upgrade()
    before = schema(empty.writer)
    empty.upgrade()
    assert schema(empty.writer) == before


def test_each_migration_leads_on_from_the_one_before() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert len(scripts.get_heads()) == 1
    revisions = list(reversed(list(scripts.walk_revisions())))
    assert [revision.down_revision for revision in revisions] == [None, *(found.revision for found in revisions[:-1])]
    for number, revision in enumerate(revisions, 1):
        assert Path(revision.path).name.startswith(f"{number:04d}_"), "named in their order, and for their change"
        assert revision.doc


def test_rows_survive_every_later_migration(empty: Database) -> None:
    """What an installation of the first schema holds is there after the last migration."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    first = next(found for found in ScriptDirectory.from_config(config).walk_revisions() if found.down_revision is None)
    empty.upgrade(first.revision)
    at = datetime(2026, 2, 2, 1, 0, tzinfo=UTC).isoformat(timespec="microseconds")
    with empty.writer.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO users (username, name, name_en, password_hash, title, employee_no, phone, email, locale,"
                " active, failed_logins, created_at) VALUES ('head', '王', '', 'x', '', '', '', '', 'zh', true, 0, :at)"
            ),
            {"at": at},
        )
        for statement in INSTANCES_OF_THE_FIRST_SCHEMA:
            connection.execute(text(statement), {"at": at})
    empty.upgrade()
    with empty.reading() as session:
        assert session.execute(text("SELECT username, created_at FROM users")).all() == [("head", at)]
        assert session.execute(text("SELECT kind, definition_id FROM subscriptions")).all() == [("unknown", 1)]
        for part in ("2026-00", "取-", "销毁-X", "x-7", "1"):
            found, total = listing.find(session, Wanted(key=part), limit=9)
            assert ([one.id.int for one in found], total) == ([2], Total(1)), part


INSTANCES_OF_THE_FIRST_SCHEMA = [
    "INSERT INTO deployments (id, deployed_at, deployed_by, note) VALUES (1, :at, 'owner', '')",
    "INSERT INTO process_definitions (id, process_id, version, name, file, digest, deployment_id)"
    " VALUES (1, 'p', 1, 'p', 'p.bpmn', 'x', 1)",
    "INSERT INTO instances (id, definition_id, process_id, version, business_key, state, started_by, started_at,"
    " changed_at, ended_at, seq, head, data, snapshot_seq, revision) VALUES ('00000000000000000000000000000001', 1,"
    " 'p', 1, '', 'running', 'head', :at, :at, NULL, 1, 'x', '{}', 0, 1)",
    "INSERT INTO instances (id, definition_id, process_id, version, business_key, state, started_by, started_at,"
    " changed_at, ended_at, seq, head, data, snapshot_seq, revision) VALUES ('00000000000000000000000000000002', 1,"
    " 'p', 1, '调取-2026-0001 销毁-X-7', 'completed', 'head', :at, :at, :at, 1, 'x', '{}', 0, 1)",
]
"""One that runs, of which nobody knows yet what it waits for, and one that has ended and has a number."""


@pytest.mark.parametrize("size", [2**31, 50 * 2**30], ids=["2 GiB", "50 GiB"])
def test_footage_may_be_larger_than_two_gigabytes(empty: Database, size: int) -> None:
    """A day of one camera at 4 Mbit/s is more than 40 GB."""
    empty.upgrade()
    at = datetime(2026, 2, 2, 1, 0, tzinfo=UTC)
    with empty.transaction() as session:
        deployment = Deployment(deployed_at=at, deployed_by="owner", note="")
        definition = ProcessDefinition(
            process_id="p", version=1, name="p", file="p.bpmn", digest="x", deployment=deployment
        )
        session.add(definition)
        session.flush()
        instance = Instance(
            id=uuid4(), definition_id=definition.id, process_id="p", version=1, business_key="", state="running",
            started_by="a", started_at=at, changed_at=at, seq=0, head="x", data={},
        )  # fmt: skip
        session.add(instance)
        session.flush()
        case = Case(number="调取-2026-0001", instance_id=instance.id, applicant="a", opened_at=at, outcome="")
        session.add(case)
        session.flush()
        session.add(
            EvidenceItem(
                case_id=case.id, kind="master", path="masters/a.mkv", media_type="video/x-matroska", size=size,
                digest="x", facts={}, created_at=at, discarded_at=None,
            )
        )  # fmt: skip
    with empty.reading() as session:
        assert session.query(EvidenceItem.size).scalar() == size
