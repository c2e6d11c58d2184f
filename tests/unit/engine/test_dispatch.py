"""Messages on a real Redis: they bring jobs to the workers of a site, and nothing depends on them."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from servers import Redis, until

from engine import dispatch, history, instances, jobs, replay, wakeup
from engine.models import Job
from engine.settings import Settings, SettingsError
from engine.worker import Worker

HERE = Path(__file__).parent
NEVER = 3600.0


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    found = Redis(tmp_path_factory.mktemp("redis"))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def broker(redis: Redis) -> Redis:
    redis.ask("flushall")
    return redis


@pytest.fixture
def by_broker(settings: Settings, broker: Redis) -> Settings:
    return replace(settings, broker_url=broker.url)


@pytest.fixture
def working(deployed, by_broker, broker, clock):
    """A worker of the site `main` in this process, called by messages."""
    worker = Worker(deployed, by_broker, slots=2)
    clock.release()
    worker.start()
    until(lambda: listens(broker), "the worker listens")
    yield worker
    worker.stop()


def listens(broker: Redis) -> bool:
    return "cmd=brpop" in broker.ask("client", "list")


def row(database, instance) -> Job:
    with database.reading() as session:
        (found,) = jobs.of_instance(session, instance.id)
        return found


def due(database, instance) -> wakeup.Due:
    found = row(database, instance)
    return found.site, found.id, found.epoch


def done(database, instance) -> bool:
    return row(database, instance).state == "done"


@pytest.fixture
def no_sweep(monkeypatch):
    monkeypatch.setattr(dispatch, "SWEEP", NEVER)


def test_a_message_brings_each_job_to_a_worker_of_its_site_and_of_no_other(
    office, deployed, recorder, no_sweep, working, broker
):
    near = office.start("fetch_one", camera="gate")
    recorder.site = "far"
    far = office.start("fetch_one", camera="lobby")
    until(lambda: done(deployed, near), "the job of this site is done")
    until(lambda: broker.ask("llen", "diaoqu.far") == "1", "the other one's message waits at its site")
    assert row(deployed, far).state == "ready"
    assert recorder.calls == [("gate", 1)]


def test_a_message_that_comes_again_or_too_late_runs_nothing(
    office, deployed, recorder, no_sweep, working, by_broker, broker
):
    instance = office.start("fetch_one", camera="gate")
    first = due(deployed, instance)
    until(lambda: done(deployed, instance), "the job is done")
    sender = dispatch.Sender(by_broker)
    for _ in range(5):
        sender.send(first)
    until(lambda: broker.ask("llen", "diaoqu.main") == "0", "all messages are taken")
    last = office.start("fetch_one", camera="lobby")
    until(lambda: done(deployed, last), "a job behind them is done")
    assert recorder.calls == [("gate", 1), ("lobby", 1)]
    assert row(deployed, instance).epoch == 1


def test_a_hint_whose_epoch_has_passed_claims_nothing(office, deployed, clock):
    instance = office.start("fetch_one", camera="gate")
    first = due(deployed, instance)
    assert jobs.claim(deployed, owner="one", site="main", hint=first) is not None
    clock.forward(seconds=16)
    assert jobs.claim(deployed, owner="two", site="main", hint=first) is None
    found = jobs.claim(deployed, owner="two", site="main", hint=due(deployed, instance))
    assert found is not None
    assert found.epoch == 2


def test_a_rolled_back_step_sends_nothing(office, deployed, by_broker, broker):
    def begin_in_vain() -> None:
        with deployed.transaction() as session:
            instances.start(session, "fetch_one", {"camera": "gate"}, by="applicant")
            raise RuntimeError("undone")

    sender = dispatch.Sender(by_broker)
    sender.start()
    with pytest.raises(RuntimeError, match="undone"):
        begin_in_vain()
    kept = office.start("fetch_one", camera="lobby")
    sender.stop()
    assert broker.ask("llen", "diaoqu.main") == "1"
    assert str(row(deployed, kept).id) in broker.ask("lindex", "diaoqu.main", "0")


def test_a_lost_message_loses_no_job(office, deployed, by_broker, broker, recorder, clock, monkeypatch):
    sender = dispatch.Sender(by_broker)
    sender.start()
    instance = office.start("fetch_one", camera="gate")
    until(lambda: broker.ask("llen", "diaoqu.main") == "1", "the message is there")
    sender.stop()
    broker.ask("flushall")
    monkeypatch.setattr(dispatch, "SWEEP", 0.1)
    worker = Worker(deployed, by_broker, slots=1)
    clock.release()
    worker.start()
    try:
        until(lambda: done(deployed, instance), "the job is found in the table")
    finally:
        worker.stop()
    assert recorder.calls == [("gate", 1)]


@pytest.mark.long
def test_without_its_broker_a_worker_goes_on_and_when_that_is_back_it_listens_again(
    office, deployed, settings, tmp_path, recorder, clock, monkeypatch
):
    monkeypatch.setattr(dispatch, "SWEEP", 0.1)
    (tmp_path / "redis").mkdir()
    redis = Redis(tmp_path / "redis")
    redis.start()
    worker = Worker(deployed, replace(settings, broker_url=redis.url), slots=1)
    clock.release()
    worker.start()
    try:
        redis.kill()
        first = office.start("fetch_one", camera="gate")
        until(lambda: done(deployed, first), "the job is done while the broker is away")
        monkeypatch.setattr(dispatch, "SWEEP", NEVER)
        redis.start()
        until(lambda: listens(redis), "the worker listens again")
        second = office.start("fetch_one", camera="lobby")
        until(lambda: done(deployed, second), "a message brings a job again")
    finally:
        worker.stop()
        redis.stop()
    assert recorder.calls == [("gate", 1), ("lobby", 1)]


# ---- two processes, one of them killed


@pytest.fixture
def hired(deployed, by_broker, clock):
    """Starts workers in processes of their own; those that a test leaves are ended with it."""
    clock.release()
    begun: list[subprocess.Popen[str]] = []

    def hire(site: str = "main") -> subprocess.Popen[str]:
        given = [deployed.url, str(by_broker.data), by_broker.broker_url, site]
        command = [sys.executable, str(HERE / "called_worker.py"), *given]
        begun.append(subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=HERE.parents[2]))
        return begun[-1]

    yield hire
    for process in begun:
        process.communicate("")
        assert process.returncode in (0, -signal.SIGKILL)


def runs(settings: Settings) -> list[tuple[int, str, int]]:
    """What the operators of the hired workers have noted: process, camera, epoch."""
    path = settings.data / "runs"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), camera, int(epoch)) for pid, camera, epoch in map(str.split, lines)]


@pytest.mark.long
def test_of_two_workers_one_is_killed_in_the_middle_of_a_job_and_the_other_does_it_once(
    office, deployed, by_broker, broker, recorder, hired
):
    (by_broker.data / "hold").touch()
    workers = {process.pid: process for process in (hired(), hired())}
    elsewhere = hired("elsewhere")
    until(lambda: broker.ask("client", "list").count("cmd=brpop") == 3, "all three listen")
    sender = dispatch.Sender(by_broker)
    sender.start()
    try:
        first = office.start("fetch_one", camera="gate")
        until(lambda: runs(by_broker), "somebody is in the middle of the job")
        ((victim, *_),) = runs(by_broker)
        workers.pop(victim).kill()
        (by_broker.data / "hold").unlink()
        recorder.site = "far"
        far = office.start("fetch_one", camera="lobby")
        recorder.site = "main"
        until(lambda: done(deployed, first), "the other one has done it", seconds=30)
        second = office.start("fetch_one", camera="garage")
        until(lambda: done(deployed, second), "a message brings it the next one", seconds=30)
    finally:
        sender.stop()
    (heir,) = workers
    assert runs(by_broker) == [(victim, "gate", 1), (heir, "gate", 2), (heir, "garage", 1)]
    assert row(deployed, far).state == "ready"
    assert office.now(first).data["fetched"] == {"camera": "gate"}
    assert elsewhere.poll() is None
    with deployed.reading() as session:
        for instance in (first, second, far):
            assert replay.verify(session, instance.id).ok
        assert [event.kind for event in history.events(session, first.id)] == ["start", "result"]


# ---- what is wrong with the settings is said at once


def test_a_broker_without_celery_is_refused_with_what_to_install(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(SettingsError, match=r"pip install 'diaoqu\[broker\]'"):
        dispatch.Sender(replace(settings, broker_url="redis://127.0.0.1/0"))


@pytest.mark.parametrize("url", ["http://127.0.0.1", "sqlite:///x.db", "127.0.0.1:6379", "memory://"])
def test_an_address_that_is_no_brokers_is_refused(settings, url):
    with pytest.raises(SettingsError, match="DIAOQU_BROKER_URL must begin with"):
        dispatch.Sender(replace(settings, broker_url=url))
