"""The XML before it is parsed: what the library does not execute is spelled in what it does.

Elements that are added have ids with a suffix of `SUFFIXES`; no diagram may use these. Everything a diagram contains
keeps its id, so that what happens can be told in the words of the diagram.
"""

import copy
import re
from typing import Any

from lxml import etree

Node = Any
"""An lxml element; lxml's stubs would ask at every step whether the id and the parent exist."""

BPMN = "{http://www.omg.org/spec/BPMN/20100524/MODEL}"
SPIFF = "{http://spiffworkflow.org/bpmn/schema/1.0/core}"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"

TIME_TO_LIVE = "timeToLive"
"""The property of a message that says how long it waits for its receiver."""

SPLIT, BODY, HANDLER, START, END, PRE, POST = "__split", "__body", "__event", "__start", "__end", "__pre", "__post"
SUFFIXES = (SPLIT, BODY, HANDLER, START, END, PRE, POST)

_PERIOD = r"P[\dYMWDTHS.,]+"
_DATE = r"\d{4}-?\d\d-?\d\d[\dT:.Z+-]*"
_ISO_TIME = re.compile(rf"(?:R\d*/)?(?:{_PERIOD}|{_DATE})(?:/(?:{_PERIOD}|{_DATE}))?")

ACTIVITIES = {
    f"{BPMN}{name}"
    for name in (
        "userTask",
        "manualTask",
        "scriptTask",
        "serviceTask",
        "sendTask",
        "receiveTask",
        "businessRuleTask",
        "callActivity",
        "subProcess",
        "transaction",
        "intermediateCatchEvent",
        "intermediateThrowEvent",
        "boundaryEvent",
    )
}
_STAYS_OUTSIDE = {
    f"{BPMN}{name}"
    for name in (
        "laneSet",
        "documentation",
        "extensionElements",
        "ioSpecification",
        "dataObject",
        "dataObjectReference",
        "property",
        "incoming",
        "outgoing",
        "multiInstanceLoopCharacteristics",
        "standardLoopCharacteristics",
    )
}


def prepare(root: Node) -> Node:
    """A copy of a BPMN document in which bare ISO times, links, scripts around tasks, flows that leave an activity
    together or on a condition, and event sub-processes are spelled as the library executes them."""
    root = copy.deepcopy(root)
    etree.strip_elements(root, etree.Comment, etree.ProcessingInstruction, with_tail=False)  # the library stumbles
    for store in list(root.iter(BPMN + "dataStore", BPMN + "dataStoreReference")):
        store.getparent().remove(store)  # a drawing; the library wants a class of that name
    for text in root.iter(BPMN + "timeDate", BPMN + "timeDuration", BPMN + "timeCycle"):
        bare = (text.text or "").strip()
        text.text = repr(bare) if _ISO_TIME.fullmatch(bare) else text.text
    for parameter in root.iter(SPIFF + "parameter"):
        parameter.set("type", parameter.get("type", "any"))  # the library insists on it and never reads it
    for item in root.iter(SPIFF + "property"):
        item.set("value", item.get("value", ""))
    _name_correlations(root)
    for process in root.iter(BPMN + "process"):
        _spell_subscriptions(process, root)
    scopes = list(root.iter(BPMN + "process", BPMN + "subProcess", BPMN + "transaction"))
    for scope in reversed(scopes):  # inner scopes first
        _join_links(scope)
        _draw_scripts(scope)
        _split_after_activities(scope)
        _wrap_event_subprocesses(scope)
    return root


def _name_correlations(root: Node) -> None:
    """Keys and properties go by their names, which two files can share; tools give every file ids of its own."""
    names = {item.get("id"): item.get("name") or item.get("id") for item in root.iter(BPMN + "correlationProperty")}
    for item in root.iter(BPMN + "correlationProperty"):
        item.set("id", names[item.get("id")])
    for key in root.iter(BPMN + "correlationKey"):
        key.set("name", key.get("name") or key.get("id") or "")
    for reference in root.iter(BPMN + "correlationPropertyRef", SPIFF + "propertyId"):
        text = (reference.text or "").strip()
        reference.text = names.get(text, text)
    for binding in root.iter(BPMN + "correlationPropertyBinding"):
        reference = binding.get("correlationPropertyRef")
        binding.set("correlationPropertyRef", names.get(reference, reference) or "")
    for retrieval in root.iter(BPMN + "correlationPropertyRetrievalExpression"):  # the library reads its first child
        for child in [
            child for child in retrieval if child.tag in (BPMN + "documentation", BPMN + "extensionElements")
        ]:
            retrieval.remove(child)


def _spell_subscriptions(process: Node, root: Node) -> None:
    """A correlationSubscription stands at each event that catches a correlated message, where the library reads it."""
    retrieved: dict[str, set[str]] = {}
    for item in root.iter(BPMN + "correlationProperty"):
        for retrieval in item.iterfind(BPMN + "correlationPropertyRetrievalExpression"):
            retrieved.setdefault(retrieval.get("messageRef") or "", set()).add(item.get("id"))
    for subscription in process.findall(BPMN + "correlationSubscription"):
        process.remove(subscription)
        paths = {
            binding.get("correlationPropertyRef"): binding.findtext(BPMN + "dataPath") or ""
            for binding in subscription.iterfind(BPMN + "correlationPropertyBinding")
        }
        for event in process.iter(BPMN + "messageEventDefinition", BPMN + "receiveTask"):
            if event.getparent() in process.findall(BPMN + "startEvent"):
                continue
            for name in sorted(retrieved.get(event.get("messageRef") or "", set()) & paths.keys()):
                extensions = event.find(BPMN + "extensionElements")
                if extensions is None:
                    extensions = etree.Element(BPMN + "extensionElements")
                    event.insert(0, extensions)
                spelled = etree.SubElement(extensions, SPIFF + "processVariableCorrelation")
                etree.SubElement(spelled, SPIFF + "propertyId").text = name
                etree.SubElement(spelled, SPIFF + "expression").text = paths[name]


