"""The peer of bench_engine.py: SpiffWorkflow alone, a JSON save and restore per completed user task.

A program of its own, because importing the engine would bring its patches into the library. Prints one JSON line.
"""

import json
import statistics
import sys
import time
from pathlib import Path

from lxml import etree
from SpiffWorkflow.bpmn import BpmnWorkflow
from SpiffWorkflow.bpmn.serializer import BpmnWorkflowSerializer
from SpiffWorkflow.spiff.parser import SpiffBpmnParser
from SpiffWorkflow.spiff.serializer.config import SPIFF_CONFIG
from SpiffWorkflow.util.task import TaskState

HERE = Path(__file__).parent


def measure(rounds: int, forms: dict[str, dict[str, object]]) -> dict[str, float]:
    parser = SpiffBpmnParser()
    parser.add_bpmn_xml(etree.fromstring((HERE / "footage13.bpmn").read_bytes()), filename="footage13.bpmn")
    spec, subs = parser.get_spec("footage13"), parser.get_subprocess_specs("footage13")
    serializer = BpmnWorkflowSerializer(BpmnWorkflowSerializer.configure(SPIFF_CONFIG))
    times, began = [], time.perf_counter()
    for _ in range(rounds):
        workflow = BpmnWorkflow(spec, subs)
        workflow.do_engine_steps()
        blob = serializer.serialize_json(workflow)
        while True:
            start = time.process_time()
            workflow = serializer.deserialize_json(blob)
            task = workflow.get_next_task(state=TaskState.READY, manual=True)
            if task is None:
                break
            task.data.update(forms[task.task_spec.name])
            task.run()
            workflow.do_engine_steps()
            blob = serializer.serialize_json(workflow)
            times.append(time.process_time() - start)
    return {"task_ms": statistics.median(times) * 1000, "per_second": rounds / (time.perf_counter() - began)}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), json.loads(sys.argv[2]))))
