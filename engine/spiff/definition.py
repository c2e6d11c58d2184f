"""A deployed process, compiled once and shared by all its instances and threads."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lxml import etree
from SpiffWorkflow.bpmn.parser.ValidationException import ValidationException
from SpiffWorkflow.bpmn.specs.control import BoundaryEvent
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine import expressions
from engine.errors import N_, DefinitionError, Problem, Sentence
from engine.spiff import dmn
from engine.spiff.elements import read_elements
from engine.spiff.messages import MessageEventDefinition, definitions
from engine.spiff.model import ElementInfo, RefusedInputError
from engine.spiff.parsing import Parser
from engine.spiff.prepare import BPMN, SUFFIXES, Node, prepare
from engine.spiff.refusals import refusals
from engine.spiff.starts import StartEvent, Trigger, only_plain_starts, separate_starts, trigger_of
from engine.spiff.step import MOVED

CHILD = " [child]"
"""What the library appends to the name of a loop's instances."""


class CompiledDefinition:
    """What the kernel needs to run a process. Nothing changes it after it is built.

    `elements` are those of the original diagrams: of the process itself and of the processes that it calls.
    """

    def __init__(
        self, process_id: str, spec: Any, subprocesses: dict[str, Any], elements: dict[str, ElementInfo]
    ) -> None:
        self.process_id = process_id
        self.spec = spec
        self.subprocesses = subprocesses
        self.elements = elements
        self._flows = {(flow.source, flow.target): flow.id for flow in elements.values() if flow.type == "sequenceFlow"}
        self._messages: dict[str, list[MessageEventDefinition]] = {}
        for part in (spec, *subprocesses.values()):
            _connect_loops(part)
            separate_starts(part)
            self._collect_messages(part)
        for part in subprocesses.values():
            only_plain_starts(part)
        self._starts = {self._start_element(start): start for start in spec.start.outputs}

    def _collect_messages(self, part: Any) -> None:
        for task_spec in part.task_specs.values():
            for definition in definitions(getattr(task_spec, "trigger", getattr(task_spec, "event_definition", None))):
                if isinstance(definition, MessageEventDefinition):
                    self._messages.setdefault(definition.name, []).append(definition)

    def _start_element(self, start: StartEvent) -> str:
        """A process with event sub-processes starts at an event that the kernel has added, for its only one."""
        if start.name in self.elements:
            return start.name
        return next(
            found.id
            for found in self.elements.values()
            if found.type == "startEvent" and found.scope == self.process_id
        )

    @property
    def triggers(self) -> list[Trigger]:
        """What starts the process from outside, in the order of the diagram."""
        found = (trigger_of(spec, element) for element, spec in self._starts.items())
        return [trigger for trigger in found if trigger is not None]

    def start_event(self, element: str | None, payload: Any) -> StartEvent | None:
        """The start event at which an instance begins; None: at the one that waits for nothing.

        Raises:
            RefusedInputError: there is no such start event, or it is for a message with other contents.
        """
        if element is None:
            if not any(spec.is_plain for spec in self._starts.values()):
                raise RefusedInputError(N_("This process starts by an event of its own; nobody can start it by hand."))
            return None
        spec = self._starts.get(element)
        if spec is None or spec.is_plain:
            raise RefusedInputError(N_("%(element)s is no event that starts this process."), element=element[:60])
        if isinstance(spec.trigger, MessageEventDefinition) and not spec.trigger.carried(payload):
            raise RefusedInputError(N_("The message lacks what the process compares to find its receiver."))
        return spec

    def carried(self, name: str, payload: Any, at: datetime) -> set[str]:
        """What a message of this name carries for receivers of this process: the correlations that it matches.

        Empty when it lacks what they compare, or when nobody here knows the name.
        """
        with expressions.at(at):
            return set().union(*(message.carried(payload) for message in self._messages.get(name, ())))

    def element_of(self, task: Task) -> str | None:
        """The element of the diagram that a task stands for; None when the kernel has added it."""
        name = task.task_spec.name.removesuffix(CHILD)
        return name if name in self.elements else None

    def nearest_element(self, task: Task) -> str:
        """As `element_of`; a script before or after a task counts as that task."""
        name: str = task.task_spec.name.removesuffix(CHILD)
        for suffix in SUFFIXES:
            if name not in self.elements:
                name = name.removesuffix(suffix)
        return name

    def way_into(self, task: Task) -> tuple[str, ...]:
        """By which elements the token came that is now at `task`: its sequence flow, where that is known.

        A boundary event that goes on waiting for its next cycle never completes; it stands before the flow.
        """
        target = self.element_of(task)
        before = task.parent
        if target is None or before is None or isinstance(before.task_spec, LoopTask) or MOVED in task.internal_data:
            return ()
        source = None
        cycles = isinstance(before.task_spec, BoundaryEvent) and before.state == TaskState.WAITING
        while before is not None and source is None:
            source = self.element_of(before)
            if source is None and MOVED in before.internal_data:
                return ()
            before = before.parent
        flow = self._flows.get((source or "", target))
        return () if flow is None or source is None else (source, flow) if cycles else (flow,)


