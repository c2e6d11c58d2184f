"""Nothing of BPMN 2.0 is silently ignored: what is not executed is said, what would change the meaning is refused.

Applies engine.lint.vocabulary to a document. docs/supported-elements.md has a row for each element.
"""

from collections.abc import Collection

from engine.errors import N_, Sentence
from engine.lint.report import BPMN, Report, is_handler, kind
from engine.lint.vocabulary import (
    ABSTRACT,
    BOOLEANS,
    IDLE,
    INSTEAD,
    ONCE,
    REFUSED,
    RULES,
    VALUES,
    VOCABULARY,
    WHY_IDLE,
)
from engine.lint.xml import Node

_ANYTHING_INSIDE = frozenset({"extensionElements", "documentation", "text", "script"})
_OWN_LANGUAGES = frozenset({"", "python", "text/python", "text/x-python", "application/x-python"})
_ALWAYS_INTERRUPT = ("errorEventDefinition", "cancelEventDefinition")


def check_standard(root: Node, executed: Collection[Node], report: Report) -> None:
    """Every element and attribute of a document, of the processes only those that are executed."""
    if root.tag == BPMN + "definitions":
        _check_attributes(root, VOCABULARY["definitions"]["/"].attributes, report)
    _check_children(root, executed, report)


def _check_children(parent: Node, executed: Collection[Node], report: Report) -> None:
    seen: set[str] = set()
    for node in parent:
        name = kind(node)
        if not name:
            continue
        if name in ONCE and name in seen:
            report.error(node, "duplicate-element", N_("only the first %(name)s would be read"), name=name)
        seen.add(name)
        if _check_element(node, name, kind(parent), report):
            if name == "process" and node not in executed:
                told = N_('the process has not isExecutable="true": it is only a drawing')
                report.warning(node, "no-effect", told)
            elif name not in _ANYTHING_INSIDE:
                _check_children(node, executed, report)


def _check_element(node: Node, name: str, parent: str, report: Report) -> bool:
    """Whether what is inside it has to be looked at too."""
    places = VOCABULARY.get(name, {})
    entry = places.get(parent) or places.get("*")
    if entry is None and (name in ABSTRACT or not places):
        told = N_("%(name)s is not an element of BPMN 2.0")
        if name in ABSTRACT:
            told = N_("%(name)s is the name of a kind, not an element")
        report.error(node, "unsupported", told, name=name)
        return False
    if entry is None:
        told = N_("%(name)s has no meaning inside %(parent)s and would be ignored")
        report.error(node, "misplaced-element", told, name=name, parent=Sentence(parent))
        return False
    if entry.verdict == REFUSED:
        if name not in RULES:
            told = N_("%(name)s is not supported: %(instead)s")
            report.error(node, "unsupported", told, name=Sentence(name), instead=Sentence(INSTEAD[name]))
        return False
    if entry.verdict == IDLE:
        why = Sentence(WHY_IDLE.get(name, N_("an event definition is written inside its event")))
        report.warning(node, "no-effect", N_("%(name)s has no effect: %(why)s"), name=Sentence(name), why=why)
        _check_attributes(node, entry.attributes, report)
        return False
    _check_attributes(node, entry.attributes, report)
    if name in ("incoming", "outgoing"):
        _check_way(node, name, report)
    return True


def _check_way(node: Node, name: str, report: Report) -> None:
    """Flows name their ends; an element's own list of them is for other tools, but should say the same."""
    owner, text = node.getparent(), (node.text or "").strip()
    end = "targetRef" if name == "incoming" else "sourceRef"
    scope = owner.getparent()
    if not any(flow.get("id") == text and flow.get(end) == owner.get("id") for flow in scope.iter(f"{BPMN}*")):
        told = N_("%(name)s %(text)s is no flow of this element and is not read")
        report.warning(node, "no-effect", told, name=name, text=text[:60])


# ---- attributes


def _check_attributes(node: Node, known: Collection[str], report: Report) -> None:
    for attribute, value in node.attrib.items():
        if attribute == "id" or (attribute.startswith("{") and not attribute.startswith(BPMN)):
            continue
        if attribute not in known:
            local = attribute.removeprefix(BPMN)
            told = N_("%(name)s is not an attribute of %(kind)s in BPMN 2.0 and is ignored")
            report.warning(node, "unknown-attribute", told, name=local, kind=Sentence(kind(node)))
        elif attribute in BOOLEANS and value not in ("true", "false"):
            told = N_("%(name)s is true or false, not “%(value)s”")
            report.error(node, "unsupported-attribute", told, name=attribute, value=value[:20])
        else:
            _check_value(node, attribute, value, report)
    _check_interruption(node, report)


def _check_value(node: Node, attribute: str, value: str, report: Report) -> None:
    rule = VALUES.get(attribute)
    if rule is not None and value not in rule.allowed:
        told, instead = N_("%(name)s “%(value)s” is not supported: %(instead)s"), Sentence(rule.instead)
        report.error(node, "unsupported-attribute", told, name=attribute, value=value[:40], instead=instead)
    elif attribute in ("language", "scriptFormat") and value.strip().lower() not in _OWN_LANGUAGES:
        told = N_("%(name)s “%(value)s”: only the language of docs/expressions.md is executed")
        report.error(node, "foreign-expression", told, name=attribute, value=value[:60])
    elif (attribute == "implementation" and not value.startswith("##")) or attribute == "operationRef":
        why = Sentence(N_("a service task names its operator"))
        report.warning(node, "no-effect", N_("%(name)s has no effect: %(why)s"), name=attribute, why=why)


def _check_interruption(node: Node, report: Report) -> None:
    name = kind(node)
    if name == "boundaryEvent":
        goes_on, always = node.get("cancelActivity") == "false", True
    elif name == "startEvent":
        goes_on, always = node.get("isInterrupting") == "false", is_handler(node.getparent())
    else:
        return
    if not goes_on:
        return
    if not always:
        report.warning(node, "no-effect", N_("isInterrupting means something in an event sub-process only"))
    elif any(node.find(BPMN + definition) is not None for definition in _ALWAYS_INTERRUPT):
        report.error(node, "unsupported-attribute", N_("an error or a cancellation always interrupts"))
