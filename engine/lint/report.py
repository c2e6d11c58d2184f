"""The words that all rules share: namespaces, kinds of elements, and where problems are collected."""

import re
from typing import Any

from lxml import etree

from engine.errors import Problem, Sentence
from engine.lint.xml import Node

BPMN = "{http://www.omg.org/spec/BPMN/20100524/MODEL}"
SPIFF = "{http://spiffworkflow.org/bpmn/schema/1.0/core}"

TASKS = frozenset({
    "userTask", "manualTask", "scriptTask", "serviceTask", "sendTask", "receiveTask", "businessRuleTask",
})  # fmt: skip
SCOPES = frozenset({"process", "subProcess", "transaction"})
ACTIVITIES = TASKS | {"callActivity", "subProcess", "transaction"}
GATEWAYS = frozenset({"exclusiveGateway", "inclusiveGateway", "parallelGateway", "eventBasedGateway"})
EVENTS = frozenset({"startEvent", "endEvent", "intermediateCatchEvent", "intermediateThrowEvent", "boundaryEvent"})
NODES = ACTIVITIES | GATEWAYS | EVENTS

NAME = re.compile(r"[^\W\d]\w{0,99}")
"""A variable; what begins with two underscores is refused by the expression language."""


class Report:
    """The problems of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def error(self, node: Node, rule: str, template: str, /, **params: Any) -> None:
        self._add(node, rule, Sentence(template, params), "error")

    def warning(self, node: Node, rule: str, template: str, /, **params: Any) -> None:
        """Something that runs, but probably not as meant."""
        self._add(node, rule, Sentence(template, params), "warning")

    def _add(self, node: Node, rule: str, sentence: Sentence, severity: str) -> None:
        named = node
        # The id of an extension is something else: an operator's or a parameter's name.
        while named is not None and (not named.get("id") or namespace(named.tag) == SPIFF.strip("{}")):
            named = named.getparent()
        element = named.get("id") if named is not None else ""
        self.problems.append(Problem(self.file, max(1, node.sourceline or 1), element, rule, sentence, severity))


def kind(node: Node) -> str:
    """The local name of a BPMN element; "" for everything else."""
    return node.tag.removeprefix(BPMN) if isinstance(node.tag, str) and node.tag.startswith(BPMN) else ""


def text_of(node: Node, path: str) -> str:
    return (node.findtext(path) or "").strip()


def extension(node: Node, name: str) -> Node | None:
    """The spiffworkflow extension `name` of an element, or None."""
    return node.find(f"{BPMN}extensionElements/{SPIFF}{name}")


def namespace(name: str) -> str:
    return etree.QName(name).namespace or ""


def is_handler(scope: Node) -> bool:
    """Whether a sub-process is an event sub-process."""
    return bool(scope.get("triggeredByEvent") == "true")


def is_variable(text: str) -> bool:
    return NAME.fullmatch(text) is not None and text.isidentifier() and not text.startswith("__")
