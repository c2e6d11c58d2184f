"""The other side: SpiffWorkflow alone, in a process of its own, because the engine changes the library where it works.

Reads a JSON line `{"files", "process", "seed"}` and answers with one, again and again. Only the clock of its timers is
replaced, so that nobody has to wait for them.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from driving import Answers, drive
from lxml import etree
from SpiffWorkflow.bpmn import BpmnEvent, BpmnWorkflow
from SpiffWorkflow.bpmn.specs.event_definitions import timer
from SpiffWorkflow.spiff.parser import SpiffBpmnParser
from SpiffWorkflow.spiff.specs.event_definitions import MessageEventDefinition, SignalEventDefinition
from SpiffWorkflow.util.task import TaskState

SECONDS = 20


class Clock(datetime):
    at = datetime(2026, 1, 5, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return cls.at.astimezone(tz or UTC)


timer.datetime = Clock


class Bare:
    def __init__(self, files: Mapping[str, str], process: str, data: Mapping[str, Any]) -> None:
        parser = SpiffBpmnParser()
        for name, text in sorted(files.items()):
            root = etree.fromstring(text.encode())
            if name.endswith(".dmn"):
                parser.add_dmn_xml(root, filename=name)
            else:
                parser.add_bpmn_xml(root, filename=name)
        self.workflow = BpmnWorkflow(parser.get_spec(process), parser.get_subprocess_specs(process))
        self.workflow.task_tree.data.update(data)
        Clock.at = datetime(2026, 1, 5, 1, tzinfo=UTC)
        self.workflow.do_engine_steps()

    def _tasks(self) -> list[Any]:
        return [task for task in self.workflow.get_tasks(state=TaskState.READY) if task.task_spec.manual]

    def _due(self) -> datetime | None:
        found = []
        for task in self.workflow.event_manager.tasks.values():
            value = task.internal_data.get("event_value")
            value = value.get("next") if isinstance(value, dict) else value
            if isinstance(value, str) and isinstance(task.task_spec.event_definition, timer.TimerEventDefinition):
                found.append(datetime.fromisoformat(value))
        return min(found, default=None)

    def options(self) -> list[str]:
        if self.workflow.is_completed():
            return []
        found = {f"task {task.task_spec.bpmn_id or task.task_spec.name}" for task in self._tasks()}
        for task in self.workflow.event_manager.tasks.values():
            definition = task.task_spec.event_definition
            for one in getattr(definition, "event_definitions", [definition]):
                if isinstance(one, MessageEventDefinition):
                    found.add(f"message {one.name}")
                elif isinstance(one, SignalEventDefinition):
                    found.add(f"signal {one.name}")
        if self._due() is not None:
            found.add("timer")
        return list(found)

    def give(self, option: str, data: Mapping[str, Any]) -> None:
        kind, _, name = option.partition(" ")
        if kind == "task":
            task = next(task for task in self._tasks() if (task.task_spec.bpmn_id or task.task_spec.name) == name)
            task.data.update(data)
            task.run()
        elif kind == "timer":
            Clock.at = max(Clock.at, self._due() or Clock.at) + timedelta(milliseconds=1)
        else:
            kinds = {"message": MessageEventDefinition, "signal": SignalEventDefinition}
            waiting = [
                one
                for task in self.workflow.event_manager.tasks.values()
                for one in getattr(
                    task.task_spec.event_definition, "event_definitions", [task.task_spec.event_definition]
                )
                if isinstance(one, kinds[kind]) and one.name == name
            ]
            self.workflow.send_event(BpmnEvent(waiting[0], dict(data)))
        self.workflow.refresh_timers()
        self.workflow.do_engine_steps()

    def outcome(self) -> dict[str, Any]:
        workflow = self.workflow
        if not workflow.is_completed():
            return {"end": "running"}
        data = workflow.data or (workflow.last_task.data if workflow.last_task is not None else {})
        data = {key: value for key, value in data.items() if key != "data_objects"}
        return {"end": "completed" if workflow.success else "cancelled", "data": data}


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    answers = Answers(asked["files"], asked["seed"])
    return drive(Bare(asked["files"], asked["process"], answers.start()), answers)


def _too_long(_number: int, _frame: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints does not come between
    signal.signal(signal.SIGALRM, _too_long)
    for line in sys.stdin:
        signal.alarm(SECONDS)
        try:
            told = json.dumps(answer(json.loads(line)))
        except Exception as error:  # noqa: BLE001 - whatever the library does with it is its answer
            told = json.dumps({"end": "failed", "why": f"{type(error).__name__}: {error}"[:300]})
        signal.alarm(0)
        print(told, file=out, flush=True)
