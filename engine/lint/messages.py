"""Messages: what starts a process, what a message is compared by, how long it waits. BPMN 2.0, 8.4.2 and 10.5.2."""

from collections.abc import Iterator, Mapping

from engine import calendar
from engine.errors import N_, ExpressionError, Sentence
from engine.lint.report import BPMN, SPIFF, Report, kind, text_of
from engine.lint.xml import Node
from engine.spiff import TIME_TO_LIVE

_CATCHING = frozenset({"intermediateCatchEvent", "boundaryEvent", "receiveTask", "startEvent"})
_THROWING = frozenset({"intermediateThrowEvent", "endEvent", "sendTask"})


# ---- start events


def starts(process: Node, ids: Mapping[str, Node]) -> Iterator[tuple[Node, str, str]]:
    """The start events of a process: each with the kind of its event and the name of its message or signal."""
    for node in process.findall(BPMN + "startEvent"):
        definition = next((child for child in node if kind(child).endswith("EventDefinition")), None)
        event = "" if definition is None else kind(definition).removesuffix("EventDefinition")
        target = ids.get(definition.get(f"{event}Ref") or "") if definition is not None else None
        yield node, event, "" if target is None else target.get("name") or ""


def check_starts(process: Node, ids: Mapping[str, Node], report: Report) -> None:
    """Each start event starts instances of its own, so no two may start by the same."""
    seen: dict[tuple[str, str], str] = {}
    for node, event, name in starts(process, ids):
        if event == "timer" or (event and not name):
            continue  # several times may start a process; a missing name is said elsewhere
        first = seen.setdefault((event, name), node.get("id") or "")
        if first != node.get("id"):
            told = {
                "": N_("draw one start event, and a gateway behind it: so does %(first)s"),
                "message": N_(
                    "the message %(name)s starts this process at %(first)s already:"
                    " draw one start event, and a gateway behind it"
                ),
                "signal": N_(
                    "the signal %(name)s starts this process at %(first)s already:"
                    " draw one start event, and a gateway behind it"
                ),
            }
            report.error(node, "double-start", told[event], name=name, first=first)


# ---- correlation


def check_messages(root: Node, ids: Mapping[str, Node], report: Report) -> None:
    """What stands outside the processes: properties, keys, and how long a message waits."""
    for message in root.findall(BPMN + "message"):
        _check_time_to_live(message, report)
    properties = {node.get("id") or "": node for node in root.iter(BPMN + "correlationProperty")}
    for node in properties.values():
        _check_property(node, ids, report)
    for kinds in (properties.values(), root.iter(BPMN + "correlationKey")):
        names: set[str] = set()
        for node in kinds:
            name = node.get("name") or node.get("id") or ""
            if name in names:
                report.error(
                    node,
                    "correlation",
                    N_("another %(kind)s has the name %(name)s"),
                    kind=Sentence(kind(node)),
                    name=name,
                )
            names.add(name)
    for key in root.iter(BPMN + "correlationKey"):
        _check_key(key, properties, report)


def _check_time_to_live(message: Node, report: Report) -> None:
    for item in message.iterfind(f"{BPMN}extensionElements/{SPIFF}properties/{SPIFF}property"):
        if item.get("name") != TIME_TO_LIVE:
            told = N_("the property %(name)s is not known and has no effect")
            report.warning(item, "unknown-property", told, name=item.get("name"))
            continue
        try:
            calendar.duration(item.get("value") or "")
        except ExpressionError:
            report.error(item, "property", N_("%(name)s is an ISO 8601 duration like PT2H or P1D"), name=TIME_TO_LIVE)


def _check_property(node: Node, ids: Mapping[str, Node], report: Report) -> None:
    found = node.findall(BPMN + "correlationPropertyRetrievalExpression")
    if not found:
        told = N_("nothing says where messages carry this property: add messagePath per message")
        report.error(node, "correlation", told)
    for retrieval in found:
        message = ids.get(retrieval.get("messageRef") or "")
        if message is None or kind(message) != "message":
            told = N_("%(reference)s %(name)s does not exist")
            report.error(
                retrieval, "dangling-reference", told, reference="messageRef", name=retrieval.get("messageRef")
            )
        if retrieval.find(BPMN + "messagePath") is None and retrieval.find(BPMN + "formalExpression") is None:
            told = N_("nothing says where the message carries the property: add messagePath")
            report.error(retrieval, "correlation", told)


