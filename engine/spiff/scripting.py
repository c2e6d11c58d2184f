"""The library's script engine, replaced: every expression and script goes to the safe evaluator, none to Python's."""

from collections.abc import Mapping
from typing import Any

from SpiffWorkflow.task import Task

from engine import expressions
from engine.errors import N_, ExpressionError


class ScriptEngine:
    """What the library calls; a task's own data goes before the data objects of its process."""

    @property
    def environment(self) -> "ScriptEngine._Environment":
        return ScriptEngine._Environment()

    def evaluate(self, task: Task, expression: str, external_context: Mapping[str, Any] | None = None) -> Any:
        """Raises ExpressionError."""
        return evaluate(expression, {**(external_context or {}), **task.data})

    def execute(self, task: Task, script: str, external_context: Mapping[str, Any] | None = None) -> bool:
        """Run `script` and put what it assigned into the task's data. Raises ExpressionError."""
        names = {**(external_context or {}), **task.data}
        for name, value in expressions.execute(script, names).items():
            task.data[name] = value
        return True

    def call_service(self, task: Task, **_kwargs: Any) -> Any:
        raise ExpressionError(N_("%(element)s is not a service task of this engine."), element=task.task_spec.name)

    class _Environment:
        """The library computes message correlations through this."""

        def evaluate(
            self, expression: str, context: Mapping[str, Any], external_context: Mapping[str, Any] | None = None
        ) -> Any:
            return evaluate(expression, {**(external_context or {}), **context})


def evaluate(expression: str | None, names: Mapping[str, Any]) -> Any:
    """The value of an expression as plain JSON. Raises ExpressionError."""
    return expressions.evaluate((expression or "").strip(), names)


ENGINE = ScriptEngine()
