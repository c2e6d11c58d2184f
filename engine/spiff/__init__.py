"""The deterministic kernel: executes BPMN with SpiffWorkflow, whose traps it repairs or refuses. Pure, no database.

The only package that imports SpiffWorkflow. DESIGN, "The one idea": given the deployed diagrams and the inputs,
re-execution leads to the same state, step by step.
"""

from engine.spiff.definition import CompiledDefinition, compile_definition
from engine.spiff.execution import Execution
from engine.spiff.inputs import WHILE_SUSPENDED
from engine.spiff.migrating import REFUSALS, WARNINGS, Fit, called, differing
from engine.spiff.model import (
    ElementInfo,
    Input,
    JobRequest,
    Lookup,
    OpenedTask,
    RefusedInputError,
    StepResult,
    Subscription,
    Thrown,
)
from engine.spiff.patches import install
from engine.spiff.prepare import TIME_TO_LIVE
from engine.spiff.starts import Trigger, following
from engine.spiff.step import replaying

install()

__all__ = [
    "REFUSALS",
    "TIME_TO_LIVE",
    "WARNINGS",
    "WHILE_SUSPENDED",
    "CompiledDefinition",
    "ElementInfo",
    "Execution",
    "Fit",
    "Input",
    "JobRequest",
    "Lookup",
    "OpenedTask",
    "RefusedInputError",
    "StepResult",
    "Subscription",
    "Thrown",
    "Trigger",
    "called",
    "compile_definition",
    "differing",
    "following",
    "replaying",
]
