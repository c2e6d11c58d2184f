"""What the kernel refuses to compile: everything the library would drop, misread or loop on without an error.

The deployment's lint (engine.lint) says the same and more, earlier and for all processes of a file; this is the last
gate before execution.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.errors import N_, Problem, Sentence
from engine.spiff.elements import NODES
from engine.spiff.prepare import BPMN, SPIFF, SUFFIXES, Node

_SCOPES = ("process", "subProcess", "transaction")
_NODES = NODES - {"task"}
_SILENT = frozenset(
    (
        "sequenceFlow",
        "laneSet",
        "documentation",
        "extensionElements",
        "dataObject",
        "dataObjectReference",
        "dataStoreReference",
        "property",
        "ioSpecification",
        "textAnnotation",
        "association",
        "group",
        "incoming",
        "outgoing",
        "monitoring",
        "auditing",
        "category",
        "multiInstanceLoopCharacteristics",
        "standardLoopCharacteristics",
        "dataInputAssociation",
        "dataOutputAssociation",
        "correlationSubscription",
        "supportedInterfaceRef",
        "supports",
        "ioBinding",
    )
)
_DATA_ITEMS = ("inputDataItem", "outputDataItem")
"""Their ids are names of variables; two activities may use the same."""
_RESERVED = re.compile(
    rf".*({'|'.join(SUFFIXES)}|\.BoundaryEvent(Split|Join)|\.EndJoin| \[child\])|Start|End|StartEvent(Split|Join)"
)
_EVENTS: Mapping[str, str] = {
    "startEvent": "message signal timer",
    "endEvent": "message signal error escalation terminate cancel",
    "intermediateCatchEvent": "message signal timer conditional link",
    "intermediateThrowEvent": "message signal escalation link",
    "boundaryEvent": "message signal timer error escalation conditional cancel",
    "handler": "message signal timer error escalation",
}

Found = Iterator[tuple[Node, str, Sentence]]


def refusals(process_id: str, processes: Mapping[str, tuple[Node, str]], reachable: Sequence[str]) -> list[Problem]:
    """Problems of the process and of those that it calls; an empty list means that it may be compiled."""
    if process_id not in processes:
        told = Sentence(N_("there is no process %(process)s"), {"process": process_id})
        return [Problem("", 0, process_id, "missing-process", told)]
    problems = []
    for name in reachable:
        process, file = processes[name]
        for node, rule, told in _process(process, processes):
            owner = next((around for around in (node, *node.iterancestors()) if around.get("id")), node)
            problems.append(Problem(file, node.sourceline or 0, owner.get("id") or "", rule, told))
    if not problems and _calls_itself(process_id, processes):
        told = Sentence(N_("the process calls itself"))
        problems.append(Problem(processes[process_id][1], 0, process_id, "recursive-call", told))
    return problems


def _told(node: Node, rule: str, template: str, **params: Any) -> tuple[Node, str, Sentence]:
    return node, rule, Sentence(template, params)


def _kind(node: Node) -> str:
    return node.tag.removeprefix(BPMN) if isinstance(node.tag, str) and node.tag.startswith(BPMN) else ""


def _process(process: Node, processes: Mapping[str, tuple[Node, str]]) -> Found:
    if process.get("isExecutable") != "true":
        yield _told(process, "not-executable", N_('the process has not isExecutable="true"'))
    ids = Counter(node.get("id") for node in process.iter(f"{BPMN}*") if node.get("id"))
    for node in process.iter(f"{BPMN}*"):
        if ids[node.get("id")] > 1 and _kind(node) not in _DATA_ITEMS:
            told = N_("%(count)s elements have the id %(name)s")
            yield _told(node, "duplicate-id", told, count=ids[node.get("id")], name=node.get("id"))
        if _kind(node) == "callActivity" and node.get("calledElement") not in processes:
            told = N_("the called process “%(called)s” is not in the deployment")
            yield _told(node, "missing-process", told, called=node.get("calledElement"))
        elif _kind(node) == "callActivity" and not _starts_by_itself(processes[node.get("calledElement")][0]):
            told = N_("%(called)s starts by events only: draw a start event without one in it")
            yield _told(node, "called-start", told, called=node.get("calledElement"))
        if _kind(node) in _SCOPES:
            yield from _scope(node)


def _starts_by_itself(process: Node) -> bool:
    starts = process.findall(BPMN + "startEvent")
    waiting = [start for start in starts if any(_kind(child).endswith("EventDefinition") for child in start)]
    return not starts or len(waiting) < len(starts)


def _calls_itself(process_id: str, processes: Mapping[str, tuple[Node, str]]) -> bool:
    def calls(name: str, above: tuple[str, ...]) -> bool:
        if name in above:
            return True
        if name not in processes:
            return False
        found = {call.get("calledElement") or "" for call in processes[name][0].iter(BPMN + "callActivity")}
        return any(calls(called, (*above, name)) for called in sorted(found))

    return calls(process_id, ())


def _scope(scope: Node) -> Found:
    nodes: dict[str, Node] = {}
    for child in scope:
        kind = _kind(child)
        if kind in _NODES:
            if not child.get("id") or _RESERVED.fullmatch(child.get("id")):
                told = N_("the id %(name)s is missing or used by the engine itself")
                yield _told(child, "reserved-id", told, name=child.get("id"))
            nodes[child.get("id")] = child
        elif kind == "task":
            yield _told(child, "abstract-task", N_("say what kind of task this is: user, script, service, …"))
            nodes[child.get("id")] = child
        elif kind and kind not in _SILENT:
            yield _told(child, "unsupported", N_("%(kind)s is not supported"), kind=Sentence(kind))
            nodes[child.get("id")] = child
    starts = [node for node in nodes.values() if _kind(node) == "startEvent"]
    handlers = [node for node in nodes.values() if node.get("triggeredByEvent") == "true"]
    only_one = _kind(scope) != "process" or handlers
    if not starts or (only_one and len(starts) != 1):
        told = N_("there are %(count)s start events; at least one is needed")
        if only_one:
            told = N_("there are %(count)s start events; exactly one is needed")
        yield _told(scope, "start-event", told, count=len(starts))
    if not any(_kind(node) == "endEvent" for node in nodes.values()):
        yield _told(scope, "end-event", N_("there is no end event"))
    flows = scope.findall(BPMN + "sequenceFlow")
    for flow in flows:
        for end in ("sourceRef", "targetRef"):
            if flow.get(end) not in nodes:
                told = N_("%(end)s %(name)s is not in the same process or sub-process")
                yield _told(flow, "dangling-flow", told, end=end, name=flow.get(end))
    yield from _reachability(nodes, flows)
    for node in nodes.values():
        yield from _event(node, scope, nodes)
        yield from _activity(node, scope)
        yield from _leaving(node, [flow for flow in flows if flow.get("sourceRef") == node.get("id")], nodes)


def _reachability(nodes: Mapping[str, Node], flows: Sequence[Node]) -> Found:
    """The library does not even parse what no path leads to."""
    follow: dict[str, list[str]] = {name: [] for name in nodes}
    for flow in flows:
        follow.get(flow.get("sourceRef") or "", []).append(flow.get("targetRef") or "")
    links: dict[str, dict[str, list[str]]] = {}
    for name, node in nodes.items():
        if node.get("attachedToRef") in follow:
            follow[node.get("attachedToRef")].append(name)
        link = node.find(BPMN + "linkEventDefinition")
        if link is not None:
            links.setdefault(link.get("name") or node.get("name") or "", {}).setdefault(_kind(node), []).append(name)
    for link_name, ends in links.items():
        throws, catches = ends.get("intermediateThrowEvent", []), ends.get("intermediateCatchEvent", [])
        if not throws or len(catches) != 1:
            node = nodes[(throws + catches)[0]]
            told = N_("the link “%(name)s” needs a name, at least one throwing and exactly one catching event")
            yield _told(node, "link", told, name=link_name)
        for name in throws:
            follow[name] += catches
    pending = [
        name for name, node in nodes.items() if _kind(node) == "startEvent" or node.get("triggeredByEvent") == "true"
    ]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            pending += follow[name]
    for name, node in nodes.items():
        if name not in seen:
            yield _told(node, "unreachable", N_("no path from a start event leads here"))
        elif not follow[name] and _kind(node) != "endEvent" and node.get("triggeredByEvent") != "true":
            yield _told(node, "dead-end", N_("no flow leads on from here"))


def _event(node: Node, scope: Node, nodes: Mapping[str, Node]) -> Found:
    kind = _kind(node)
    if kind not in _EVENTS:
        return
    definitions = [child for child in node if _kind(child).endswith("EventDefinition")]
    handler = kind == "startEvent" and scope.get("triggeredByEvent") == "true"
    if len(definitions) > 1 or node.find(BPMN + "eventDefinitionRef") is not None:
        yield _told(node, "multiple-event", N_("an event has one definition, written inside it"))
    if not definitions and (handler or kind in ("intermediateCatchEvent", "boundaryEvent")):
        yield _told(node, "no-event-definition", N_("nothing says what this event waits for"))
    if kind == "startEvent" and _kind(scope) != "process" and not handler and definitions:
        yield _told(node, "inner-start-event", N_("a sub-process starts without an event"))
    if kind == "boundaryEvent" and node.get("attachedToRef") not in nodes:
        yield _told(node, "boundary", N_("a boundary event is attached to an activity of the same process"))
    for definition in definitions:
        name = _kind(definition).removesuffix("EventDefinition")
        if name not in _EVENTS["handler" if handler else kind].split():
            yield _told(definition, "unsupported-event", N_("%(event)s is not supported here"), event=Sentence(name))
        if name == "timer" and definition.find(BPMN + "timeCycle") is not None:
            repeats = kind == "boundaryEvent" and node.get("cancelActivity") == "false"
            if handler or not (kind == "startEvent" or repeats):
                yield _told(
                    definition,
                    "timer-cycle",
                    N_("a cycle belongs on a start event or a non-interrupting boundary event"),
                )


def _activity(node: Node, scope: Node) -> Found:
    if node.get("isForCompensation") == "true":
        yield _told(node, "unsupported", N_("compensation is not supported"))
    loop = node.find(BPMN + "multiInstanceLoopCharacteristics")
    if loop is not None:
        given = [(loop.findtext(BPMN + name) or "").strip() for name in ("loopCardinality", "loopDataInputRef")]
        if sum(map(bool, given)) != 1:
            yield _told(loop, "multi-instance", N_("needs exactly one of loopCardinality and loopDataInputRef"))
        if (loop.find(BPMN + "loopDataOutputRef") is None) != (loop.find(BPMN + "outputDataItem") is None):
            yield _told(loop, "multi-instance", N_("loopDataOutputRef and outputDataItem belong together"))
        if not (loop.findtext(BPMN + "loopDataOutputRef") or "x").strip().isidentifier():
            yield _told(loop, "multi-instance", N_("loopDataOutputRef is the name of a variable"))
        if loop.get(SPIFF + "scriptsOnInstances") == "true":
            yield _told(
                loop,
                "unsupported",
                N_("scripts on instances are not supported: put a script task inside a sub-process"),
            )
    if _kind(node) == "serviceTask":
        operator = node.find(f"{BPMN}extensionElements/{SPIFF}serviceTaskOperator")
        if operator is None or not operator.get("id"):
            yield _told(node, "no-operator", N_("a service task names its operator"))
    for association in node.iter(BPMN + "dataInputAssociation", BPMN + "dataOutputAssociation"):
        yield from _association(association, scope)


def _association(association: Node, scope: Node) -> Found:
    """A data object further out than one scope makes the library's parser run for ever."""
    end = "sourceRef" if _kind(association) == "dataInputAssociation" else "targetRef"
    name = (association.findtext(BPMN + end) or "").strip()
    reachable = [scope, scope.getparent()]
    references = {
        reference.get("id"): reference.get("dataObjectRef")
        for around in reachable
        for reference in around.findall(BPMN + "dataObjectReference")
    }
    objects = {item.get("id") for around in reachable for item in around.findall(BPMN + "dataObject")}
    if references.get(name) not in objects:
        told = N_("%(name)s is not a data object of this scope or the one around it")
        yield _told(association, "data", told, name=name)


