"""What a retrieval has in its scratch folder goes when its job ends without its worker, and not before."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from case_room import settings_in
from running_jobs import RECORDED, register_cameras
from sqlalchemy import select
from sqlalchemy.orm import Session

import device.operators  # noqa: F401 - registers the operators
from device import cases
from device.simulator import Simulator
from engine import definitions, instances, scratch
from engine import jobs as engine_jobs
from engine.columns import Base
from engine.db import Database
from engine.models import Instance, Job
from engine.settings import Settings
from engine.worker import Worker

PASSWORD = "a recorder's password"
SPAN = {"start_at": RECORDED.isoformat(), "end_at": (RECORDED + timedelta(seconds=20)).isoformat()}

RETRIEVAL = """<?xml version="1.0" encoding="UTF-8"?>
<definitions id="D" xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" targetNamespace="http://diaoqu.example"
 xmlns:spiffworkflow="http://spiffworkflow.org/bpmn/schema/1.0/core">
<message id="withdraw" name="withdraw"/><error id="given_up" name="given up" errorCode="CANCELLED"/>
<process id="retrieval" name="Retrieval" isExecutable="true">
<startEvent id="start"/>
<serviceTask id="acquire" name="Acquire"><extensionElements>
<spiffworkflow:serviceTaskOperator id="recorder/acquire" resultVariable="acquired"><spiffworkflow:parameters>
<spiffworkflow:parameter id="camera" type="str" value="'gate'"/>
<spiffworkflow:parameter id="start_at" type="str" value="start_at"/>
<spiffworkflow:parameter id="end_at" type="str" value="end_at"/>
</spiffworkflow:parameters></spiffworkflow:serviceTaskOperator></extensionElements></serviceTask>
<boundaryEvent id="withdrawn" attachedToRef="acquire"><messageEventDefinition messageRef="withdraw"/></boundaryEvent>
<boundaryEvent id="lost" attachedToRef="acquire"><errorEventDefinition errorRef="given_up"/></boundaryEvent>
<userTask id="look" name="Look"/><endEvent id="end"/>
<sequenceFlow id="f1" sourceRef="start" targetRef="acquire"/>
<sequenceFlow id="f2" sourceRef="acquire" targetRef="look"/>
<sequenceFlow id="f3" sourceRef="withdrawn" targetRef="look"/>
<sequenceFlow id="f4" sourceRef="lost" targetRef="look"/>
<sequenceFlow id="f5" sourceRef="look" targetRef="end"/>
</process></definitions>
"""


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username="viewer", password=PASSWORD) as simulator:
        yield simulator


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def database(settings: Settings, simulator: Simulator) -> Iterator[Database]:
    """A service with one recorder and one process, that retrieves from it."""
    database = Database.of(settings)
    Base.metadata.create_all(database.writer)
    with database.transaction() as session:
        register_cameras(session, settings, simulator, PASSWORD)
        definitions.deploy(session, {"retrieval.bpmn": RETRIEVAL}, by="owner")
    yield database
    database.dispose()


@pytest.fixture
def instance(database: Database) -> UUID:
    with database.transaction() as session:
        started = instances.start(session, "retrieval", SPAN, by="applicant")
        at = started.started_at
        cases.open_case(session, started.id, applicant="applicant", department_id=None, at=at, overwritten_at=None)
        return started.id


@pytest.fixture
def broken_off(database: Database, settings: Settings, instance: UUID) -> Path:
    """The scratch folder of a retrieval whose footage has come and has no place to go: it waits for a person."""
    (settings.data / "cases").write_text("a file is in the way")
    assert Worker(database, settings).run_one("here")
    return settings.scratch / str(the_job(database).id)


def the_job(database: Database) -> Job:
    with database.reading() as session:
        return session.scalars(select(Job)).one()


def give_up(session: Session) -> None:
    """As an operator does at /operations, once the job has become an incident."""
    engine_jobs.cancel(session, session.scalars(select(Job.id)).one(), by="operator", reason="no recorder")


def cancel_case(session: Session) -> None:
    """While the job, which was ordered once more, waits for a worker."""
    assert engine_jobs.retry(session, session.scalars(select(Job.id)).one(), by="operator").state == "ready"
    instances.cancel(session, session.scalars(select(Instance.id)).one(), "a mistake", by="admin")


def withdraw(session: Session) -> None:
    instances.send_message(session, session.scalars(select(Instance.id)).one(), "withdraw", {}, by="applicant")


@pytest.mark.parametrize("end", [cancel_case, withdraw, give_up])
def test_the_scratch_of_a_job_that_is_cancelled_while_it_waits_is_removed(
    database: Database, settings: Settings, broken_off: Path, end: Callable[[Session], None]
) -> None:
    assert the_job(database).state == "incident"
    assert list(broken_off.rglob("*.mkv"))
    scratch.clear_ended(database, settings)
    assert broken_off.is_dir(), "the next attempt goes on from it"
    with database.transaction() as session:
        end(session)
    assert the_job(database).state == "cancelled"
    scratch.clear_ended(database, settings)
    assert not broken_off.exists()


def test_the_scratch_of_a_job_that_another_worker_runs_stays_until_its_lease_is_over(
    database: Database, settings: Settings, instance: UUID
) -> None:
    lease = timedelta(minutes=5)
    held = engine_jobs.claim(database, owner="another", site=settings.site, lease=lease)
    assert held is not None
    place = settings.scratch / str(held.id)
    place.mkdir(parents=True)
    scratch.clear_ended(database, settings)
    assert place.is_dir()
    with database.transaction() as session:
        withdraw(session)
    scratch.clear_ended(database, settings)
    assert place.is_dir(), "its worker may not know yet"
    with database.transaction() as session:
        job = session.get_one(Job, held.id)
        assert job.lease_until is not None
        job.lease_until -= lease
    scratch.clear_ended(database, settings)
    assert not place.exists()


def test_only_folders_of_ended_jobs_are_removed_and_nothing_behind_a_link(
    database: Database, settings: Settings, instance: UUID, tmp_path: Path
) -> None:
    with database.transaction() as session:
        withdraw(session)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "footage.mkv").write_bytes(b"footage")
    kept = [settings.scratch / str(uuid4()), settings.scratch / "not-a-job-of-ours", settings.scratch / "a-b-c-d-e"]
    for place in kept:
        place.mkdir(parents=True)
    (settings.scratch / str(the_job(database).id)).symlink_to(outside)
    scratch.clear_ended(database, settings)
    assert all(place.is_dir() for place in kept)
    assert (outside / "footage.mkv").read_bytes() == b"footage"
