"""Histories for other programs: JSON lines as proof, CSV, XES (IEEE 1849-2016) and OCEL 2.0 for process mining.

JSON lines hold the exact texts that were hashed, for comparison with a ledger (docs/ledger-format.md). The other
formats tell what happened in the terms of the diagram, without the data of the case: which element was reached, left,
failed or was cancelled, when, and who caused it.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
from lxml import etree
from sqlalchemy.orm import Session

from engine import history, instances, versions
from engine.history import StoredEvent

XES = "http://www.xes-standard.org/"
EXTENSIONS = {
    "Concept": ("concept", "concept.xesext"),
    "Time": ("time", "time.xesext"),
    "Lifecycle": ("lifecycle", "lifecycle.xesext"),
    "Organizational": ("org", "org.xesext"),
}
TRANSITIONS = {"enter": "start", "leave": "complete", "fail": "ate_abort", "cancel": "ate_abort"}
"""What happens to an element, in the words of the standard's lifecycle extension; flows taken are left out."""

EPOCH = "1970-01-01T00:00:00+00:00"
"""OCEL dates the attributes of objects; what never changes is dated so."""

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Event:
    """One thing that happened to one element. `number` counts within the instance, `seq` is the input's."""

    number: int
    seq: int
    at: datetime
    actor: str
    kind: str
    type: str
    element: str
    element_type: str
    label: str
    lane: str


@dataclass(frozen=True)
class Trace:
    """What happened in one process instance, in order."""

    instance: UUID
    business_key: str
    process: str
    version: int
    state: str
    events: list[Event]


def trace(session: Session, instance_id: UUID) -> Trace:
    """Raises NotFoundError."""
    instance = instances.get(session, instance_id)
    events: list[Event] = []
    for row, elements in versions.along(session, instance, history.events(session, instance_id)):
        for visible in orjson.loads(row.derived).get("visible", ()):
            info = elements.get(visible["element"])
            if visible["type"] not in TRANSITIONS or info is None:
                continue
            events.append(
                Event(
                    number=len(events) + 1,
                    seq=row.seq,
                    at=row.at,
                    actor=row.actor,
                    kind=row.kind,
                    type=visible["type"],
                    element=info.id,
                    element_type=info.type,
                    label=info.name or info.id,
                    lane=info.lane,
                )
            )
    key, process, version = instance.business_key, instance.process_id, instance.version
    return Trace(instance_id, key, process, version, instance.state, events)


# ---- JSON lines -----------------------------------------------------------------------------------------------------


def jsonl(session: Session, instance_ids: Iterable[UUID]) -> Iterator[bytes]:
    """The stored history, an object a line, every text exactly as it was hashed. Raises NotFoundError."""
    for instance_id in instance_ids:
        instances.get(session, instance_id)
        for event in history.stored_events(session, instance_id):
            yield jsonl_line(instance_id, event)


def jsonl_line(instance_id: UUID, event: StoredEvent) -> bytes:
    names = ("at", "kind", "actor", "payload", "lookups", "derived", "digest")
    texts = {name: getattr(event, name).decode(errors="replace") for name in names}
    return orjson.dumps({"instance": str(instance_id), "seq": event.seq, **texts}) + b"\n"


# ---- CSV ------------------------------------------------------------------------------------------------------------

COLUMNS = (
    *("instance", "business_key", "process", "version", "event", "seq", "at", "actor", "input"),
    *("type", "element", "element_type", "label", "lane"),
)


def csv_lines(session: Session, instance_ids: Iterable[UUID]) -> Iterator[bytes]:
    """RFC 4180, UTF-8. Texts that a spreadsheet would take for a formula begin with an apostrophe."""
    yield _csv_line(COLUMNS)
    for instance_id in instance_ids:
        found = trace(session, instance_id)
        for event in found.events:
            at = history.stored_instant(event.at)
            case = (str(found.instance), found.business_key, found.process, found.version)
            what = (event.kind, event.type, event.element, event.element_type, event.label, event.lane)
            yield _csv_line((*case, event.number, event.seq, at, event.actor, *what))


def _csv_line(values: Sequence[str | int]) -> bytes:
    line = io.StringIO()
    texts = [f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value for value in values]
    csv.writer(line, lineterminator="\r\n").writerow(texts)
    return line.getvalue().encode()


# ---- XES ------------------------------------------------------------------------------------------------------------


