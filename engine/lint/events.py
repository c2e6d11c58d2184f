"""Events: which definitions the engine runs where, what they refer to, timers. BPMN 2.0, 10.5."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from engine.errors import N_, Sentence
from engine.expressions.times import split_duration
from engine.expressions.values import Refusal
from engine.lint.language import check_expression
from engine.lint.report import ACTIVITIES, BPMN, EVENTS, Report, is_handler, kind, text_of
from engine.lint.xml import Node

_ALLOWED: Mapping[str, str] = {
    "startEvent": "message signal timer",
    "endEvent": "message signal error escalation terminate cancel",
    "intermediateCatchEvent": "message signal timer conditional link",
    "intermediateThrowEvent": "message signal escalation link",
    "boundaryEvent": "message signal timer error escalation conditional cancel",
    "event sub-process": "message signal timer error escalation",
}
_REFERENCES: Mapping[str, str] = {
    "messageRef": "message",
    "signalRef": "signal",
    "errorRef": "error",
    "escalationRef": "escalation",
}
_TIMES = ("timeDate", "timeDuration", "timeCycle")
_LOOKS_LITERAL = re.compile(r"R\d*/.*|-?P.*|\d{4}-?\d\d-?\d\d.*", re.DOTALL)


def check_events(process: Node, ids: Mapping[str, Node], report: Report) -> None:
    for node in process.iter(f"{BPMN}*"):
        if kind(node) in EVENTS:
            _check_event(node, ids, report)
        elif kind(node) in ("sendTask", "receiveTask"):
            _check_reference(node, "messageRef", ids, report, required=True)


def _check_event(node: Node, ids: Mapping[str, Node], report: Report) -> None:
    name, scope = kind(node), node.getparent()
    definitions = [child for child in node if kind(child).endswith("EventDefinition")]
    handler = name == "startEvent" and is_handler(scope)
    if len(definitions) > 1 or node.find(BPMN + "eventDefinitionRef") is not None:
        report.error(node, "multiple-event", N_("an event has one definition, written inside it"))
    elif node.get("parallelMultiple") == "true":
        report.error(node, "multiple-event", N_("parallel multiple events are not supported"))
    if not definitions and (handler or name in ("intermediateCatchEvent", "boundaryEvent")):
        report.error(node, "no-event-definition", N_("nothing says what this event waits for"))
    if name == "startEvent" and kind(scope) != "process" and not handler and definitions:
        report.error(node, "inner-start-event", N_("a sub-process starts without an event"))
    place = "event sub-process" if handler else name
    for definition in definitions:
        event = kind(definition).removesuffix("EventDefinition")
        if event not in _ALLOWED[place].split():
            told = N_("%(event)s is not supported on %(place)s")
            if (place, event) == ("startEvent", "conditional"):
                told = N_("%(event)s is not supported on %(place)s; wait for it behind a start event")
            report.error(definition, "unsupported-event", told, event=Sentence(event), place=Sentence(place))
        elif event in ("message", "signal", "error", "escalation"):
            # Catching an error or escalation without a code means catching any.
            optional = event in ("error", "escalation") and name in ("boundaryEvent", "startEvent")
            _check_reference(definition, f"{event}Ref", ids, report, required=not optional)
        elif event == "timer":
            _check_timer(node, definition, report)
        elif event == "conditional":
            condition = definition.find(BPMN + "condition")
            check_expression(
                definition if condition is None else condition, text_of(definition, BPMN + "condition"), report
            )
    if name == "boundaryEvent":
        host = ids.get(node.get("attachedToRef") or "")
        if host is None or kind(host) not in ACTIVITIES or host.getparent() is not scope or is_handler(host):
            report.error(node, "boundary", N_("a boundary event is attached to an activity of the same process"))


def _check_reference(node: Node, attribute: str, ids: Mapping[str, Node], report: Report, *, required: bool) -> None:
    reference, wanted = node.get(attribute), _REFERENCES[attribute]
    if reference is None:
        if required:
            report.error(node, "no-reference", N_("%(reference)s is missing"), reference=attribute)
        return
    target = ids.get(reference)
    if target is None or kind(target) != wanted:
        told = N_("%(reference)s %(name)s does not exist")
        report.error(node, "dangling-reference", told, reference=attribute, name=reference)
    elif wanted in ("error", "escalation") and required and not target.get(f"{wanted}Code"):
        report.error(node, "no-code", N_("%(name)s has no code, so that nobody can catch it by one"), name=reference)
    elif wanted in ("message", "signal") and not target.get("name"):
        report.error(node, "no-name", N_("%(name)s has no name"), name=reference)


def _check_timer(node: Node, definition: Node, report: Report) -> None:
    times = [child for child in definition if kind(child) in _TIMES]
    if len(times) != 1 or not (times[0].text or "").strip():
        report.error(definition, "timer", N_("a timer has exactly one of date, duration, cycle"))
        return
    time, name, text = times[0], kind(times[0]), times[0].text.strip()
    if not _LOOKS_LITERAL.fullmatch(text):
        check_expression(time, text, report)
    elif not _is_literal(name, text):
        told = N_("%(text)s is not an ISO 8601 value for %(name)s")
        report.error(time, "timer", told, text=text[:60], name=name)
    if name == "timeCycle":
        repeats = kind(node) == "boundaryEvent" and node.get("cancelActivity") == "false"
        starts = kind(node) == "startEvent" and not is_handler(node.getparent())
        if not (repeats or starts):
            message = N_("a cycle belongs on a start event or a non-interrupting boundary event")
            report.error(time, "timer-cycle", message)


def _is_literal(name: str, text: str) -> bool:
    if name == "timeDate":
        return _instant(text)
    if name == "timeDuration":
        return _period(text)
    match text.split("/"):
        case [times, period]:
            return re.fullmatch(r"R\d{0,6}", times, re.ASCII) is not None and _period(period)
        case [times, start, end]:
            ordered = (_instant(start) and _period(end)) or (_period(start) and _instant(end))
            return re.fullmatch(r"R\d{0,6}", times, re.ASCII) is not None and ordered
    return False


def _instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text) is not None
    except ValueError:
        return False


def _period(text: str) -> bool:
    try:
        months, rest = split_duration(text)
    except Refusal:
        return False
    return months >= 0 and rest >= timedelta(0) and (months, rest) != (0, timedelta(0))
