"""Fixtures of the engine's tests: its processes deployed, its people at hand, its operators quiet."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from process_files import FILES, RECORDER, Recorder

from engine import definitions, identity, instances, live, tasks
from engine.db import Database
from engine.models import Instance, Task, User
from engine.worker import Worker


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    RECORDER.reset()
    yield RECORDER
    RECORDER.reset()


@pytest.fixture
def deployed(database: Database, people, clock, recorder) -> Database:
    """All test processes, an applicant, two reviewers with training, an operator and an administrator."""
    live.forget()
    people.add("applicant", "employee", "reviewer")
    people.add("reviewer", "reviewer")
    people.add("second", "reviewer")
    people.add("operator", "operator")
    people.add("admin", "admin")
    people.train("reviewer", "retrieval")
    with database.transaction() as session:
        definitions.deploy(session, FILES, by="owner", note="first")
    return database


class Office:
    """Does in one transaction each what a page would do."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def start(self, process_id: str, **data: Any) -> Instance:
        with self.database.transaction() as session:
            return instances.start(session, process_id, data, by="applicant")

    def task(self, instance: Instance, element: str) -> Task:
        """The open task of this element, or one that is finished."""
        with self.database.reading() as session:
            found = [task for task in tasks.of_instance(session, instance.id) if task.element == element]
            return next((task for task in found if task.state in ("open", "claimed")), found[-1])

    def complete(self, username: str, task: Task, data: dict[str, Any] | None = None, **more: Any) -> None:
        with self.database.transaction() as session:
            tasks.complete(session, task.id, data or {}, by=self.person(session, username), **more)

    def claim(self, username: str, task: Task) -> None:
        with self.database.transaction() as session:
            tasks.claim(session, task.id, by=self.person(session, username))

    def decide(self, username: str, instance: Instance, decision: str = "approve", element: str = "decide") -> None:
        self.complete(username, self.task(instance, element), {"decision": decision})

    def now(self, instance: Instance) -> Instance:
        with self.database.reading() as session:
            return instances.get(session, instance.id)

    @staticmethod
    def person(session: Any, username: str) -> User:
        found = identity.find(session, username)
        assert found is not None
        return found


@pytest.fixture
def office(deployed: Database) -> Office:
    return Office(deployed)


@pytest.fixture
def worker(deployed: Database, settings: Any) -> Callable[[], int]:
    """Runs everything that is due now."""
    return Worker(deployed, settings).run_until_idle
