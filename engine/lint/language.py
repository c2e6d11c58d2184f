"""Expressions and scripts inside a diagram, and what other engines' tools leave in one."""

import re
from typing import Literal

from engine import expressions
from engine.lint.report import BPMN, SPIFF, Report, is_variable, kind, namespace
from engine.lint.xml import Node

_EXECUTION = re.compile(
    r"http://(camunda\.org/schema/(zeebe/)?1\.0(/bpmn)?|activiti\.org/bpmn|flowable\.org/bpmn"
    r"|www\.jboss\.org/drools)"
)
_HINTS = frozenset({
    "async", "asyncAfter", "asyncBefore", "asynchronous", "diagramRelationId", "exclusive", "failedJobRetryTimeCycle",
    "formFieldValidation", "historyLevel", "historyTimeToLive", "isStartableInTasklist", "jobPriority",
    "modelerTemplate", "modelerTemplateIcon", "modelerTemplateVersion", "userTask", "versionTag",
})  # fmt: skip
"""What other engines' tools write about storage, transactions and their own pages; it changes no token's way."""
_OPERATOR = "name an operator"
_PEOPLE = "use the property assignee, candidateUsers or candidateGroup, or a lane"
_FORM = "use the property formJsonSchemaFilename"
_INSTEAD = {
    **dict.fromkeys(("class", "delegateExpression", "expression", "taskDefinition", "topic", "type"), _OPERATOR),
    **dict.fromkeys(("assignee", "assignmentDefinition", "candidateGroups", "candidateUsers"), _PEOPLE),
    **dict.fromkeys(("formData", "formDefinition", "formKey", "userTaskForm"), _FORM),
    **dict.fromkeys(("dueDate", "taskSchedule"), "use the property dueIn"),
    **dict.fromkeys(
        ("in", "ioMapping", "inputOutput", "out"), "compute values in a preScript, a postScript or a script task"
    ),
    **dict.fromkeys(("calledDecision", "decisionRef"), "use calledDecisionId"),
    **dict.fromkeys(("executionListener", "taskListener"), "draw what shall happen as a task"),
    **dict.fromkeys(("collection", "elementVariable", "loopCharacteristics"), "use loopDataInputRef and inputDataItem"),
    "calledElement": "use the attribute calledElement of BPMN",
    "subscription": "use correlationKey and correlationProperty",
}
_OWN = frozenset(
    {
        "",
        "http://www.omg.org/spec/BPMN/20100524/MODEL",
        "http://www.omg.org/spec/BPMN/20100524/DI",
        "http://www.omg.org/spec/DD/20100524/DC",
        "http://www.omg.org/spec/DD/20100524/DI",
        "http://www.w3.org/2001/XMLSchema-instance",
        "http://www.w3.org/XML/1998/namespace",
        SPIFF.strip("{}"),
    }
)
_EXTENSIONS = frozenset({
    "preScript", "postScript", "instructionsForEndUser", "calledDecisionId", "variableName", "messageVariable",
    "messagePayload", "payloadExpression", "properties", "property", "serviceTaskOperator", "parameters",
    "parameter", "retry",
    "processVariableCorrelation", "propertyId", "expression",
})  # fmt: skip
_EVALUATED = frozenset(
    {"conditionExpression", "completionCondition", "loopCondition", "loopCardinality", "loopDataInputRef"}
)
_OTHER_LANGUAGE = re.compile(r"\s*(?:[$#]\{|=(?!=))")


def check_expression(node: Node, text: str, report: Report, mode: Literal["eval", "exec"] = "eval") -> None:
    """`text`, found at `node`, must be in the language of docs/expressions.md."""
    if not text.strip():
        report.error(node, "empty-expression", "the expression is empty")
    elif _OTHER_LANGUAGE.match(text):
        report.error(node, "foreign-expression", f"“{text.strip()[:40]}” is in the language of another engine")
    else:
        for _line, _column, message in expressions.check(text, mode):
            report.error(node, "expression", f"“{_short(text)}”: {message}")


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else f"{words[:59]}…"


def check_expressions(process: Node, report: Report) -> None:
    """Everything that is evaluated, wherever it stands in the process."""
    for node in process.iter():
        name, text = kind(node), node.text or ""
        if name in _EVALUATED:
            check_expression(node, text, report)
        elif name == "loopDataOutputRef" and not is_variable(text.strip()):
            report.error(node, "variable-name", f"“{text.strip()[:60]}” is not a variable name")
        elif name in ("inputDataItem", "outputDataItem") and not is_variable(node.get("id") or node.get("name") or ""):
            report.error(node, "variable-name", "the item needs a variable name as its id")
        elif name == "script" or node.tag in (SPIFF + "preScript", SPIFF + "postScript"):
            if text.strip():
                check_expression(node, text, report, "exec")
        elif node.tag in (SPIFF + "messagePayload", SPIFF + "payloadExpression", SPIFF + "expression"):
            check_expression(node, text, report)
        elif node.tag in (SPIFF + "messageVariable", SPIFF + "variableName") and not is_variable(text.strip()):
            report.error(node, "variable-name", f"“{text.strip()[:60]}” is not a variable name")


def check_collaboration(root: Node, report: Report) -> None:
    """Correlations, messages and signals stand outside the processes."""
    for node in root.iterfind(f"{BPMN}message/{BPMN}extensionElements/*"):
        if node.tag in (SPIFF + "messageVariable", SPIFF + "messagePayload"):
            report.error(node, "misplaced-extension", "belongs to the message event, not to the message")
    for node in root.iterfind(f"{BPMN}*/{BPMN}extensionElements/{SPIFF}payloadExpression"):
        check_expression(node, node.text or "", report)
    for node in root.iter(BPMN + "messagePath"):
        check_expression(node, node.text or "", report)


def check_extensions(root: Node, report: Report) -> None:
    """What another engine would execute is an error: here it would be ignored. Its colours are harmless."""
    seen: set[str] = set()
    for node in root.iter():
        if not isinstance(node.tag, str):
            continue
        for name in (node.tag, *node.attrib):
            where = namespace(name)
            local = name.rpartition("}")[2]
            if _EXECUTION.fullmatch(where) and local in _HINTS:
                report.warning(node, "unknown-extension", f"{local} is for another engine and is ignored")
            elif _EXECUTION.fullmatch(where):
                instead = f": {_INSTEAD[local]}" if local in _INSTEAD else ""
                report.error(node, "foreign-extension", f"{local} is for another engine and would be ignored{instead}")
            elif where not in _OWN and where not in seen:
                seen.add(where)
                report.warning(node, "unknown-extension", f"{local} ({where[:80]}) is ignored")
        if node.tag.startswith(SPIFF) and node.tag.removeprefix(SPIFF) not in _EXTENSIONS:
            report.warning(node, "unknown-extension", f"spiffworkflow:{node.tag.removeprefix(SPIFF)} is ignored")
