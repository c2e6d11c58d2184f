"""The library's parser, with the engine's own classes for what the library executes wrongly."""

from typing import Any

from SpiffWorkflow.bpmn.parser.event_parsers import SIGNAL_EVENT_XPATH, EventBasedGatewayParser
from SpiffWorkflow.bpmn.parser.task_parsers import ConditionalGatewayParser, GatewayParser
from SpiffWorkflow.bpmn.parser.util import full_tag
from SpiffWorkflow.bpmn.parser.ValidationException import ValidationException
from SpiffWorkflow.bpmn.specs import defaults as bpmn
from SpiffWorkflow.spiff.parser import SpiffBpmnParser
from SpiffWorkflow.spiff.parser import event_parsers as events
from SpiffWorkflow.spiff.parser import task_spec as tasks
from SpiffWorkflow.spiff.specs import defaults as spiff

from engine.spiff import joins, multi_instance, specs
from engine.spiff.dmn import DecisionTable
from engine.spiff.events import TIMERS, BoundaryEvent, EndEvent, IntermediateThrowEvent
from engine.spiff.messages import MessageEventDefinition, SignalEventDefinition
from engine.spiff.prepare import BPMN, SPIFF, TIME_TO_LIVE, Node
from engine.spiff.starts import StartEvent


class _Events:
    def parse_timer_event(self, event: Node) -> Any:
        found = super().parse_timer_event(event)  # type: ignore[misc]  # mixed into an event parser
        return TIMERS[type(found)](found.name, found.expression, description=found.description)

    def parse_message_event(self, event: Node) -> Any:
        found = super().parse_message_event(event)  # type: ignore[misc]  # mixed into an event parser
        return MessageEventDefinition.of(found, self._time_to_live(event.get("messageRef")))

    def _time_to_live(self, reference: str | None) -> str:
        path = f"{BPMN}extensionElements/{SPIFF}properties/{SPIFF}property"
        for message in self._root.iterfind(f"{BPMN}message"):
            if message.get("id") == reference:
                for item in message.iterfind(path):
                    if item.get("name") == TIME_TO_LIVE:
                        return str(item.get("value"))
        return ""

    @property
    def _root(self) -> Node:
        node: Node = self.node  # type: ignore[attr-defined]  # mixed into an event parser
        return node.getroottree().getroot()

    def parse_signal_event(self, event: Node) -> Any:
        found = super().parse_signal_event(event)  # type: ignore[misc]  # mixed into an event parser
        return SignalEventDefinition(found.name, expression=found.expression, variable=found.variable)


class StartEventParser(_Events, events.SpiffStartEventParser):
    pass


class EndEventParser(_Events, events.SpiffEndEventParser):
    def get_event_definition(self, xpaths: list[str]) -> Any:
        return super().get_event_definition([*xpaths, SIGNAL_EVENT_XPATH])  # the library forgets this one


class CatchEventParser(_Events, events.SpiffIntermediateCatchEventParser):
    pass


class ThrowEventParser(_Events, events.SpiffIntermediateThrowEventParser):
    pass


class SendTaskParser(_Events, events.SpiffSendTaskParser):
    pass


class ReceiveTaskParser(_Events, events.SpiffReceiveTaskParser):
    pass


class BoundaryEventParser(_Events, events.SpiffBoundaryEventParser):
    pass


class ServiceTaskParser(tasks.ServiceTaskParser):
    def create_task(self) -> Any:
        created = super().create_task()
        operator = self.parse_extensions()["serviceTaskOperator"]
        created.result_variable = operator["resultVariable"] or ""
        return created


class BusinessRuleTaskParser(tasks.BusinessRuleTaskParser):
    def create_task(self) -> Any:
        reference = (self.get_decision_ref(self.node) or "").strip()
        engine = self.process_parser.parser.get_engine(reference, self.node)
        return specs.BusinessRuleTask(self.spec, self.bpmn_id, dmnEngine=engine, **self.bpmn_attributes)


# The library takes these from the parser class of every task; there is no other place to say it.
tasks.SpiffTaskParser.PARALLEL_MI_CLASS = multi_instance.ParallelMultiInstanceTask
tasks.SpiffTaskParser.SEQUENTIAL_MI_CLASS = multi_instance.SequentialMultiInstanceTask
tasks.SpiffTaskParser.STANDARD_LOOP_CLASS = multi_instance.StandardLoopTask


class Parser(SpiffBpmnParser):
    """Takes prepared documents; keeps them alive, because the library indexes them by their address."""

    OVERRIDE_PARSER_CLASSES = {  # noqa: RUF012 - the library's way to configure it
        **SpiffBpmnParser.OVERRIDE_PARSER_CLASSES,
        full_tag("exclusiveGateway"): (ConditionalGatewayParser, joins.ExclusiveGateway),
        full_tag("inclusiveGateway"): (ConditionalGatewayParser, joins.InclusiveGateway),
        full_tag("parallelGateway"): (GatewayParser, joins.ParallelGateway),
        full_tag("eventBasedGateway"): (EventBasedGatewayParser, joins.EventBasedGateway),
        full_tag("serviceTask"): (ServiceTaskParser, specs.ServiceTask),
        full_tag("subProcess"): (tasks.SubWorkflowParser, specs.SubProcess),
        full_tag("transaction"): (tasks.SubWorkflowParser, specs.Transaction),
        full_tag("callActivity"): (tasks.CallActivityParser, specs.CallActivity),
        full_tag("businessRuleTask"): (BusinessRuleTaskParser, specs.BusinessRuleTask),
        full_tag("startEvent"): (StartEventParser, StartEvent),
        full_tag("endEvent"): (EndEventParser, EndEvent),
        full_tag("boundaryEvent"): (BoundaryEventParser, BoundaryEvent),
        full_tag("intermediateCatchEvent"): (CatchEventParser, bpmn.IntermediateCatchEvent),
        full_tag("intermediateThrowEvent"): (ThrowEventParser, IntermediateThrowEvent),
        full_tag("sendTask"): (SendTaskParser, spiff.SendTask),
        full_tag("receiveTask"): (ReceiveTaskParser, spiff.ReceiveTask),
    }

    def __init__(self, decisions: dict[str, DecisionTable]) -> None:
        super().__init__()
        self.decisions = decisions
        self._documents: list[Node] = []

    def add_document(self, root: Node, file: str) -> None:
        self._documents.append(root)
        self.add_bpmn_xml(root, file)

    def get_engine(self, decision_ref: str, node: Node) -> DecisionTable:
        """The library's own engine of decision tables has a path of its own to Python's eval."""
        try:
            return self.decisions[decision_ref]
        except KeyError:
            raise ValidationException(f"there is no decision {decision_ref}", node=node, file_name="") from None
