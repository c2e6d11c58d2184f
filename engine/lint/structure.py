"""The graph: ids, scopes, sequence flows, what is reachable. BPMN 2.0, chapters 8.4.13, 10.3, 10.6."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from engine.errors import N_, Sentence
from engine.lint.report import ACTIVITIES, BPMN, GATEWAYS, NODES, SCOPES, Report, is_handler, kind, text_of
from engine.lint.vocabulary import INSTEAD
from engine.lint.xml import Node

_REFUSED_NODES = frozenset({
    "task", "adHocSubProcess", "complexGateway", "implicitThrowEvent", "choreographyTask", "subChoreography",
    "callChoreography",
})  # fmt: skip
"""Said by engine.lint.standard; flows may still lead to them."""
_RESERVED = re.compile(
    r".*(__split|__body|__event|__start|__end|__pre|__post|\.BoundaryEvent(Split|Join)|\.EndJoin| \[child\])"
    r"|Start|End|StartEvent(Split|Join)"
)
_ID = re.compile(r"[^\W\d][\w.-]{0,99}")
LONGEST_NAME = 200
"""Inboxes, diagrams and forms show names; and the tables that hold them end there."""


def check_identifiers(root: Node, report: Report) -> None:
    counts = Counter(node.get("id") for node in root.iter(f"{BPMN}*") if node.get("id"))
    for node in root.iter(f"{BPMN}*"):
        if len(node.get("name") or "") > LONGEST_NAME:
            told = N_("a name has at most %(limit)s characters: the rest belongs into the documentation")
            report.error(node, "long-name", told, limit=LONGEST_NAME)
        name = node.get("id")
        if name is None:
            continue
        if counts[name] > 1:
            told = N_("%(count)s elements have the id %(name)s")
            report.error(node, "duplicate-id", told, count=counts[name], name=name)
        if not _ID.fullmatch(name):
            told = N_("an id is letters, digits, underscore, point and hyphen, at most 100")
            report.error(node, "bad-id", told)


def check_process(process: Node, report: Report) -> None:
    for scope in process.iter(*(BPMN + name for name in sorted(SCOPES))):
        _check_scope(scope, report)
    _check_lanes(process, report)


def _check_scope(scope: Node, report: Report) -> None:
    nodes: dict[str, Node] = {}
    for child in scope:
        name = kind(child)
        if name in NODES:
            if not child.get("id"):
                report.error(child, "no-id", N_("%(kind)s without id"), kind=Sentence(name))
            elif _RESERVED.fullmatch(child.get("id")):
                told = N_("the id %(name)s is used by the engine itself")
                report.error(child, "reserved-id", told, name=child.get("id"))
        elif name == "task":
            report.error(child, "abstract-task", INSTEAD["task"])
        elif name not in _REFUSED_NODES:
            continue
        if child.get("id"):
            nodes[child.get("id")] = child
    _check_ends(scope, nodes, report)
    flows: dict[str, list[Node]] = {}
    for flow in scope.findall(BPMN + "sequenceFlow"):
        flows.setdefault(flow.get("sourceRef") or "", []).append(flow)
        for end in ("sourceRef", "targetRef"):
            if flow.get(end) not in nodes:
                told = N_("%(end)s %(name)s is not in the same process or sub-process")
                report.error(flow, "dangling-flow", told, end=end, name=flow.get(end))
    _check_links(nodes, report)
    _check_reachable(nodes, flows, report)
    for identity, node in nodes.items():
        _check_leaving(node, flows.get(identity, []), nodes, report)


def _check_ends(scope: Node, nodes: Mapping[str, Node], report: Report) -> None:
    starts = sum(kind(node) == "startEvent" for node in nodes.values())
    handlers = any(is_handler(node) for node in nodes.values())
    only_one = kind(scope) != "process" or handlers
    if starts < 1 or (only_one and starts != 1):
        told = N_("there are %(count)s start events; at least one is needed")
        if only_one:
            told = N_("there are %(count)s start events; exactly one is needed")
        report.error(scope, "start-event", told, count=starts)
    if not any(kind(node) == "endEvent" for node in nodes.values()):
        report.error(scope, "end-event", N_("there is no end event"))


def _link_name(node: Node) -> str | None:
    link = node.find(BPMN + "linkEventDefinition")
    return None if link is None else link.get("name") or node.get("name") or ""


def _links(nodes: Mapping[str, Node]) -> dict[str, tuple[list[str], list[str]]]:
    """The throwing and the catching events of every link name."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for identity, node in nodes.items():
        name = _link_name(node)
        if name is not None:
            throws, catches = found.setdefault(name, ([], []))
            (throws if kind(node) == "intermediateThrowEvent" else catches).append(identity)
    return found


def _check_links(nodes: Mapping[str, Node], report: Report) -> None:
    for name, (throws, catches) in _links(nodes).items():
        if not name or not throws or len(catches) != 1:
            for identity in throws + catches:
                told = N_("the link “%(name)s” needs a name, at least one throwing and exactly one catching event")
                report.error(nodes[identity], "link", told, name=name)


