"""What the diagram says about its elements, read from the XML as its author drew it."""

from lxml import etree

from engine.spiff.model import ElementInfo
from engine.spiff.prepare import ACTIVITIES, BPMN, SPIFF, Node

NODES = frozenset(tag.removeprefix(BPMN) for tag in ACTIVITIES) | {
    "task",
    "startEvent",
    "endEvent",
    "exclusiveGateway",
    "inclusiveGateway",
    "parallelGateway",
    "eventBasedGateway",
}


def read_elements(process: Node, file: str) -> dict[str, ElementInfo]:
    """All flow nodes and sequence flows of a process and its sub-processes, by id."""
    lanes = _lanes(process)
    found: dict[str, ElementInfo] = {}
    for node in process.iter(f"{BPMN}*"):
        kind = etree.QName(node).localname
        name = node.get("id")
        if name and (kind in NODES or kind == "sequenceFlow"):
            found[name] = _element(node, kind, lanes, file)
    return found


def _lanes(process: Node) -> dict[str, tuple[str, str]]:
    """The innermost lane (name, id) of every node that a lane names."""
    lanes: dict[str, tuple[str, str]] = {}
    for lane in process.iter(BPMN + "lane"):  # document order: nested lanes come after those around them
        for reference in lane.findall(BPMN + "flowNodeRef"):
            lanes[(reference.text or "").strip()] = (lane.get("name") or "", lane.get("id") or "")
    return lanes


def _element(node: Node, kind: str, lanes: dict[str, tuple[str, str]], file: str) -> ElementInfo:
    lane = next(
        (lanes[around.get("id")] for around in (node, *node.iterancestors()) if around.get("id") in lanes), ("", "")
    )
    extensions = node.find(BPMN + "extensionElements")
    properties: dict[str, str] = {}
    variable = operator = ""
    if extensions is not None:
        properties = {
            item.get("name"): item.get("value")
            for item in extensions.iterfind(f"{SPIFF}properties/{SPIFF}property")
            if item.get("name") and item.get("value") is not None
        }
        variable = (extensions.findtext(SPIFF + "variableName") or "").strip()
        service = extensions.find(SPIFF + "serviceTaskOperator")
        operator = (service.get("id") or "") if service is not None else ""
    documentation = "\n".join((text.text or "").strip() for text in node.findall(BPMN + "documentation")).strip()
    return ElementInfo(
        id=node.get("id"),
        type=kind,
        name=node.get("name") or "",
        lane=lane[0],
        lane_id=lane[1],
        documentation=documentation,
        properties=properties,
        form=properties.get("formJsonSchemaFilename", ""),
        variable=variable,
        operator=operator,
        source=node.get("sourceRef") or "",
        target=node.get("targetRef") or "",
        attached_to=node.get("attachedToRef") or "",
        scope=node.getparent().get("id") or "",
        file=file,
        line=node.sourceline or 0,
    )