def _messages_of(node: Node) -> set[str]:
    return {item.get("messageRef") or "" for item in node.iterfind(BPMN + "correlationPropertyRetrievalExpression")}


def _properties_of(key: Node) -> list[str]:
    return [(reference.text or "").strip() for reference in key.iterfind(BPMN + "correlationPropertyRef")]


def _check_key(key: Node, properties: Mapping[str, Node], report: Report) -> None:
    references = _properties_of(key)
    if not references:
        report.error(key, "correlation", N_("the key has no property to compare"))
    for reference in references:
        if reference not in properties:
            told = N_("%(reference)s %(name)s does not exist")
            report.error(key, "dangling-reference", told, reference="correlationPropertyRef", name=reference)
    carried = {name: _messages_of(properties[name]) for name in references if name in properties}
    for message in sorted(set().union(*carried.values())):
        for name in (name for name, messages in carried.items() if message not in messages):
            told = N_(
                "the message %(message)s carries a part of the key only, without %(name)s: no receiver would match"
            )
            report.error(key, "correlation", told, message=message, name=name)


def check_correlations(process: Node, root: Node, ids: Mapping[str, Node], report: Report) -> None:
    """Whether what the process sends can be matched, and whether it ever knows what it waits for."""
    keys: dict[str, set[str]] = {}
    for key in root.iter(BPMN + "correlationKey"):
        for name in _properties_of(key):
            for message in _messages_of(ids[name]) if name in ids else ():
                keys.setdefault(message, set()).add(key.get("id") or "")
    subscribed = _check_subscriptions(process, ids, report)
    events = list(_message_events(process))
    for owner, definition in events:
        reference = definition.get("messageRef") or ""
        if not keys.get(reference):
            continue
        if kind(owner) in _THROWING and definition.find(f".//{SPIFF}messagePayload") is None:
            told = N_("the message is compared by what it carries, and this event gives it nothing: add its payload")
            report.error(owner, "correlation", told)
        if kind(owner) in _CATCHING and owner not in process.findall(BPMN + "startEvent"):
            others = (keys.get(other.get("messageRef") or "", set()) for around, other in events if around is not owner)
            own = definition.find(f".//{SPIFF}processVariableCorrelation") is not None
            if not own and not keys[reference] & subscribed.union(*others):
                told = N_(
                    "every instance takes any such message: send or catch one with this key before, or subscribe to it"
                )
                report.warning(owner, "correlation-unknown", told)


def _message_events(process: Node) -> Iterator[tuple[Node, Node]]:
    """The elements that send or receive messages, each with what names the message."""
    for node in process.iter(BPMN + "messageEventDefinition", BPMN + "sendTask", BPMN + "receiveTask"):
        yield (node if kind(node) in ("sendTask", "receiveTask") else node.getparent()), node


def _check_subscriptions(process: Node, ids: Mapping[str, Node], report: Report) -> set[str]:
    found = set()
    for subscription in process.findall(BPMN + "correlationSubscription"):
        key = ids.get(subscription.get("correlationKeyRef") or "")
        if key is None or kind(key) != "correlationKey":
            report.error(subscription, "dangling-reference", N_("correlationKeyRef names no correlationKey"))
            continue
        found.add(key.get("id") or "")
        bindings = subscription.findall(BPMN + "correlationPropertyBinding")
        bound = {
            binding.get("correlationPropertyRef") or "" for binding in bindings if text_of(binding, BPMN + "dataPath")
        }
        if bound != set(_properties_of(key)):
            told = N_("the subscription binds each property of %(key)s to a dataPath, and nothing else")
            report.error(subscription, "correlation", told, key=key.get("id"))
    return found
