"""Activities: operators and their parameters, user tasks and their properties, loops, data. BPMN 2.0, 10.3."""

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Mapping

from engine import expressions, operators
from engine.errors import N_, ExpressionError
from engine.expressions.times import split_duration
from engine.expressions.values import Refusal
from engine.lint.language import check_expression
from engine.lint.report import ACTIVITIES, BPMN, SPIFF, Report, extension, is_variable, kind, text_of
from engine.lint.structure import lanes_of
from engine.lint.xml import Node
from engine.operators import Operator

_EXPRESSIONS = ("assignee", "candidateUsers", "excluded")
_PROPERTIES = frozenset(
    {"formJsonSchemaFilename", "candidateGroup", "signature", "qualification", "dueIn", "priority", *_EXPRESSIONS}
)

LONGEST_KEY = 64
"""Of a group's or a qualification's key: the tables that hold them end there."""


def check_activities(
    process: Node, ids: Mapping[str, Node], files: Collection[str], groups: Collection[str], report: Report
) -> None:
    lanes = lanes_of(process)
    for node in process.iter(*(BPMN + name for name in sorted(ACTIVITIES))):
        _check_activity(node, ids, report)
        match kind(node):
            case "serviceTask":
                _check_operator(node, ids, report)
            case "scriptTask" if not text_of(node, BPMN + "script"):
                report.error(node, "no-script", N_("the script is empty"))
            case "userTask":
                _check_user_task(node, lanes, files, groups, report)


def _check_activity(node: Node, ids: Mapping[str, Node], report: Report) -> None:
    if node.get("isForCompensation") == "true":
        report.error(node, "unsupported", N_("compensation is not supported"))
    for loop in node.findall(BPMN + "multiInstanceLoopCharacteristics"):
        _check_multi_instance(loop, report)
    for loop in node.findall(BPMN + "standardLoopCharacteristics"):
        if loop.get("loopMaximum") is None and not text_of(loop, BPMN + "loopCondition"):
            report.error(loop, "loop", N_("needs loopMaximum or loopCondition"))
        elif not (loop.get("loopMaximum") or "1").isdecimal():
            report.error(loop, "loop", N_("loopMaximum is a whole number"))
    for name in ("dataInputAssociation", "dataOutputAssociation"):
        for association in node.findall(BPMN + name):
            _check_data(node, association, ids, report)
    for item in node.iter(SPIFF + "property"):
        if not item.get("name") or item.get("value") is None:
            report.error(item, "property", N_("a property needs name and value"))


def _check_multi_instance(loop: Node, report: Report) -> None:
    if sum(bool(text_of(loop, BPMN + name)) for name in ("loopCardinality", "loopDataInputRef")) != 1:
        report.error(loop, "multi-instance", N_("needs exactly one of loopCardinality and loopDataInputRef"))
    if (loop.find(BPMN + "loopDataOutputRef") is None) != (loop.find(BPMN + "outputDataItem") is None):
        report.error(loop, "multi-instance", N_("loopDataOutputRef and outputDataItem belong together"))
    if loop.get(SPIFF + "scriptsOnInstances") == "true":
        message = N_("scripts on instances are not supported: put a script task inside a sub-process")
        report.error(loop, "unsupported", message)


def _check_data(node: Node, association: Node, ids: Mapping[str, Node], report: Report) -> None:
    """A data object further out than one scope makes the library's parser run for ever."""
    end = "sourceRef" if kind(association) == "dataInputAssociation" else "targetRef"
    reference = ids.get(text_of(association, BPMN + end))
    target = ids.get(reference.get("dataObjectRef") or "") if reference is not None else None
    scope = node.getparent()
    near = (scope, scope.getparent())
    if reference is None or target is None or kind(target) != "dataObject":
        report.error(association, "data", N_("%(end)s does not lead to a data object"), end=end)
    elif target.getparent() not in near or reference.getparent() not in near:
        report.error(association, "data", N_("the data object is not in this scope or the one around it"))


# ---- service tasks


def _check_operator(node: Node, ids: Mapping[str, Node], report: Report) -> None:
    named = extension(node, "serviceTaskOperator")
    if named is None or not named.get("id"):
        report.error(node, "no-operator", N_("a service task names its operator"))
        return
    variable = named.get("resultVariable")
    if variable and not is_variable(variable):
        report.error(named, "variable-name", N_("“%(name)s” is not a variable name"), name=variable[:60])
    try:
        operator = operators.get(named.get("id"))
    except operators.UnknownOperatorError:
        report.error(named, "unknown-operator", N_("there is no operator %(operator)s"), operator=named.get("id"))
        operator = None
    given = list(named.iter(SPIFF + "parameter"))
    counts = Counter(parameter.get("id") for parameter in given)
    for parameter in given:
        if not parameter.get("id") or parameter.get("value") is None:
            report.error(parameter, "parameter", N_("a parameter needs id and value"))
            continue
        if counts[parameter.get("id")] > 1:
            report.error(parameter, "parameter", N_("the parameter %(name)s is given twice"), name=parameter.get("id"))
        check_expression(parameter, parameter.get("value"), report)
        if operator is not None:
            _check_parameter(operator, parameter, report)
    if operator is not None:
        for missing in operator.parameters:
            if missing.required and missing.name not in counts:
                needed = N_("%(operator)s needs the parameter %(name)s")
                report.error(named, "parameter", needed, operator=operator.id, name=missing.name)
        _check_error_codes(node, operator, ids, report)