def _leaving(node: Node, flows: Sequence[Node], nodes: Mapping[str, Node]) -> Found:
    kind = _kind(node)
    for target, count in Counter(flow.get("targetRef") for flow in flows).items():
        joins = _kind(nodes[target]) in ("parallelGateway", "inclusiveGateway") if target in nodes else False
        if count > 1 and (joins or kind in ("exclusiveGateway", "inclusiveGateway")):
            told = N_("%(count)s flows lead from here to %(target)s: a join cannot tell them apart")
            yield _told(node, "double-flow", told, count=count, target=target)
    if kind == "eventBasedGateway":
        targets = [nodes[flow.get("targetRef")] for flow in flows if flow.get("targetRef") in nodes]
        if any(_kind(target) not in ("intermediateCatchEvent", "receiveTask") for target in targets):
            yield _told(
                node, "event-gateway", N_("an event-based gateway leads to catching events or receive tasks only")
            )
        if sum(target.find(BPMN + "timerEventDefinition") is not None for target in targets) > 1:
            yield _told(node, "event-gateway", N_("an event-based gateway waits for one timer at most"))
    for flow in flows:
        conditional = flow.find(BPMN + "conditionExpression") is not None
        default = flow.get("id") == node.get("default")
        if conditional and (default or kind in ("parallelGateway", "eventBasedGateway", "startEvent")):
            yield _told(flow, "ignored-condition", N_("a condition on this flow is never read"))
        if kind in ("exclusiveGateway", "inclusiveGateway") and len(flows) > 1 and not conditional and not default:
            yield _told(flow, "no-condition", N_("a flow without condition must be the default flow"))
