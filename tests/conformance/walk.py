"""Walks the deployed diagram by hand: people submit forms, operators answer, time passes. No database, no recorder.

Every submission goes through the task's own form, and every person is held against the task's own rules, so that a
walk also shows that forms, assignments and diagram fit together.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from engine.forms import Form, Option, parse
from engine.spiff import CompiledDefinition, Execution, Input, JobRequest, OpenedTask, compile_definition
from engine.spiff import StepResult as Step

FOLDER = Path(__file__).parents[2] / "bpmn"
START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)

SOURCES = {
    "cameras": [Option(key, key) for key in ("gate", "lobby", "garage")],
    "max_span_hours": [Option("24", "24")],
}
APPLICATION: dict[str, Any] = {
    "cameras": ["gate"],
    "start_at": "2026-03-01T10:00:00+08:00",
    "end_at": "2026-03-01T10:10:00+08:00",
    "clock_basis": "standard",
    "reason": "东门外两车刮擦",
    "purpose": "safety",
    "legal_basis": "internal_rules",
    "applicant_kind": "internal",
    "mode": "view",
    "urgency": "normal",
    "third_party": "no",
    "minors": "no",
    "secret": "no",
    "use_until": "2026-04-01",
    "recipient": "李申请",
    "position": "班组长",
    "employee_no": "D0001",
    "phone": "+8613800000001",
    "undertaking": True,
}
REVIEWED = {
    "decision": "approve",
    "lawful": True,
    "legitimate": True,
    "minimal": True,
    "identity_checked": True,
    "comment": "合法、合理",
}
PLAYED = {"decision": "ok", "complete": True, "clear": True, "continuous": True, "undamaged": True}
CASE = {
    "number": "调取-2026-0001",
    "applicant": "applicant",
    "department": "生产部",
    "head": "head",
    "members": ["member1", "member2", "member3"],
    "abstaining": ["applicant", "head"],
    "chair": "member1",
    "retention_days": 30,
}


def coverage(status: str, cameras: list[str]) -> dict[str, Any]:
    """What `recorder/coverage` answers."""
    return {
        "status": status,
        "overwritten_at": "2026-03-31T02:00:00+00:00",
        "cameras": [
            {"camera": camera, "name": camera, "status": status, "gaps": [], "clock_offset_seconds": 3.5}
            for camera in cameras
        ],
    }


class Walk:
    """One case on its way through the diagram."""

    def __init__(self, definition: CompiledDefinition, *, case: Mapping[str, Any] | None = None) -> None:
        self.definition = definition
        self.execution = Execution(definition, UUID(int=1))
        self.at = START
        self.case = {**CASE, **(case or {})}
        self.open: dict[UUID, OpenedTask] = {}
        self.jobs: dict[UUID, JobRequest] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.visited: list[str] = []
        self.apply("start", {"data": {"applicant": self.case["applicant"]}})

    # ---- inputs

    def apply(self, kind: str, payload: Mapping[str, Any]) -> Step:
        text = orjson.dumps(payload).decode()
        step = self.execution.apply(Input(self.execution.seq + 1, self.at, kind, text), self._answer)
        assert step.incidents == []
        for task_id, _ in step.closed:
            del self.open[task_id]
        for task_id in step.ended_jobs:
            del self.jobs[task_id]
        self.open.update((task.id, task) for task in step.opened)
        self.jobs.update((job.task_id, job) for job in step.jobs)
        self.visited += [event["element"] for event in step.visible if event["type"] == "enter"]
        # Every step survives a restart of the program.
        self.execution = Execution(self.definition, UUID(int=1), self.execution.snapshot())
        return step

    def submit(self, element: str, data: Mapping[str, Any], *, by: str) -> Step:
        """`by` completes the task at `element`: theirs when several are open there."""
        task = self.task(element, by)
        info = self.definition.elements[element]
        assert by not in self.people(task, "excluded"), f"{by} is excluded from {element}"
        clean = form(info.form).validate(data, sources=SOURCES, now=self.at, names=task.data)
        stored = {info.variable: {**clean, "by": by, "at": self.at.isoformat()}}
        return self.apply("submit", {"task": str(task.id), "data": stored})

    def finish(self, element: str, value: Any, **params: Any) -> Step:
        """The job at `element` (the one with these parameters) ends with `value`."""
        job = self._job(element, params)
        return self.apply("result", {"task": str(self.jobs.pop(job.task_id).task_id), "value": value})

    def fail(self, element: str, code: str, **params: Any) -> Step:
        """The job at `element` (the one with these parameters) ends with the BPMN error `code`."""
        job = self._job(element, params)
        return self.apply("error", {"task": str(self.jobs.pop(job.task_id).task_id), "code": code, "message": code})

    def wait(self, **span: float) -> None:
        """Let time pass, firing every timer when it is due."""
        until = self.at + timedelta(**span)
        while (due := self.execution.due_at) is not None and due <= until:
            self.at = max(due, self.at)
            self.apply("timer", {})
        self.at = until

    # ---- what is there

    @property
    def state(self) -> str:
        return self.execution.state

    @property
    def data(self) -> dict[str, Any]:
        return self.execution.data

    @property
    def waiting(self) -> set[str]:
        """The elements where somebody or something is being waited for."""
        return {task.element for task in self.open.values()} | {job.element for job in self.jobs.values()}

    def task(self, element: str, by: str = "") -> OpenedTask:
        found = [task for task in self.open.values() if task.element == element]
        assert found, f"{element} is not open; open are {sorted(self.waiting)}"
        mine = [task for task in found if self.people(task, "assignee") in ([], [by])]
        assert mine, f"{element} is not for {by}"
        return mine[0]

    def people(self, task: OpenedTask, key: str) -> list[str]:
        """Whom the property `key` of a task names."""
        expression = self.definition.elements[task.element].properties.get(key)
        if expression is None:
            return []
        value = self.execution.evaluate(task.id, expression)
        return value if isinstance(value, list) else [value]

    def calls(self, operator: str) -> list[dict[str, Any]]:
        """The parameters of every call of a synchronous operator so far."""
        return [params for name, params in self.asked if name == operator]

    def _job(self, element: str, params: Mapping[str, Any]) -> JobRequest:
        found = [
            job for job in self.jobs.values() if job.element == element and params.items() <= dict(job.params).items()
        ]
        assert len(found) == 1, f"{len(found)} jobs at {element}; waiting are {sorted(self.waiting)}"
        return found[0]

    def _answer(self, operator: str, params: dict[str, Any]) -> Any:
        self.asked.append((operator, params))
        if operator == "case/open":
            return self.case
        if operator == "access/grant":
            return {"user": params["user"], "mode": params["mode"], "expires_at": "2026-04-01T16:00:00+00:00"}
        return {"sent": len(params["to"])} if operator == "notice/send" else {}

    # ---- stretches of the way that most walks share

    def to_review(self, **application: Any) -> "Walk":
        self.submit("fill_application", {**APPLICATION, **application}, by="applicant")
        self.submit("sign_application", {"decision": "approve"}, by=self.case["head"])
        return self

    def to_verification(self, **application: Any) -> "Walk":
        self.to_review(**application)
        self.submit("review_request", REVIEWED, by="reviewer")
        return self

    def to_committee(self, **application: Any) -> "Walk":
        self.to_verification(**application)
        cameras = application.get("cameras", APPLICATION["cameras"])
        self.finish("verify_coverage", coverage("complete", cameras))
        return self

    def to_preparation(self, **application: Any) -> "Walk":
        self.to_committee(**application)
        self.vote(member1="approve", member2="approve")
        return self

    def vote(self, element: str = "vote_committee", **votes: str) -> "Walk":
        for member, decision in votes.items():
            self.submit(element, {"decision": decision, "comment": f"{member}: {decision}"}, by=member)
        return self

    def prepare(self) -> "Walk":
        self.finish("check_readiness", {"ready": True, "checks": [], "estimated_bytes": 1, "free_bytes": 2})
        self.submit("confirm_readiness", {"decision": "ready", "equipment_ready": True}, by="operator")
        return self

    def retrieve(self, camera: str, item: int = 1) -> "Walk":
        self.finish("acquire_footage", {"camera": camera, "item": item, "report": {}, "complete": True}, camera=camera)
        self.finish("check_footage", {"verdict": "sound", "findings": []}, item=item)
        self.finish("make_viewing_copy", {"item": item + 100, "transcoded": False, "codec": "h264"}, item=item)
        return self

    def back_up(self) -> "Walk":
        copy = {"item": 1, "kind": "master", "key": "a/b.mkv", "sha256": "0" * 64, "verified_at": self.at.isoformat()}
        self.finish("back_up_footage", {"copies": [{**copy, "store": "primary"}, {**copy, "store": "backup"}]})
        return self

    def record(self) -> "Walk":
        task = self.task("complete_record", "operator")
        prefilled = form("record.form").initial(task.data)
        self.submit("complete_record", prefilled, by="operator")
        return self

    def archive(self) -> "Walk":
        self.submit(
            "register_shelf", {"shelf": "A-03-12", "medium": "optical", "custodian": "archivist"}, by="archivist"
        )
        self.finish("archive_case", {"key": "bag", "path": "bag", "files": 9, "valid": True})
        return self


def form(name: str) -> Form:
    return parse((FOLDER / "forms" / name).read_text(), name)


def compiled() -> CompiledDefinition:
    files = {file.name: file.read_text() for file in sorted(FOLDER.iterdir()) if file.suffix in (".bpmn", ".dmn")}
    return compile_definition(files, "footage_retrieval")
