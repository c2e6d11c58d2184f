"""The office in which the deployed procedure really runs: database, pages and API, worker, recorders on sockets.

Nothing is played: people act over HTTP (Flask's client), the worker runs the service tasks against a simulated recorder
on loopback, files lie on two stores. Time is the machine's, and may be moved on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session
from visitor import PASSWORD, Answer, Person, refusals
from werkzeug.test import TestResponse

from device import access, evidence
from device.models import Case, CaseEvent, EvidenceItem, Grant
from device.simulator import LOCAL_TIME, Simulator
from engine import clock, definitions, instances, jobs, personal, replay, tasks
from engine.db import Database
from engine.models import Instance, Job, Task
from engine.settings import Settings
from engine.worker import Worker
from web import create_app

PROCESS = "footage_retrieval"
SECONDS = 6
"""How much footage a request asks for, unless a test needs more."""

SOUND = {"complete": True, "clear": True, "continuous": True, "undamaged": True}
CHECKED = {"lawful": True, "legitimate": True, "minimal": True, "identity_checked": True}

ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sign_application": ("head", {"decision": "approve", "remark": "情况属实"}),
    "review_request": ("reviewer", {"decision": "approve", "comment": "目的正当，范围必要", **CHECKED}),
    "decide_partial": ("applicant", {"decision": "accept"}),
    "vote_committee": ("member1", {"decision": "approve"}),
    "decide_by_chair": ("member1", {"decision": "approve"}),
    "ratify_emergency": ("member1", {"decision": "approve"}),
    "confirm_readiness": ("operator", {"decision": "ready", "equipment_ready": True}),
    "check_playback": ("operator", {"decision": "ok", **SOUND}),
    "complete_record": ("operator", {"clock_method": "measured", "export_method": "native_stream", "copies": 1}),
    "countersign_record": ("archivist", {"decision": "approve"}),
    "register_shelf": ("archivist", {"shelf": "A-03-17", "medium": "disk_array", "custodian": "孙档案"}),
}
"""Who does what at each task of a request that goes through; a task that names its assignee is done by them."""


@dataclass
class Office:
    """One house with its data in `folder`. `shift` is how far its time is ahead of the machine's."""

    folder: Path
    recorder: Simulator
    annex: Simulator
    tokens: Mapping[str, str]
    shift: timedelta = timedelta(0)
    _people: dict[str, Person] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        return settings_in(self.folder)

    @cached_property
    def database(self) -> Database:
        return Database.of(self.settings)

    @cached_property
    def app(self) -> Flask:
        app = create_app(self.settings, self.database)
        app.testing = True
        return app

    def close(self) -> None:
        self.database.dispose()

    # ---- time

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    @contextmanager
    def time(self) -> Iterator[None]:
        """The office's time holds within; where it has not been moved, the machine's clock simply runs on."""
        with clock.fixed(self.now) if self.shift else nullcontext():
            yield

    def wait(self, **span: float) -> None:
        """Let time pass; whatever becomes due meanwhile happens when it is due, to six hours."""
        end = self.shift + timedelta(**span)
        while self.shift < end:
            self.shift = min(end, self.shift + timedelta(hours=6))
            self.work()

    # ---- people

    def person(self, username: str) -> Person:
        return self._people.setdefault(username, Person(self, username, self.tokens[username]))

    def directory(self, change: Callable[[Session], Any]) -> None:
        """What an administrator changes about people: groups, deputies, training."""
        with self.time(), self.database.transaction() as session:
            change(session)

    # ---- the worker

    def work(self, *, until: str = "") -> None:
        """Run service tasks and timers until nothing is due, retries with their pauses; stop before `until`."""
        worker = Worker(self.database, self.settings)
        while True:
            with self.time():
                if not until:
                    worker.run_until_idle()
                else:
                    while not self.pending(until) and worker.run_one("office"):
                        pass
            due = self._next_attempt()
            if due is None or (until and self.pending(until)):
                return
            self.shift = max(self.shift, due - datetime.now(UTC) + timedelta(seconds=1))

    def _next_attempt(self) -> datetime | None:
        """When the next job is due: one that failed rests for some seconds."""
        with self.database.reading() as session:
            return session.scalar(select(Job.due_at).where(Job.state == "ready").order_by(Job.due_at).limit(1))

    def pending(self, element: str) -> bool:
        with self.database.reading() as session:
            found = select(Job.id).where(Job.element == element, Job.state == "ready")
            return session.scalars(found).first() is not None

    def incidents(self) -> list[Job]:
        with self.database.reading() as session:
            return jobs.incidents(session)

    # ---- requests

    def apply(self, *cameras: str, by: str = "applicant", **application: Any) -> "Request":
        """Somebody asks for footage and submits the form."""
        request = self.begin(by=by)
        answer = request.submit("fill_application", self.application(*cameras, **application), by=by)
        assert answer.status == 200, answer.body
        return request

    def begin(self, *, by: str = "applicant") -> "Request":
        """Somebody opens the application form."""
        started = self.person(by).api("POST", "/instances", {"process_id": PROCESS, "data": {}})
        assert started.status == 201, started.body
        return Request(self, UUID(started.body["id"]), by)

    def application(self, *cameras: str, **changed: Any) -> dict[str, Any]:
        """The application form of an ordinary request: some seconds of this morning."""
        end = (datetime.now(UTC) - timedelta(hours=3)).replace(second=30, microsecond=0)
        span = {"start_at": end - timedelta(seconds=SECONDS), "end_at": end}
        return {
            "cameras": list(cameras or ("gate",)),
            **{key: at.astimezone(LOCAL_TIME).isoformat() for key, at in span.items()},
            "clock_basis": "standard",
            "reason": "核实东门一起车辆刮擦的经过",
            "purpose": "incident",
            "legal_basis": "internal_rules",
            "incident_no": "SG-2026-017",
            "urgency": "normal",
            "mode": "view",
            "third_party": "no",
            "minors": "no",
            "secret": "no",
            "use_until": (self.now + timedelta(days=14)).astimezone(LOCAL_TIME).date().isoformat(),
            "recipient": "李申请",
            "applicant_kind": "internal",
            "position": "班组长",
            "employee_no": "D0001",
            "phone": "+8613800000001",
            "undertaking": True,
            **changed,
        }

    def findings(self) -> list[str]:
        """What verification finds wrong: every finished case is executed again, every log's chain is read."""
        found = []
        with self.database.reading() as session:
            for instance in session.scalars(select(Instance).where(Instance.state != "running")):
                found += [str(finding) for finding in replay.verify(session, instance.id).findings]
            for case in session.scalars(select(Case)):
                found += [str(finding) for finding in access.verify_case_chain(session, case)]
        return found


