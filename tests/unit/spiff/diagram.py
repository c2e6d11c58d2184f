"""Builds the small BPMN texts of these tests: the parts as XML, the flows as `a > b > c` lines."""

import itertools

_NAMES = (
    'xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:spiffworkflow="http://spiffworkflow.org/bpmn/schema/1.0/core" targetNamespace="test"'
)
ROOTS = (
    '<error id="er" name="failed" errorCode="NVR"/><escalation id="es" name="late" escalationCode="LATE"/>'
    '<message id="m" name="go"/><message id="m2" name="stop"/><signal id="sg" name="alarm"/>'
)
ERROR = '<errorEventDefinition errorRef="er"/>'
ESCALATION = '<escalationEventDefinition escalationRef="es"/>'
MESSAGE = '<messageEventDefinition messageRef="m"/>'
SIGNAL = '<signalEventDefinition signalRef="sg"/>'


def process(*parts: str, id: str = "P") -> str:
    body = "".join(parts)
    return f'<definitions id="D" {_NAMES}>{ROOTS}<process id="{id}" isExecutable="true">{body}</process></definitions>'


def flows(*lines: str) -> str:
    """`flows("s > a > g", "g > b if n > 1")`: sequence flows named `f_<source>_<target>`."""
    found = ""
    for line in lines:
        path, _, condition = line.partition(" if ")
        text = condition.replace("<", "&lt;").replace(">", "&gt;")
        inside = f"<conditionExpression>{text}</conditionExpression>" if condition else ""
        for source, target in itertools.pairwise(name.strip() for name in path.split(" > ")):
            found += f'<sequenceFlow id="f_{source}_{target}" sourceRef="{source}" targetRef="{target}">{inside}'
            found += "</sequenceFlow>"
    return found


def start(id: str = "s", inside: str = "", more: str = "") -> str:
    return f'<startEvent id="{id}" {more}>{inside}</startEvent>'


def end(id: str = "e", inside: str = "") -> str:
    return f'<endEvent id="{id}">{inside}</endEvent>'


def user(*ids: str, inside: str = "", more: str = "") -> str:
    return "".join(f'<userTask id="{id}" {more}>{inside}</userTask>' for id in ids)


def script(id: str, text: str) -> str:
    return f'<scriptTask id="{id}"><script>{text.replace("<", "&lt;")}</script></scriptTask>'


def service(id: str, operator: str = "test/fetch", result: str = "", inside: str = "", **params: str) -> str:
    given = "".join(
        f'<spiffworkflow:parameter id="{name}" type="any" value="{value}"/>' for name, value in params.items()
    )
    variable = f'resultVariable="{result}"' if result else ""
    return (
        f'<serviceTask id="{id}"><extensionElements><spiffworkflow:serviceTaskOperator id="{operator}" {variable}>'
        f"<spiffworkflow:parameters>{given}</spiffworkflow:parameters>"
        f"</spiffworkflow:serviceTaskOperator></extensionElements>{inside}</serviceTask>"
    )


def gateway(kind: str, *ids: str, default: str = "") -> str:
    more = f'default="{default}"' if default else ""
    return "".join(f'<{kind}Gateway id="{id}" {more}/>' for id in ids)


def boundary(id: str, on: str, event: str, *, interrupting: bool = True) -> str:
    cancels = str(interrupting).lower()
    return f'<boundaryEvent id="{id}" attachedToRef="{on}" cancelActivity="{cancels}">{event}</boundaryEvent>'


def subprocess(id: str, *parts: str, more: str = "") -> str:
    return f'<subProcess id="{id}" {more}>{"".join(parts)}</subProcess>'


def handler(id: str, event: str, *parts: str, interrupting: bool = True) -> str:
    """An event sub-process."""
    first = start(f"{id}_s", event, f'isInterrupting="{str(interrupting).lower()}"')
    return subprocess(id, first, *parts, more='triggeredByEvent="true"')


def timer(kind: str, text: str) -> str:
    return f"<timerEventDefinition><{kind}>{text}</{kind}></timerEventDefinition>"


def catch(id: str, event: str) -> str:
    return f'<intermediateCatchEvent id="{id}">{event}</intermediateCatchEvent>'


def throw(id: str, event: str) -> str:
    return f'<intermediateThrowEvent id="{id}">{event}</intermediateThrowEvent>'


def instances(
    over: str = "",
    *,
    count: str = "",
    item: str = "item",
    output: str = "",
    output_item: str = "",
    until: str = "",
    sequential: bool = False,
) -> str:
    """multiInstanceLoopCharacteristics over a list, or `count` of them."""
    parts = f"<loopCardinality>{count}</loopCardinality>" if count else f"<loopDataInputRef>{over}</loopDataInputRef>"
    if output:
        parts += f"<loopDataOutputRef>{output}</loopDataOutputRef>"
    parts += f'<inputDataItem id="{item}" name="{item}"/>'
    if output_item:
        parts += f'<outputDataItem id="{output_item}" name="{output_item}"/>'
    if until:
        parts += f"<completionCondition>{until.replace('<', '&lt;')}</completionCondition>"
    kind = str(sequential).lower()
    return f'<multiInstanceLoopCharacteristics isSequential="{kind}">{parts}</multiInstanceLoopCharacteristics>'