def _connect_loops(spec: Any) -> None:
    """The library connects a loop to its instances when it first runs; a restored one on a fresh spec would hang."""
    for task_spec in list(spec.task_specs.values()):
        if isinstance(task_spec, LoopTask):
            child = spec.task_specs[task_spec.task_spec]
            if not child.completed_event.is_connected(task_spec.merge_child):
                child.completed_event.connect(task_spec.merge_child)


def compile_definition(files: Mapping[str, str], process_id: str) -> CompiledDefinition:
    """Compile the process `process_id` of a deployment (name to text of all its *.bpmn and *.dmn files).

    Raises:
        DefinitionError: it does not parse, or holds something that the kernel would not execute as drawn.
    """
    problems: list[Problem] = []
    documents: dict[str, Node] = {}
    decisions: dict[str, dmn.DecisionTable] = {}
    for name in sorted(files):
        if not name.endswith((".bpmn", ".dmn")):
            continue
        root = _read(files[name], name, problems)
        if root is None:
            continue
        if name.endswith(".dmn"):
            tables, found = dmn.parse(root, name)
            problems += found
            decisions |= tables
        else:
            documents[name] = root
    processes = {
        process.get("id"): (process, name)
        for name, root in documents.items()
        for process in root.iter(BPMN + "process")
        if process.get("id")
    }
    reachable = _reachable(process_id, processes)
    problems += refusals(process_id, processes, reachable)
    if problems:
        raise DefinitionError(sorted(problems))
    parser = Parser(decisions)
    try:
        for name in sorted({processes[called][1] for called in reachable}):
            parser.add_document(prepare(documents[name]), name)
        spec = parser.get_spec(process_id)
        subprocesses = parser.get_subprocess_specs(process_id)
    except ValidationException as error:
        raise DefinitionError([_problem(error, documents, processes[process_id][1])]) from error
    elements: dict[str, ElementInfo] = {}
    for called in reachable:
        process, name = processes[called]
        elements = read_elements(process, name) | elements
    return CompiledDefinition(process_id, spec, subprocesses, elements)


def _read(text: str, name: str, problems: list[Problem]) -> Node | None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        told = Sentence(N_("not well-formed XML: %(error)s"), {"error": str(error)})
        problems.append(Problem(name, getattr(error, "lineno", 0) or 0, "", "not-xml", told))
        return None
    if root.getroottree().docinfo.internalDTD is not None:
        told = Sentence(N_("a document type declaration (and so any entity) is not allowed"))
        problems.append(Problem(name, 1, "", "dtd", told))
        return None
    return root


def _reachable(process_id: str, processes: Mapping[str, tuple[Node, str]]) -> list[str]:
    """The process and all that it calls, itself first."""
    found: list[str] = []
    pending = [process_id]
    while pending:
        name = pending.pop(0)
        if name in processes and name not in found:
            found.append(name)
            pending += [call.get("calledElement") or "" for call in processes[name][0].iter(BPMN + "callActivity")]
    return found


def _problem(error: ValidationException, documents: Mapping[str, Node], file: str) -> Problem:
    """The library's errors carry no line: look the element up in the original."""
    element = error.id or ""
    told = Sentence(N_("the engine cannot execute this: %(error)s"), {"error": str(error)})
    for name, root in documents.items():
        for node in root.iter(f"{BPMN}*"):
            if element and node.get("id") == element:
                return Problem(name, node.sourceline or 0, element, "not-executable", told)
    return Problem(file, 0, element, "not-executable", told)