@dataclass
class Request:
    """One request on its way."""

    office: Office
    id: UUID
    applicant: str

    # ---- what people do

    def task(self, element: str, by: str = "") -> Task:
        """The open task at `element`: theirs, when several are open there."""
        found = [task for task in self.open_tasks() if task.element == element and task.assignee in (None, by)]
        found = found or [task for task in self.open_tasks() if task.element == element]
        assert found, f"{element} is not open; waiting are {sorted(self.waiting)}"
        return found[0]

    def submit(
        self, element: str, data: Mapping[str, Any], *, by: str, password: str | None = PASSWORD, claim: bool = False
    ) -> Answer:
        """Somebody completes the task at `element`, signing where that is asked for."""
        task = self.task(element, by)
        person = self.office.person(by)
        if claim:
            claimed = person.api("POST", f"/tasks/{task.id}/claim")
            if claimed.status != 200:
                return claimed
        body: dict[str, Any] = {"data": dict(data)}
        if task.signature and password is not None:
            body["signature"] = {"password": password}
        return person.api("POST", f"/tasks/{task.id}/complete", body)

    def decide(self, element: str, decision: str, comment: str = "", *, by: str = "", **more: Any) -> Answer:
        given = {"decision": decision, **({"comment": comment} if comment else {}), **more}
        return self.submit(element, given, by=by or self.task(element).assignee or ANSWERS[element][0])

    def lead(self, to: str = "", *, leave: Sequence[str] = ()) -> "Request":
        """Everybody does what is asked of them (except at `leave`), and the worker its part, until `to` waits."""
        while to not in self.waiting or not to:
            waiting = [task for task in self.open_tasks() if task.element not in leave]
            if not waiting:
                before = self.instance.seq
                self.office.work(until=to)
                if self.instance.seq == before:
                    break
                continue
            self._do(waiting[0])
        assert not to or to in self.waiting, f"{to} is not reached; waiting are {sorted(self.waiting)}"
        return self

    def _do(self, task: Task) -> None:
        who, answers = ANSWERS[task.element]
        if task.element == "complete_record":  # the page fills most of it in
            sent = self.office.person(who).fill(f"/tasks/{task.id}", answers)
            assert sent.status_code == 302, refusals(sent)
            return
        answer = self.submit(task.element, answers, by=task.assignee or who)
        assert answer.status == 200, (task.element, answer.body)

    def vote(self, element: str = "vote_committee", **votes: str) -> None:
        for member, decision in votes.items():
            answer = self.decide(element, decision, f"{member}：{decision}", by=member)
            assert answer.status == 200, answer.body

    def withdraw(self, reason: str = "不再需要") -> TestResponse:
        answer = self.office.person(self.applicant).post(f"/requests/{self.id}/withdraw", {"reason": reason})
        self.office.work()
        return answer

    # ---- what is there

    @property
    def instance(self) -> Instance:
        with self.office.database.reading() as session:
            return instances.get(session, self.id)

    @property
    def data(self) -> dict[str, Any]:
        """What the process knows, personal data opened."""
        with self.office.database.reading() as session:
            opened: dict[str, Any] = personal.opened(session, self.id, self.instance.data)
            return opened

    @property
    def case(self) -> Case:
        with self.office.database.reading() as session:
            return session.scalars(select(Case).where(Case.instance_id == self.id)).one()

    @property
    def page(self) -> str:
        return f"/cases/{self.case.id}"

    def open_tasks(self) -> list[Task]:
        with self.office.database.reading() as session:
            return [task for task in tasks.of_instance(session, self.id) if task.state in ("open", "claimed")]

    @property
    def waiting(self) -> set[str]:
        """The elements where a person or a service task is being waited for."""
        with self.office.database.reading() as session:
            running = session.scalars(
                select(Job.element).where(Job.instance_id == self.id, Job.state.in_(("ready", "running", "incident")))
            )
            return {task.element for task in self.open_tasks()} | set(running)

    def visited(self) -> list[str]:
        with self.office.database.reading() as session:
            events = instances.visible_events(session, self.id)
        return [event["element"] for event in events if event["type"] == "enter"]

    def log(self, *kinds: str) -> list[CaseEvent]:
        """The case's own log, or its events of these kinds."""
        with self.office.database.reading() as session:
            events = access.case_events(session, self.case)
        return [event for event in events if not kinds or event.kind in kinds]

    def items(self, *kinds: str) -> list[EvidenceItem]:
        with self.office.database.reading() as session:
            return evidence.items_of(session, self.case, *kinds)

    def file(self, item: EvidenceItem) -> Path:
        with self.office.database.reading() as session:
            return evidence.locate(session, self.office.settings, item)

    def grants(self) -> list[Grant]:
        with self.office.database.reading() as session:
            return list(session.scalars(select(Grant).where(Grant.case_id == self.case.id).order_by(Grant.id)))

    def told(self, username: str) -> list[str]:
        """The notices about this request that somebody got, oldest first, in the words of the diagram."""
        found = [one for one in self.office.person(username).notices() if one.instance_id == self.id]
        with self.office.database.reading() as session:
            english = definitions.translation(session, session.get_one(Instance, self.id).definition_id, "en")
        return [english.get(one.template, one.template) % one.params for one in reversed(found)]

    def footage(self) -> str:
        """The address of the first viewing copy."""
        return f"{self.page}/footage/{self.items('viewing_copy')[-1].id}"

    def own_footage(self, username: str) -> str:
        """As `footage`, for a recipient, who has the copies made that carry their name."""
        assert self.office.person(username).post(f"{self.page}/footage/copies", {}).status_code == 302
        self.office.work()
        return self.footage()


def settings_in(folder: Path) -> Settings:
    return Settings(
        data=folder,
        database_url=f"sqlite:///{folder / 'diaoqu.db'}",
        store_primary=(folder / "store" / "primary").as_uri(),
        store_backup=(folder / "store" / "backup").as_uri(),
        secret_key="a secret of more than thirty-two characters",
    )
