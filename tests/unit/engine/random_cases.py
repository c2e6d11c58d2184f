"""Drives one instance through the public functions, kills it wherever it likes, and compares three states of it.

Live is what the next step would begin with; reloaded is the last snapshot and what came after it; re-executed is the
whole history on a diagram compiled from the stored text. After every action they must be equal to one another and to
the tables, and the history must have grown by exactly what was done.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import event, select

from engine import (
    definitions,
    history,
    identity,
    instances,
    jobs,
    live,
    messages,
    replay,
    suspension,
    tasks,
    timers,
)
from engine.db import Database
from engine.errors import BpmnError
from engine.models import Instance, Job, Message, Task
from engine.projections import ENDED, OPEN
from engine.spiff import Execution, Input, StepResult, compile_definition, replaying

UNDONE = ("ready", "running", "held", "incident")
Action = tuple[str, Any]


class KilledError(Exception):
    """The process ends here."""


@dataclass(frozen=True)
class State:
    """An instance as one of its executions tells it."""

    snapshot: str
    state: str
    data: str
    due_at: datetime | None

    @classmethod
    def of(cls, execution: Execution) -> "State":
        return cls(execution.snapshot(), execution.state, orjson.dumps(execution.data).decode(), execution.due_at)


class Case:
    """One instance of the process P, of which `actions` says what could be done next."""

    def __init__(self, database: Database, clock: Any, data: dict[str, Any]) -> None:
        self.database = database
        self.clock = clock
        with database.transaction() as session:
            self.id: UUID = instances.start(session, "P", data, by="applicant").id
        self.seen = 1
        self.check()

    # ---- what could happen next

    def actions(self) -> list[Action]:
        with self.database.reading() as session:
            instance = instances.get(session, self.id)
            if instance.state in ENDED:
                return []
            if instance.state == "suspended":
                return [("resume", None), *self._reports(self._jobs("running"))]
            found: list[Action] = [("complete", task.id) for task in self._tasks()]
            found += [("claim", job.id) for job in self._jobs("ready")]
            found += [("retry", job.id) for job in self._jobs("incident")]
            found += self._reports(self._jobs("running"))
            waits = sorted(live.rebuild(session, instance).listening)  # a set has no order to choose from twice
            found += [(one.kind, one.name) for one in waits]
            if instance.due_at is not None:
                found.append(("timer", None))
        return [*found * 4, ("suspend", None)]

    @staticmethod
    def _reports(running: list[Job]) -> list[Action]:
        return [(kind, job.id) for job in running for kind in ("finish", "lost", "broken")]

    def _tasks(self) -> list[Task]:
        with self.database.reading() as session:
            return [task for task in tasks.of_instance(session, self.id) if task.state in OPEN]

    def _jobs(self, *states: str) -> list[Job]:
        with self.database.reading() as session:
            return [job for job in jobs.of_instance(session, self.id) if job.state in states]

    # ---- doing it

    def do(self, action: Action, value: int) -> None:
        """Do one thing, as a page or a worker would."""
        kind, target = action
        getattr(self, f"_{kind}")(target, value)

    def _complete(self, task_id: UUID, value: int) -> None:
        with self.database.transaction() as session:
            person = identity.find(session, "reviewer")
            assert person is not None
            tasks.complete(session, task_id, {"v": value}, by=person)

    def _claim(self, _job_id: UUID, _value: int) -> None:
        self.clock.forward(minutes=1)  # what waits for its next attempt is due then
        jobs.claim(self.database, owner="worker", site="main")

    def _held(self, job_id: UUID) -> jobs.ClaimedJob:
        with self.database.reading() as session:
            job = jobs.get(session, job_id)
            last = job.attempts > jobs.retries_of(job)
            return jobs.ClaimedJob(
                job.id, job.epoch, job.instance_id, job.task_id, job.element, job.operator, job.params, job.attempts,
                last, jobs.LEASE, "", {},
            )  # fmt: skip

    def _finish(self, job_id: UUID, value: int) -> None:
        jobs.finish(self.database, self._held(job_id), {"value": value})

    def _lost(self, job_id: UUID, _value: int) -> None:
        jobs.fail(self.database, self._held(job_id), BpmnError("LOST", "no answer"))

    def _broken(self, job_id: UUID, _value: int) -> None:
        jobs.fail(self.database, self._held(job_id), OSError("connection reset"))

    def _retry(self, job_id: UUID, _value: int) -> None:
        with self.database.transaction() as session:
            jobs.retry(session, job_id, by="admin")

    def _message(self, name: str, value: int) -> None:
        with self.database.transaction() as session:
            instances.send_message(session, self.id, name, {"v": value}, by="admin")

    def _signal(self, name: str, value: int) -> None:
        with self.database.transaction() as session:
            messages.broadcast(session, name, {"v": value}, by="admin")
        messages.deliver_due(self.database)

    def _timer(self, _target: None, _value: int) -> None:
        with self.database.reading() as session:
            due_at = instances.get(session, self.id).due_at
        if due_at is not None and due_at > self.clock.at:
            self.clock.set(due_at)
        timers.fire_due(self.database)

    def _suspend(self, _target: None, _value: int) -> None:
        with self.database.transaction() as session:
            suspension.suspend(session, self.id, "test", by="admin")

    def _resume(self, _target: None, _value: int) -> None:
        with self.database.transaction() as session:
            suspension.resume(session, self.id, "test", by="admin")

    # ---- what must hold

    def facts(self) -> tuple[Any, ...]:
        """All that the tables say of the instance."""
        columns = {
            Instance: (Instance.id == self.id, "state", "seq", "head", "data", "due_at", "snapshot", "revision"),
            Task: (Task.instance_id == self.id, "id", "state", "completed_by", "data"),
            Job: (Job.instance_id == self.id, "id", "state", "attempts", "epoch", "outcome"),
            Message: (Message.received_by == self.id, "id", "state"),
        }
        with self.database.reading() as session:
            return tuple(
                sorted(
                    repr([getattr(row, name) for name in names]) for row in session.scalars(select(table).where(where))
                )
                for table, (where, *names) in columns.items()
            )

    def check(self) -> None:
        with self.database.transaction() as session:
            instance = instances.lock(session, self.id)
            again, results = self._execute_again(instance)
            states = {"reloaded": State.of(live.rebuild(session, instance)), "re-executed": State.of(again)}
            if live.is_live(instance):
                execution = live.take(session, instance)
                states["live"] = State.of(execution)
                live.keep(session, instance, execution)
            assert len(set(states.values())) == 1, _difference(states)
            assert (again.state, orjson.dumps(again.data)) == (instance.state, orjson.dumps(instance.data))
            if instance.state not in ENDED:
                assert instance.due_at == again.due_at
            self._check_tables(session, results, instance.state)
            verdict = replay.verify(session, self.id)
            assert verdict.findings == []
        self.seen = verdict.events

    def _execute_again(self, instance: Instance) -> tuple[Execution, list[StepResult]]:
        with self.database.reading() as session:
            texts = definitions.files(session, instance.definition_id)
            programs = {name: text for name, text in texts.items() if name.endswith((".bpmn", ".dmn"))}
            execution, results = Execution(compile_definition(programs, "P"), instance.id), []
            for row in history.events(session, instance.id):
                if row.kind not in history.DECISIONS:
                    given = Input(execution.seq + 1, row.at, row.kind, row.payload)
                    results.append(execution.apply(given, replaying(orjson.loads(row.lookups))))
            return execution, results

    def _check_tables(self, session: Any, results: list[StepResult], state: str) -> None:
        """The open tasks and jobs, and the active elements, are those of the re-executed history."""
        opened: dict[UUID, str] = {}
        for result in results:
            opened |= {task.id: task.element for task in result.opened}
            for task_id, _how in result.closed:
                opened.pop(task_id)
        stored = {task.id: task.element for task in tasks.of_instance(session, self.id) if task.state in OPEN}
        assert stored == ({} if state in ENDED else opened)
        active = instances.active_elements(session, self.id)
        assert set(stored.values()) <= set(active)
        requested = [job.task_id for result in results for job in result.jobs]
        rows = [job for job in jobs.of_instance(session, self.id) if job.operator]
        assert sorted(job.task_id for job in rows) == sorted(requested), "a job was lost or doubled"
        ended = [job for job in rows if job.state in ("done", "failed")]
        answered = [
            orjson.loads(row.payload)["task"]
            for row in history.events(session, self.id)
            if row.kind in ("result", "error")
        ]
        assert sorted(str(job.task_id) for job in ended) == sorted(answered), "an answer was lost or applied twice"
        undone = {job.element for job in rows if job.state in UNDONE}
        assert undone <= set(active)
        if state in ENDED:
            assert not undone


def _difference(states: dict[str, State]) -> str:
    return "\n".join(f"{name}: {state}" for name, state in states.items())


# ---- ends of the process --------------------------------------------------------------------------------------------


@contextmanager
def killed_at(database: Database, statement: int) -> Iterator[Callable[[], bool]]:
    """The process ends before its `statement`-th SQL statement, or before the commit when there are not as many.

    Only the writer counts. Answers a function that says whether it came to that.
    """
    left, over = [statement], []

    def count(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0 and not over:
            over.append(True)
            raise KilledError

    def commit(*_: Any) -> None:
        if not over:
            over.append(True)
            raise KilledError

    event.listen(database.writer, "before_cursor_execute", count)
    event.listen(database.writer, "commit", commit)
    try:
        yield lambda: bool(over)
    finally:
        event.remove(database.writer, "before_cursor_execute", count)
        event.remove(database.writer, "commit", commit)
