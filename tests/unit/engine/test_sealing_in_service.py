"""Seals and verification where they run: in the worker, on all cores, on a database that is older than they are."""

import time
from dataclasses import replace
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from process_files import FILES
from sqlalchemy import Column, MetaData, Table, insert, inspect, select, text, update

from engine import definitions, instances, live, replay, seals, worker
from engine.columns import Base
from engine.db import Database
from engine.errors import NotFoundError
from engine.models import HistoryEvent, Seal
from engine.settings import Settings, SettingsError
from engine.worker import Worker

PATIENCE = 30


def test_a_worker_seals_by_itself(deployed, office, settings, monkeypatch):
    monkeypatch.setattr(worker, "SEAL_LOOK", 0.01)
    instance = office.start("counting")
    running = Worker(deployed, settings, slots=1)
    running.start()
    try:
        deadline = time.monotonic() + PATIENCE
        sealed = 0
        while not sealed and time.monotonic() < deadline:
            running._stopping.wait(0.02)
            with deployed.reading() as session:
                sealed = replay.verify(session, instance.id).sealed
    finally:
        running.stop()
    assert sealed == 1


def test_a_worker_whose_key_others_may_read_says_so_and_goes_on(deployed, office, settings, monkeypatch, caplog):
    seals.signing_key(settings)
    (settings.data / "ledger" / "signing_key.pem").chmod(0o644)
    monkeypatch.setattr(worker, "SEAL_LOOK", 0.01)
    office.start("counting")
    running = Worker(deployed, settings, slots=1)
    running.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while "could not be sealed" not in caplog.text and time.monotonic() < deadline:
            running._stopping.wait(0.02)
    finally:
        running.stop()
    assert "chmod 600" in caplog.text
    with deployed.reading() as session:
        assert session.scalars(select(Seal)).all() == []


def test_no_seal_is_made_when_the_settings_say_never(deployed, office, settings):
    office.start("counting")
    assert seals.seal_if_due(deployed, replace(settings, seal_minutes=0)) == 0


@pytest.mark.parametrize("value", ["-1", "ten", "1.5", "", "٣"])
def test_an_interval_that_is_no_number_of_minutes_is_refused(value):
    environment = {"DIAOQU_SECRET_KEY": "x" * 40, "DIAOQU_SEAL_MINUTES": value}
    with pytest.raises(SettingsError, match="DIAOQU_SEAL_MINUTES"):
        Settings.from_environment(environment)
    assert Settings.from_environment({**environment, "DIAOQU_SEAL_MINUTES": "0"}).seal_minutes == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_all_instances_are_verified_in_their_order_on_every_core(deployed, office, settings, monkeypatch, processes):
    monkeypatch.setattr(replay, "BATCH", 2)
    started = [office.start("counting").id for _ in range(5)]
    seals.seal(deployed, settings)
    with deployed.transaction() as session:
        session.execute(update(HistoryEvent).where(HistoryEvent.instance_id == started[3]).values(actor="somebody"))
    url = deployed.writer.url.render_as_string(hide_password=False)
    trusted = seals.trusted_keys(settings)
    found = list(replay.verify_many(url, started, trusted=trusted, processes=processes, imports=("process_files",)))
    assert [each for each, _verdict in found] == started
    assert [verdict.ok for _each, verdict in found] == [True, True, True, False, True]
    assert {verdict.sealed for _each, verdict in found} == {1}


def test_verification_on_all_cores_names_an_instance_that_does_not_exist(deployed, office):
    url = deployed.writer.url.render_as_string(hide_password=False)
    with pytest.raises(NotFoundError):
        list(replay.verify_many(url, [UUID(int=1)]))


@pytest.fixture
def of_the_schema_before(database, tmp_path):
    """A database at the migration before the seals."""
    found = Database(f"sqlite:///{tmp_path / 'old.db'}") if database.sqlite else database
    if not found.sqlite:
        Base.metadata.drop_all(found.writer)
    found.upgrade("0001")
    yield found
    if not found.sqlite:
        with found.writer.begin() as connection:
            connection.execute(text("DROP TABLE alembic_version"))  # the next test makes its tables without it
    found.dispose()


def copy_rows(source, target):
    """What an earlier release would have written: the rows of `source`, as far as the schema of `target` goes."""
    with source.writer.connect() as reading, target.writer.begin() as writing:
        known = inspect(writing)
        for table in Base.metadata.sorted_tables:
            if not known.has_table(table.name):
                continue
            names = {column["name"] for column in known.get_columns(table.name)}
            kept = [Column(column.name, column.type) for column in table.columns if column.name in names]
            rows = [dict(row) for row in reading.execute(select(*(table.c[column.name] for column in kept))).mappings()]
            if rows:
                writing.execute(insert(Table(table.name, MetaData(), *kept)), rows)


def test_a_database_of_the_schema_before_is_upgraded_with_its_histories_and_sealed(
    of_the_schema_before, settings, clock, recorder, tmp_path
):
    database = of_the_schema_before
    live.forget()
    assert "seals" not in inspect(database.writer).get_table_names()
    present = Database(f"sqlite:///{tmp_path / 'present.db'}")
    Base.metadata.create_all(present.writer)
    with present.transaction() as session:
        definitions.deploy(session, FILES, by="owner")
        instance = instances.start(session, "counting", {}, by="applicant")
    copy_rows(present, database)
    present.dispose()
    live.forget()
    database.upgrade()
    with database.writer.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert seals.seal(database, settings) == 1
    with database.reading() as session:
        verdict = replay.verify(session, instance.id, trusted=seals.trusted_keys(settings))
    assert (verdict.findings, verdict.sealed) == ([], 1)
