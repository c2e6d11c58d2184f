"""Processes that a time starts: at the right instant, exactly once, by the newest version only."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import orjson
import pytest
from conversations import TALKING, timed
from sqlalchemy import select

from engine import definitions, history, replay, timers
from engine.errors import ConflictError
from engine.models import Instance, StartEvent


@pytest.fixture
def deploy(deployed):
    def deploy(files):
        with deployed.transaction() as session:
            return definitions.deploy(session, files, by="owner")

    return deploy


def started(database, process_id="timed"):
    with database.reading() as session:
        query = select(Instance).where(Instance.process_id == process_id)
        return list(session.scalars(query.order_by(Instance.started_at)))


def test_a_cycle_starts_an_instance_at_each_of_its_times(deploy, deployed, worker, clock):
    deploy(timed("timeCycle", "R3/PT1H"))
    found = []
    for _ in range(5):
        clock.forward(minutes=59)
        worker()
        clock.forward(minutes=1)
        worker()
        found.append(len(started(deployed)))
    assert found == [1, 2, 3, 3, 3]
    with deployed.reading() as session:
        instance = started(deployed)[0]
        (row,) = history.events(session, instance.id)
        payload = orjson.loads(row.payload)
        assert replay.verify(session, instance.id).findings == []
    assert (row.kind, row.actor, payload["event"]) == ("start", "timer", "due")
    assert datetime.fromisoformat(payload["due"]) == datetime(2026, 2, 2, 2, tzinfo=UTC)
    assert instance.state == "completed"


def test_after_a_standstill_one_start_makes_up_for_all_that_were_missed(deploy, deployed, worker, clock):
    deploy(timed("timeCycle", "R/PT1H"))
    clock.forward(hours=50, minutes=30)
    worker()
    assert len(started(deployed)) == 1
    clock.forward(minutes=30)
    worker()
    assert len(started(deployed)) == 2


@pytest.mark.parametrize(
    ("kind", "text"), [("timeDate", "2026-02-02T03:00:00Z"), ("timeDuration", "PT2H"), ("timeDuration", "'PT2H'")]
)
def test_a_date_and_a_duration_start_once(deploy, deployed, worker, clock, kind, text):
    deploy(timed(kind, text))
    counts = []
    for _ in range(4):
        clock.forward(hours=1)
        worker()
        counts.append(len(started(deployed)))
    assert counts == [0, 1, 1, 1]


def test_a_new_version_takes_over_from_the_one_before(deploy, deployed, worker, clock):
    deploy(timed("timeCycle", "R/PT1H"))
    deploy(timed("timeCycle", "R/PT3H"))
    clock.forward(hours=2)
    worker()
    assert started(deployed) == []
    clock.forward(hours=1)
    worker()
    assert [instance.version for instance in started(deployed)] == [2]
    with deployed.reading() as session:
        assert len(session.scalars(select(StartEvent)).all()) == 1


def test_a_deployment_that_is_rolled_back_registers_nothing(deployed):
    with deployed.transaction() as session:
        definitions.deploy(session, timed("timeCycle", "R/PT1H"), by="owner")
        session.rollback()
    with deployed.reading() as session:
        assert session.scalars(select(StartEvent)).all() == []


def test_several_workers_start_it_once(deploy, deployed, clock):
    deploy(timed("timeCycle", "R/PT1H"))
    at = clock.forward(hours=1)
    with ThreadPoolExecutor(4) as workers:
        found = list(workers.map(lambda _number: timers.start_due(deployed, at), range(8)))
    assert sum(found) == 1
    assert len(started(deployed)) == 1


def test_a_process_that_waits_for_its_event_cannot_be_started_by_hand(deploy, office):
    deploy(TALKING)
    with pytest.raises(ConflictError, match="nobody can start it by hand"):
        office.start("store")
    assert started(office.database, "store") == []
