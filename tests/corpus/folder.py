"""A folder of diagrams by anybody: each with what it calls and decides by, found among the files beside it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

ENDINGS = (".bpmn", ".bpmn20.xml", ".bpmn.xml")
BPMN = "{http://www.omg.org/spec/BPMN/20100524/MODEL}"


@dataclass(frozen=True)
class Diagram:
    """`files` are its own text under `main` and those that it needs; `process` what is started."""

    path: Path
    main: str
    process: str
    files: Mapping[str, str | bytes]


def diagrams(folder: Path) -> Iterator[Diagram]:
    homes: dict[Path, dict[str, Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name.endswith(ENDINGS)):
        if path.parent not in homes:
            homes[path.parent] = _homes(path.parent)
        yield _diagram(path, homes[path.parent])


def _root(path: Path) -> etree._Element | None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=False)
    try:
        return etree.fromstring(path.read_bytes(), parser)
    except (etree.XMLSyntaxError, ValueError):
        return None


def _homes(folder: Path) -> dict[str, Path]:
    """Where processes, decisions and forms of one folder stand, by the name that diagrams use."""
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if path.name.endswith((*ENDINGS, ".dmn")):
            root = _root(path)
            for node in () if root is None else root.iter(BPMN + "process", "{*}decision"):
                found.setdefault(node.get("id") or "", path)
        elif path.suffix in (".form", ".json"):
            found[path.name] = path
    return found


def _name(path: Path) -> str:
    """As a deployment would take it."""
    return _plain(path).lstrip("_.- ")


def _plain(path: Path) -> str:
    for ending in (*ENDINGS, ".dmn", ".form", ".json"):
        if path.name.endswith(ending):
            return path.name.removesuffix(ending) + (".bpmn" if ending in ENDINGS else ending)
    return path.name


def _diagram(path: Path, homes: Mapping[str, Path]) -> Diagram:
    files: dict[str, str | bytes] = {}
    process = ""
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if _name(file) in files:
            continue
        files[_name(file)] = file.read_bytes()
        root = _root(file)
        for node in () if root is None else root.iter(etree.Element):
            if node.tag == BPMN + "process" and file == path and (not process or node.get("isExecutable") == "true"):
                process = node.get("id") or process
            mentioned = {node.get("calledElement") or "", *map(str, node.attrib.values())}
            if etree.QName(node).localname == "calledDecisionId":
                mentioned.add((node.text or "").strip())
            waiting += [homes[name] for name in sorted(mentioned & homes.keys()) if _is_named(node, name, homes)]
    return Diagram(path, _name(path), process, files)


def _is_named(node: etree._Element, name: str, homes: Mapping[str, Path]) -> bool:
    """Whether an element needs what it mentions: calls it, decides by it, or shows it."""
    tag = etree.QName(node).localname
    return node.get("calledElement") == name or tag == "calledDecisionId" or homes[name].suffix in (".form", ".json")