def _check_parameter(operator: Operator, parameter: Node, report: Report) -> None:
    name = parameter.get("id")
    known = next((known for known in operator.parameters if known.name == name), None)
    if known is None:
        told = N_("%(operator)s has no parameter %(name)s")
        report.error(parameter, "parameter", told, operator=operator.id, name=name)
        return
    declared = parameter.get("type")
    if declared and declared not in ("any", known.type):
        told = N_("%(name)s is %(kind)s, not %(declared)s")
        report.warning(parameter, "parameter-type", told, name=name, kind=known.type, declared=declared)
    try:
        value = expressions.evaluate(parameter.get("value"), {})
    except ExpressionError:
        return  # depends on the process data (or is wrong, which is said already)
    try:
        operators.check_parameters(dataclasses.replace(operator, parameters=(known,)), {name: value})
    except operators.OperatorParameterError as error:
        report.error(parameter, "parameter-type", error.template, **error.params)


def _check_error_codes(node: Node, operator: Operator, ids: Mapping[str, Node], report: Report) -> None:
    for event in node.getparent().findall(BPMN + "boundaryEvent"):
        definition = event.find(BPMN + "errorEventDefinition")
        if event.get("attachedToRef") != node.get("id") or definition is None:
            continue
        error = ids.get(definition.get("errorRef") or "")
        code = error.get("errorCode") if error is not None else None
        if code and code not in operator.errors:
            report.warning(
                event, "unknown-error-code", N_("%(operator)s never raises %(code)s"), operator=operator.id, code=code
            )


# ---- user tasks


def _check_user_task(
    node: Node, lanes: Mapping[str, str], files: Collection[str], groups: Collection[str], report: Report
) -> None:
    items = {item.get("name"): item for item in node.iter(SPIFF + "property") if item.get("value") is not None}
    given = {name: item.get("value").strip() for name, item in items.items() if name}
    for name in sorted(set(given) - _PROPERTIES):
        report.warning(
            items[name], "unknown-property", N_("the property %(name)s is not known and has no effect"), name=name
        )
    for name in _EXPRESSIONS:
        if given.get(name):
            check_expression(items[name], given[name], report)
    form = given.get("formJsonSchemaFilename", "")
    if not form:
        report.warning(node, "no-form", N_("the task has no form: it can only be confirmed"))
    elif form not in files and f"forms/{form}" not in files:
        report.error(items["formJsonSchemaFilename"], "missing-form", N_("there is no form %(form)s"), form=form)
    if given.get("signature", "") not in ("", "required", "true", "false"):
        report.error(items["signature"], "property", N_("signature is “required” or left out"))
    if given.get("priority") and not re.fullmatch(r"-?[0-9]{1,4}", given["priority"]):
        report.error(items["priority"], "property", N_("priority is a whole number of at most four digits"))
    for name in ("candidateGroup", "qualification"):
        if len(given.get(name, "")) > LONGEST_KEY:
            report.error(
                items[name], "property", N_("%(name)s has at most %(limit)s characters"), name=name, limit=LONGEST_KEY
            )
    if given.get("dueIn"):
        try:
            split_duration(given["dueIn"])
        except Refusal:
            report.error(items["dueIn"], "property", N_("dueIn is an ISO 8601 duration like P1D or PT12H"))
    if not node.get("name"):
        report.warning(node, "no-label", N_("a task without label cannot be found in the inbox"))
    _check_candidates(node, lanes, given, groups, report)


def _check_candidates(
    node: Node, lanes: Mapping[str, str], given: Mapping[str, str], groups: Collection[str], report: Report
) -> None:
    if given.get("assignee") or given.get("candidateUsers"):
        return
    around = (lanes[outer.get("id")] for outer in (node, *node.iterancestors()) if outer.get("id") in lanes)
    group = given.get("candidateGroup") or next(around, "").removeprefix("lane_")
    if not group:
        report.warning(node, "no-candidate", N_("no lane, group or person: nobody will find this task"))
    elif groups and group not in groups:
        report.warning(
            node, "unknown-group", N_("there is no group %(group)s: nobody will find this task"), group=group
        )
