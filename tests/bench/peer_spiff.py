"""The peer of bench_engine.py: SpiffWorkflow alone, a JSON save and restore per completed user task.

A program of its own, because importing the engine would bring its patches into the library. Prints one JSON line.
"""

import json
import statistics
import sys
import time
from typing import Any

from lxml import etree
from SpiffWorkflow.bpmn import BpmnWorkflow
from SpiffWorkflow.bpmn.serializer import BpmnWorkflowSerializer
from SpiffWorkflow.spiff.parser import SpiffBpmnParser
from SpiffWorkflow.spiff.serializer.config import SPIFF_CONFIG
from SpiffWorkflow.util.task import TaskState

from tests.bench.models import FORMS, text

LAST_ROUND = 400
"""The library stalls in the 501st round of a loop."""


class Bare:
    """A parsed diagram, run as the library's documentation shows it."""

    def __init__(self, model: str) -> None:
        self.forms = FORMS[model]
        parser = SpiffBpmnParser()
        parser.add_bpmn_xml(etree.fromstring(text(model).encode()), filename=f"{model}.bpmn")
        self.spec, self.subs = parser.get_spec(model), parser.get_subprocess_specs(model)
        self.serializer = BpmnWorkflowSerializer(BpmnWorkflowSerializer.configure(SPIFF_CONFIG))

    def start(self) -> str:
        workflow = BpmnWorkflow(self.spec, self.subs)
        workflow.do_engine_steps()
        return str(self.serializer.serialize_json(workflow))

    def complete(self, blob: str) -> tuple[str, str]:
        """Restore, complete the next user task, save; the name of the task, "" when there is none."""
        workflow = self.serializer.deserialize_json(blob)
        task = workflow.get_next_task(state=TaskState.READY, manual=True)
        if task is None:
            return "", blob
        task.data.update(self.forms[task.task_spec.name])
        task.run()
        workflow.do_engine_steps()
        return task.task_spec.name, str(self.serializer.serialize_json(workflow))


def measure(model: str, rounds: int) -> dict[str, Any]:
    """CPU milliseconds of starting and of each task (medians), and instances per second."""
    bare = Bare(model)
    starts: list[float] = []
    tasks: dict[str, list[float]] = {name: [] for name in bare.forms}
    began = time.perf_counter()
    for _ in range(rounds):
        at = time.process_time()
        blob = bare.start()
        starts.append(time.process_time() - at)
        for _ in bare.forms:
            at = time.process_time()
            name, blob = bare.complete(blob)
            tasks[name].append(time.process_time() - at)
    per_second = rounds / (time.perf_counter() - began)
    return {
        "start_ms": statistics.median(starts) * 1000,
        "tasks_ms": {name: statistics.median(times) * 1000 for name, times in tasks.items()},
        "per_second": per_second,
        "bytes": len(blob),
    }


def rounds_of_a_loop() -> dict[str, Any]:
    """CPU milliseconds of a step around the 10th round and around the last one that the library manages."""
    bare = Bare("loop")
    blob, times, sizes = bare.start(), [], []
    for _ in range(LAST_ROUND):
        at = time.process_time()
        _name, blob = bare.complete(blob)
        times.append(time.process_time() - at)
        sizes.append(len(blob))
    early, late = statistics.median(times[5:15]) * 1000, statistics.median(times[-10:]) * 1000
    return {"round_10_ms": early, f"round_{LAST_ROUND}_ms": late, "bytes": sizes[-1]}


if __name__ == "__main__":
    model, rounds = sys.argv[1], int(sys.argv[2])
    print(json.dumps(rounds_of_a_loop() if model == "loop" else measure(model, rounds)))