def xes(session: Session, instance_ids: Iterable[UUID]) -> Iterator[bytes]:
    """A log of IEEE 1849-2016 with a trace per instance; written piece by piece."""
    log = _root("log", {"xes.version": "1849.2016", "xes.features": ""})
    for name, (prefix, file) in EXTENSIONS.items():
        etree.SubElement(log, f"{{{XES}}}extension", name=name, prefix=prefix, uri=XES + file)
    for scope in ("trace", "event"):
        every = etree.SubElement(log, f"{{{XES}}}global", scope=scope)
        _attribute(every, "string", "concept:name", "UNKNOWN")
        if scope == "event":
            _attribute(every, "date", "time:timestamp", EPOCH)
            _attribute(every, "string", "lifecycle:transition", "complete")
    etree.SubElement(log, f"{{{XES}}}classifier", name="Activity", keys="concept:name")
    etree.SubElement(
        log, f"{{{XES}}}classifier", name="Activity and transition", keys="concept:name lifecycle:transition"
    )
    etree.SubElement(log, f"{{{XES}}}classifier", name="Element", keys="element")
    _attribute(log, "string", "lifecycle:model", "standard")
    text = etree.tostring(log, encoding="UTF-8", xml_declaration=True, pretty_print=True)
    end = b"</log>\n"
    yield text.removesuffix(end)
    for instance_id in instance_ids:
        yield etree.tostring(_xes_trace(trace(session, instance_id)), encoding="UTF-8", pretty_print=True).replace(
            f' xmlns="{XES}"'.encode(), b"", 1
        )
    yield end


def _xes_trace(found: Trace) -> etree._Element:
    root = _root("trace", {})
    _attribute(root, "string", "concept:name", found.business_key or str(found.instance))
    _attribute(root, "id", "instance", str(found.instance))
    _attribute(root, "string", "process", found.process)
    _attribute(root, "int", "version", str(found.version))
    _attribute(root, "string", "state", found.state)
    for event in found.events:
        node = etree.SubElement(root, f"{{{XES}}}event")
        _attribute(node, "string", "concept:name", event.label)
        _attribute(node, "string", "org:resource", event.actor)
        if event.lane:
            _attribute(node, "string", "org:role", event.lane)
        _attribute(node, "date", "time:timestamp", event.at.isoformat(timespec="milliseconds"))
        _attribute(node, "string", "lifecycle:transition", TRANSITIONS[event.type])
        _attribute(node, "string", "element", event.element)
        _attribute(node, "string", "type", event.type)
        _attribute(node, "string", "element_type", event.element_type)
        _attribute(node, "int", "seq", str(event.seq))
    return root


def _root(name: str, attributes: dict[str, str]) -> etree._Element:
    return etree.Element(f"{{{XES}}}{name}", attributes, nsmap={None: XES})  # type: ignore[dict-item]  # the stubs forget None


def _attribute(parent: etree._Element, kind: str, key: str, value: str) -> None:
    etree.SubElement(parent, f"{{{XES}}}{kind}", key=key, value=_NOT_XML.sub("\ufffd", value))


# ---- OCEL -----------------------------------------------------------------------------------------------------------

_EVENT_ATTRIBUTES = ("type", "element", "element_type", "label", "lane", "input")


def ocel(session: Session, instance_ids: Iterable[UUID]) -> Iterator[bytes]:
    """An object-centric log (OCEL 2.0, JSON): events of elements, related to their instance and to who caused them."""
    objects: dict[str, dict[str, object]] = {}
    types: set[str] = set()
    events = []
    for instance_id in instance_ids:
        found = trace(session, instance_id)
        names = ("business_key", "process", "version", "state")
        case = str(instance_id)
        objects[case] = _object(case, "process instance", {name: getattr(found, name) for name in names})
        for event in found.events:
            actor = f"actor:{event.actor}"  # a person, an operator or the timer
            objects.setdefault(actor, _object(actor, "actor", {"name": event.actor}))
            types.add(f"{event.label} {TRANSITIONS[event.type]}")
            facts = {name: getattr(event, "kind" if name == "input" else name) for name in _EVENT_ATTRIBUTES}
            events.append(
                {
                    "id": f"{case}/{event.number}",
                    "type": f"{event.label} {TRANSITIONS[event.type]}",
                    "time": event.at.isoformat(timespec="milliseconds"),
                    "attributes": [{"name": name, "value": value} for name, value in facts.items()],
                    "relationships": [
                        {"objectId": case, "qualifier": "happened in"},
                        {"objectId": actor, "qualifier": "caused by"},
                    ],
                }
            )
    log = {
        "objectTypes": [
            {"name": "process instance", "attributes": _typed("business_key", "process", "version", "state")},
            {"name": "actor", "attributes": _typed("name")},
        ],
        "eventTypes": [{"name": name, "attributes": _typed(*_EVENT_ATTRIBUTES)} for name in sorted(types)],
        "objects": list(objects.values()),
        "events": events,
    }
    yield orjson.dumps(log, option=orjson.OPT_INDENT_2) + b"\n"


def _object(id: str, type: str, facts: dict[str, str | int]) -> dict[str, object]:
    attributes = [{"name": name, "time": EPOCH, "value": value} for name, value in facts.items()]
    return {"id": id, "type": type, "attributes": attributes, "relationships": []}


def _typed(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "type": "integer" if name == "version" else "string"} for name in names]


FORMATS: dict[str, Callable[[Session, Iterable[UUID]], Iterator[bytes]]] = {
    "jsonl": jsonl,
    "csv": csv_lines,
    "xes": xes,
    "ocel": ocel,
}