def _check_reachable(nodes: Mapping[str, Node], flows: Mapping[str, Sequence[Node]], report: Report) -> None:
    """The library does not even parse what no path leads to, and waits for ever where no path leads on."""
    follow = {name: [flow.get("targetRef") or "" for flow in flows.get(name, [])] for name in nodes}
    for name, node in nodes.items():
        if node.get("attachedToRef") in follow:
            follow[node.get("attachedToRef")].append(name)
    for throws, catches in _links(nodes).values():
        for name in throws:
            follow[name] += catches
    starts = [name for name, node in nodes.items() if kind(node) == "startEvent" or is_handler(node)]
    if not starts:
        return  # said already: there is no start event
    seen = _reached(starts, follow)
    for name, node in nodes.items():
        goes_on = flows.get(name) or (_link_name(node) is not None and kind(node) == "intermediateThrowEvent")
        if name not in seen:
            report.error(node, "unreachable", N_("no path from a start event leads here"))
        elif not goes_on and kind(node) != "endEvent" and not is_handler(node):
            report.error(node, "dead-end", N_("no flow leads on from here"))
        elif kind(node) == "parallelGateway":
            before = _reached(starts, {**follow, name: []})
            if any(name in targets and source not in before for source, targets in follow.items() if source in seen):
                told = N_(
                    "a flow comes back from behind this join, which waits for it: draw an exclusive gateway before"
                )
                report.error(node, "deadlock", told)


def _reached(starts: Sequence[str], follow: Mapping[str, Sequence[str]]) -> set[str]:
    seen: set[str] = set()
    pending = list(starts)
    while pending:
        name = pending.pop()
        if name in follow and name not in seen:
            seen.add(name)
            pending += follow[name]
    return seen


def _check_leaving(node: Node, flows: Sequence[Node], nodes: Mapping[str, Node], report: Report) -> None:
    name, default = kind(node), node.get("default")
    decides = name in ("exclusiveGateway", "inclusiveGateway")
    if name == "endEvent" and flows:
        report.error(node, "end-event", N_("no flow leads on from an end event"))
    if default and default not in [flow.get("id") for flow in flows]:
        report.error(node, "default-flow", N_("the default flow %(name)s does not leave this element"), name=default)
    for flow in flows:
        condition = flow.find(BPMN + "conditionExpression")
        is_default = bool(default) and flow.get("id") == default
        if condition is not None and (is_default or not (decides or name in ACTIVITIES)):
            told = N_("a condition on this flow of a %(kind)s is never read")
            report.error(flow, "ignored-condition", told, kind=Sentence(name))
        if condition is None and decides and len(flows) > 1 and not is_default:
            report.error(flow, "no-condition", N_("a flow without condition must be the default flow"))
        if flow.get("targetRef") in nodes and kind(nodes[flow.get("targetRef")]) in ("startEvent", "boundaryEvent"):
            report.error(flow, "dangling-flow", N_("no flow leads into a start event or boundary event"))
        if flow.get("targetRef") in nodes and is_handler(nodes[flow.get("targetRef")]):
            report.error(flow, "event-sub-process", N_("no flow leads into an event sub-process"))
    if is_handler(node) and flows:
        report.error(node, "event-sub-process", N_("no flow leads on from an event sub-process"))
    if decides and len(flows) > 1 and not default:
        report.error(node, "no-default-flow", N_("without a default flow the process stops when no condition holds"))
    for target, count in Counter(flow.get("targetRef") for flow in flows).items():
        joins = target in nodes and kind(nodes[target]) in GATEWAYS
        if count > 1 and (joins or decides):
            told = N_("%(count)s flows lead from here to %(target)s: a join cannot tell them apart")
            report.error(node, "double-flow", told, count=count, target=target)
    if name == "eventBasedGateway":
        _check_event_gateway(node, flows, nodes, report)


def _check_event_gateway(node: Node, flows: Sequence[Node], nodes: Mapping[str, Node], report: Report) -> None:
    targets = [nodes[flow.get("targetRef")] for flow in flows if flow.get("targetRef") in nodes]
    if any(kind(target) not in ("intermediateCatchEvent", "receiveTask") for target in targets):
        report.error(node, "event-gateway", N_("an event-based gateway leads to catching events or receive tasks only"))
    if sum(target.find(BPMN + "timerEventDefinition") is not None for target in targets) > 1:
        report.error(node, "event-gateway", N_("an event-based gateway waits for one timer at most"))
    if len(targets) < 2:
        report.error(node, "event-gateway", N_("an event-based gateway chooses between at least two events"))


def _check_lanes(process: Node, report: Report) -> None:
    nodes = {node.get("id"): node for node in process.iter(f"{BPMN}*") if kind(node) in NODES | {"task"}}
    owners: dict[str, str] = {}
    for lane in process.iter(BPMN + "lane"):
        for reference in lane.findall(BPMN + "flowNodeRef"):
            name = (reference.text or "").strip()
            if name not in nodes:
                told = N_("the lane names %(name)s, which does not exist")
                report.error(reference, "dangling-reference", told, name=name)
            elif name in owners and lane.find(f"{BPMN}childLaneSet") is None and not _inside(lane, owners[name]):
                told = N_("%(name)s is in the lanes %(first)s and %(second)s")
                report.error(reference, "two-lanes", told, name=name, first=owners[name], second=lane.get("id"))
            else:
                owners[name] = lane.get("id") or ""


def _inside(lane: Node, outer: str) -> bool:
    return any(around.get("id") == outer for around in lane.iterancestors(BPMN + "lane"))


def lanes_of(process: Node) -> dict[str, str]:
    """The id of the innermost lane of every node that a lane names."""
    found: dict[str, str] = {}
    for lane in process.iter(BPMN + "lane"):  # in document order, nested lanes come after those around them
        for reference in lane.findall(BPMN + "flowNodeRef"):
            found[(reference.text or "").strip()] = lane.get("id") or ""
    return found


def calls(process: Node) -> Iterator[str]:
    """The processes that a process calls."""
    for activity in process.iter(BPMN + "callActivity"):
        if activity.get("calledElement"):
            yield activity.get("calledElement")


def decision_of(node: Node) -> str:
    return text_of(node, f"{BPMN}extensionElements/{{*}}calledDecisionId")