def _flow(scope: Node, source: str, target: str) -> None:
    etree.SubElement(scope, BPMN + "sequenceFlow", id=f"{source}__{target}", sourceRef=source, targetRef=target)


def _join_links(scope: Node) -> None:
    """A link throw event continues at the link catch event of that name: draw the flow."""
    throws: dict[str, list[Node]] = {}
    catches: dict[str, list[Node]] = {}
    for link in scope.findall(f"{BPMN}*/{BPMN}linkEventDefinition"):
        event = link.getparent()
        ends = throws if event.tag == BPMN + "intermediateThrowEvent" else catches
        ends.setdefault(link.get("name") or event.get("name") or "", []).append(event)
        event.remove(link)
    for name, sources in throws.items():
        for source in sources:
            for target in catches.get(name, []):
                _flow(scope, source.get("id"), target.get("id"))
    for targets in catches.values():
        for target in targets:
            target.tag = BPMN + "intermediateThrowEvent"


def _draw_scripts(scope: Node) -> None:
    """A script before or after a task becomes a script task of its own: it can fail and be retried like one."""
    for node in [child for child in scope if child.tag in ACTIVITIES]:
        name = node.get("id")
        for tag, suffix in (("preScript", PRE), ("postScript", POST)):
            script = node.find(f"{BPMN}extensionElements/{SPIFF}{tag}")
            if script is None:
                continue
            script.getparent().remove(script)
            if not (script.text or "").strip():
                continue
            added = etree.SubElement(scope, BPMN + "scriptTask", id=name + suffix)
            etree.SubElement(added, BPMN + "script").text = script.text
            near = "targetRef" if suffix == PRE else "sourceRef"
            for flow in scope.findall(BPMN + "sequenceFlow"):
                if flow.get(near) == name:
                    flow.set(near, name + suffix)
            if suffix == POST and node.get("default"):
                added.set("default", node.attrib.pop("default"))
            _flow(scope, *((name + PRE, name) if suffix == PRE else (name, name + POST)))


def _split_after_activities(scope: Node) -> None:
    """Several or conditional flows that leave an activity: the gateway that BPMN implies becomes visible."""
    flows: dict[str, list[Node]] = {}
    for flow in scope.findall(BPMN + "sequenceFlow"):
        flows.setdefault(flow.get("sourceRef"), []).append(flow)
    for node in [child for child in scope if child.tag in ACTIVITIES]:
        name, default = node.get("id"), node.get("default")
        leaving = flows.get(name, [])
        conditional = any(flow.find(BPMN + "conditionExpression") is not None for flow in leaving)
        if len(leaving) < 2 and not conditional:
            continue
        kind = "inclusiveGateway" if conditional else "parallelGateway"
        gateway = etree.SubElement(scope, BPMN + kind, id=name + SPLIT)
        if conditional and default:
            gateway.set("default", default)
        for flow in leaving:
            flow.set("sourceRef", name + SPLIT)
            unconditional = flow.find(BPMN + "conditionExpression") is None
            if conditional and flow.get("id") != default and unconditional:
                etree.SubElement(flow, BPMN + "conditionExpression").text = "True"
        node.attrib.pop("default", None)
        _flow(scope, name, name + SPLIT)


def _wrap_event_subprocesses(scope: Node) -> None:
    """An event sub-process of a scope is a boundary event around the rest of that scope, leading to a handler."""
    handlers = [child for child in scope.findall(BPMN + "subProcess") if child.get("triggeredByEvent") == "true"]
    if not handlers:
        return
    name = scope.get("id")
    rest = [child for child in scope if child.tag not in _STAYS_OUTSIDE and child not in handlers]
    body: Node = etree.SubElement(scope, BPMN + "subProcess", id=name + BODY)
    body.extend(rest)
    start = etree.SubElement(scope, BPMN + "startEvent", id=name + START)
    inner = body.find(BPMN + "startEvent")
    start.extend([child for child in inner if child.tag.endswith("EventDefinition")])
    etree.SubElement(scope, BPMN + "endEvent", id=name + END)
    _flow(scope, name + START, name + BODY)
    _flow(scope, name + BODY, name + END)
    for handler in handlers:
        del handler.attrib["triggeredByEvent"]
        trigger = handler.find(BPMN + "startEvent")
        event: Node = etree.SubElement(
            scope,
            BPMN + "boundaryEvent",
            id=handler.get("id") + HANDLER,
            attachedToRef=name + BODY,
            cancelActivity=trigger.get("isInterrupting", "true"),
        )
        event.extend([child for child in trigger if child.tag.endswith("EventDefinition")])
        end: Node = etree.SubElement(scope, BPMN + "endEvent", id=handler.get("id") + END)
        _flow(scope, event.get("id"), handler.get("id"))
        _flow(scope, handler.get("id"), end.get("id"))
