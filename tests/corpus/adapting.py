"""Makes a drawing executable, the same for both sides: most diagrams that people share say nothing about execution.

Tasks of no kind or for another engine are confirmed by hand, decisions choose by a variable, what ends nowhere gets an
end event, other tools' settings are dropped.
"""

import dataclasses
import re
from collections import Counter

from lxml import etree

from engine.lint.report import ACTIVITIES, BPMN, NODES, SPIFF, extension, is_handler, kind, text_of
from tests.corpus.folder import Diagram

_BY_HAND = ("task", "serviceTask", "scriptTask", "sendTask", "receiveTask", "businessRuleTask")
_TIMES = ("timeDate", "timeDuration", "timeCycle")
CHOICE = "choice_"


def adapted(diagram: Diagram) -> Diagram:
    files = dict(diagram.files)
    for name, text in files.items():
        if name.endswith(".bpmn"):
            parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
            root = etree.fromstring(text if isinstance(text, bytes) else text.encode(), parser)
            _adapt(root, diagram.process)
            files[name] = etree.tostring(root, encoding="unicode")
    return dataclasses.replace(diagram, files=files)


def _adapt(root: etree._Element, process: str) -> None:
    for node in list(root.iter(etree.Element)):
        _drop_foreign(node)
    processes = root.findall(BPMN + "process")
    for node in processes:
        node.set("isExecutable", "true" if node.get("id") == process or len(processes) == 1 else "false")
    for node in list(root.iter(*(BPMN + name for name in _BY_HAND))):
        if not _is_executable(node):
            node.tag = BPMN + "manualTask"
            for name in ("messageRef", "scriptFormat", "implementation", "operationRef", "instantiate"):
                node.attrib.pop(name, None)
            for script in node.findall(BPMN + "script"):
                node.remove(script)
    for definition in list(root.iter(etree.Element)):
        _complete(root, definition)
    for scope in list(root.iter(BPMN + "process", BPMN + "subProcess", BPMN + "transaction")):
        _choose(scope)
        _end(scope)


def _complete(root: etree._Element, definition: etree._Element) -> None:
    """An event that does not say for what it waits gets a message of its own, an hour, or what is always true."""
    event = kind(definition).removesuffix("EventDefinition")
    owner = definition.getparent()
    if owner is None or event == kind(definition) or event not in ("message", "signal", "timer", "conditional"):
        return
    if event in ("message", "signal") and definition.get(f"{event}Ref") is None:
        name = f"{event}_of_{owner.get('id')}"
        root.insert(0, etree.Element(BPMN + event, id=name, name=name))
        definition.set(f"{event}Ref", name)
    elif event == "timer" and not any(text_of(definition, BPMN + child) for child in _TIMES):
        etree.SubElement(definition, BPMN + "timeDuration").text = "PT1H"
    elif event == "conditional" and not text_of(definition, BPMN + "condition"):
        for empty in definition.findall(BPMN + "condition"):
            definition.remove(empty)
        etree.SubElement(definition, BPMN + "condition").text = "True"


def _drop_foreign(node: etree._Element) -> None:
    for attribute in list(node.attrib):
        if str(attribute).startswith("{") and not str(attribute).startswith((BPMN, SPIFF)):
            del node.attrib[attribute]
    if node.tag == BPMN + "extensionElements":
        for child in list(node):
            if not str(child.tag).startswith(SPIFF):
                node.remove(child)


def _is_executable(node: etree._Element) -> bool:
    match kind(node):
        case "serviceTask":
            return extension(node, "serviceTaskOperator") is not None
        case "scriptTask":
            return bool(text_of(node, BPMN + "script")) and node.get("scriptFormat", "python").endswith("python")
        case "businessRuleTask":
            return extension(node, "calledDecisionId") is not None
        case "sendTask" | "receiveTask":
            return node.get("messageRef") is not None
    return False


def _choose(scope: etree._Element) -> None:
    """A decision that is not written in the engine's language chooses by number; its last flow is the default."""
    leaving: dict[str, list[etree._Element]] = {}
    for flow in scope.findall(BPMN + "sequenceFlow"):
        leaving.setdefault(flow.get("sourceRef", ""), []).append(flow)
    for node in scope:
        flows = leaving.get(node.get("id", ""), [])
        decides = kind(node) in ("exclusiveGateway", "inclusiveGateway")
        written = [text_of(flow, BPMN + "conditionExpression") for flow in flows]
        sound = [text for text in written if text and not text.startswith(("$", "#", "="))]
        if decides and len(flows) > 1 and (len(sound) < len(flows) - 1 or not node.get("default")):
            node.set("default", flows[-1].get("id", ""))
            variable = CHOICE + re.sub(r"\W", "_", node.get("id", "").replace("-", ""))
            for number, flow in enumerate(flows):
                _condition(flow, None if flow is flows[-1] else f"{variable} == {number}")
        elif not decides and len(sound) < sum(map(bool, written)):
            for flow in flows:
                _condition(flow, None)


def _condition(flow: etree._Element, text: str | None) -> None:
    for old in flow.findall(BPMN + "conditionExpression"):
        flow.remove(old)
    if text is not None:
        etree.SubElement(flow, BPMN + "conditionExpression").text = text


def _end(scope: etree._Element) -> None:
    leaving = Counter(flow.get("sourceRef") for flow in scope.findall(BPMN + "sequenceFlow"))
    for node in [child for child in scope if kind(child) in NODES and kind(child) != "endEvent"]:
        name = node.get("id", "")
        link = node.find(BPMN + "linkEventDefinition") is not None and kind(node) == "intermediateThrowEvent"
        if not leaving[name] and not link and not is_handler(node):
            etree.SubElement(scope, BPMN + "endEvent", id=f"{name}_end")
            etree.SubElement(scope, BPMN + "sequenceFlow", id=f"{name}_to_end", sourceRef=name, targetRef=f"{name}_end")


def beyond_the_bare_library(diagram: Diagram) -> list[str]:
    """What the bare library is known to drop or misread without a word: ends cannot be compared there."""
    found = set()
    for name, text in diagram.files.items():
        if not name.endswith(".bpmn"):
            continue
        root = etree.fromstring(text if isinstance(text, bytes) else text.encode())
        kinds = {node.get("id"): kind(node) for node in root.iter(etree.Element)}
        if root.find(f".//{BPMN}linkEventDefinition") is not None:
            found.add("link events")
        if root.find(f".//{BPMN}endEvent/{BPMN}signalEventDefinition") is not None:
            found.add("signal end events")
        if any(is_handler(scope) for scope in root.iter(BPMN + "subProcess")):
            found.add("event sub-processes")
        if any(event.get("cancelActivity") == "false" for event in root.iter(BPMN + "boundaryEvent")):
            found.add("events that do not interrupt and occur again")
        for condition in root.iter(BPMN + "conditionExpression"):
            flow = condition.getparent()
            if flow is not None and kinds.get(flow.get("sourceRef")) in ACTIVITIES:
                found.add("conditions on flows that leave activities")
    return sorted(found)
