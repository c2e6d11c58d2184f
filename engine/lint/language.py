"""Expressions and scripts inside a diagram, and what other engines' tools leave in one."""

import re
from typing import Literal

from engine import expressions
from engine.errors import N_, Sentence
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
_OPERATOR = N_("name an operator")
_PEOPLE = N_("use the property assignee, candidateUsers or candidateGroup, or a lane")
_FORM = N_("use the property formJsonSchemaFilename")
_INSTEAD = {
    **dict.fromkeys(("class", "delegateExpression", "expression", "taskDefinition", "topic", "type"), _OPERATOR),
    **dict.fromkeys(("assignee", "assignmentDefinition", "candidateGroups", "candidateUsers"), _PEOPLE),
    **dict.fromkeys(("formData", "formDefinition", "formKey", "userTaskForm"), _FORM),
    **dict.fromkeys(("dueDate", "taskSchedule"), N_("use the property dueIn")),
    **dict.fromkeys(
        ("in", "ioMapping", "inputOutput", "out"), N_("compute values in a preScript, a postScript or a script task")
    ),
    **dict.fromkeys(("calledDecision", "decisionRef"), N_("use calledDecisionId")),
    **dict.fromkeys(("executionListener", "taskListener"), N_("draw what shall happen as a task")),
    **dict.fromkeys(
        ("collection", "elementVariable", "loopCharacteristics"), N_("use loopDataInputRef and inputDataItem")
    ),
    "calledElement": N_("use the attribute calledElement of BPMN"),
    "subscription": N_("use correlationKey and correlationProperty"),
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
        report.error(node, "empty-expression", N_("the expression is empty"))
    elif _OTHER_LANGUAGE.match(text):
        told = N_("“%(text)s” is in the language of another engine")
        report.error(node, "foreign-expression", told, text=text.strip()[:40])
    else:
        for _line, _column, message in expressions.check(text, mode):
            report.error(node, "expression", N_("“%(text)s”: %(message)s"), text=_short(text), message=message)


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
            report.error(node, "variable-name", N_("“%(name)s” is not a variable name"), name=text.strip()[:60])
        elif name in ("inputDataItem", "outputDataItem") and not is_variable(node.get("id") or node.get("name") or ""):
            report.error(node, "variable-name", N_("the item needs a variable name as its id"))
        elif name == "script" or node.tag in (SPIFF + "preScript", SPIFF + "postScript"):
            if text.strip():
                check_expression(node, text, report, "exec")
        elif node.tag in (SPIFF + "messagePayload", SPIFF + "payloadExpression", SPIFF + "expression"):
            check_expression(node, text, report)
        elif node.tag in (SPIFF + "messageVariable", SPIFF + "variableName") and not is_variable(text.strip()):
            report.error(node, "variable-name", N_("“%(name)s” is not a variable name"), name=text.strip()[:60])


def check_collaboration(root: Node, report: Report) -> None:
    """Correlations, messages and signals stand outside the processes."""
    for node in root.iterfind(f"{BPMN}message/{BPMN}extensionElements/*"):
        if node.tag in (SPIFF + "messageVariable", SPIFF + "messagePayload"):
            report.error(node, "misplaced-extension", N_("belongs to the message event, not to the message"))
    for node in root.iterfind(f"{BPMN}*/{BPMN}extensionElements/{SPIFF}payloadExpression"):
        check_expression(node, node.text or "", report)
    for node in root.iter(BPMN + "messagePath"):
        check_expression(node, node.text or "", report)


def _report_foreign(node: Node, name: str, report: Report) -> None:
    if name in _INSTEAD:
        told = N_("%(name)s is for another engine and would be ignored: %(instead)s")
        report.error(node, "foreign-extension", told, name=name, instead=Sentence(_INSTEAD[name]))
    else:
        report.error(node, "foreign-extension", N_("%(name)s is for another engine and would be ignored"), name=name)


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
                told = N_("%(name)s is for another engine and is ignored")
                report.warning(node, "unknown-extension", told, name=local)
            elif _EXECUTION.fullmatch(where):
                _report_foreign(node, local, report)
            elif where not in _OWN and where not in seen:
                seen.add(where)
                report.warning(
                    node, "unknown-extension", N_("%(name)s (%(where)s) is ignored"), name=local, where=where[:80]
                )
        if node.tag.startswith(SPIFF) and node.tag.removeprefix(SPIFF) not in _EXTENSIONS:
            told = N_("spiffworkflow:%(name)s is ignored")
            report.warning(node, "unknown-extension", told, name=node.tag.removeprefix(SPIFF))
