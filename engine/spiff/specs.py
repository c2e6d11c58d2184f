"""Tasks: service tasks that run as jobs or are answered in the step, scripts, decisions, sub-processes."""

from typing import Any

from SpiffWorkflow.bpmn.specs.bpmn_task_spec import BpmnTaskSpec
from SpiffWorkflow.spiff.specs import defaults as spiff
from SpiffWorkflow.spiff.specs.event_definitions import ErrorEventDefinition
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine import operators
from engine.errors import N_, BpmnError, ExpressionError
from engine.spiff.data import copy_json
from engine.spiff.events import deliver
from engine.spiff.step import STEP


class ServiceTask(spiff.ServiceTask):
    """An asynchronous operator leaves the task STARTED until its result arrives; a synchronous one is asked at once."""

    def _execute(self, task: Task) -> bool | None:
        params = {
            name: task.workflow.script_engine.evaluate(task, parameter["value"])
            for name, parameter in self.operation_params.items()
        }
        operator = operators.get(self.operation_name)
        operators.check_parameters(operator, params)
        if not operator.synchronous:
            task.internal_data["job"] = {"operator": self.operation_name, "params": params}
            return None
        try:
            self.store_result(task, STEP.get().consult(self.operation_name, params))
        except BpmnError as error:
            fail(task, error.code, error.message)
            return None
        return True

    def store_result(self, task: Task, value: Any) -> None:
        if self.result_variable:
            task.data[self.result_variable] = copy_json(value)


def fail(task: Task, code: str, message: str) -> None:
    """Give a BPMN error of `task` to whoever encloses it and catches it.

    Raises:
        ExpressionError: nobody does.
    """
    payload = {"code": code, "message": message}
    if deliver(task, ErrorEventDefinition(code, code=code), payload) is None:
        raise ExpressionError(N_("Nobody catches the error %(code)s: %(message)s"), code=code, message=message)
    STEP.get().failed.add(task.id)


def hold(flow: Any) -> None:
    """Let a process that has just been created begin nowhere: its tokens are put by hand (engine.spiff.moving)."""
    flow.task_tree._drop_children(force=True)
    flow.task_tree._set_state(TaskState.COMPLETED)


class _EntersFirst:
    """A sub-process is entered before what is inside it; the library tells it the other way round."""

    def _update_hook(self, my_task: Task) -> bool:
        inner = my_task.workflow.top_workflow.subprocesses.get(my_task.id)
        if inner is not None:
            return bool(inner.completed)
        BpmnTaskSpec._update_hook(self, my_task)
        my_task._set_state(TaskState.STARTED)
        if my_task.task_spec.name in STEP.get().held:
            self._start_held(my_task)
        else:
            self.start_workflow(my_task)  # type: ignore[attr-defined]  # mixed into a sub-process
        return False

    def _start_held(self, my_task: Task) -> None:
        """As `start_workflow`, but the inner process begins nowhere (engine.spiff.moving)."""
        STEP.get().held.discard(my_task.task_spec.name)
        inner = my_task.workflow.top_workflow.create_subprocess(my_task, my_task.task_spec.spec)
        inner.completed_event.connect(my_task.task_spec._on_subworkflow_completed, my_task)
        my_task.task_spec.copy_data(my_task, inner)
        hold(inner)


class SubProcess(_EntersFirst, spiff.SubWorkflowTask):
    pass


class CallActivity(_EntersFirst, spiff.CallActivity):
    pass


class Transaction(_EntersFirst, spiff.TransactionSubprocess):
    pass


class BusinessRuleTask(spiff.BusinessRuleTask):
    def _run_hook(self, my_task: Task) -> bool:
        my_task.data.update(self.dmnEngine.result(my_task))
        return True
