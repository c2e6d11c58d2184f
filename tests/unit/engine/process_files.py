"""Small deployments for the tests of the engine: BPMN text put together from a few words, forms, and operators."""

import json
from itertools import pairwise
from typing import Any

from engine.errors import BpmnError
from engine.operators import JobContext, StepContext, operator

NAMESPACES = (
    'xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:spiffworkflow="http://spiffworkflow.org/bpmn/schema/1.0/core" targetNamespace="http://diaoqu.example"'
)
HEAD = '<error id="lost" name="lost" errorCode="LOST"/><message id="withdraw" name="withdraw"/>'


def flows(*ids: str, when: str = "") -> str:
    condition = f'<conditionExpression xsi:type="tFormalExpression">{when}</conditionExpression>' if when else ""
    return "".join(
        f'<sequenceFlow id="{source}_to_{target}" sourceRef="{source}" targetRef="{target}">{condition}</sequenceFlow>'
        for source, target in pairwise(ids)
    )


def user(id: str, variable: str = "", loop: str = "", **properties: str) -> str:
    rows = "".join(f'<spiffworkflow:property name="{key}" value="{value}"/>' for key, value in properties.items())
    kept = f"<spiffworkflow:variableName>{variable}</spiffworkflow:variableName>" if variable else ""
    extension = (
        f"<extensionElements>{kept}<spiffworkflow:properties>{rows}</spiffworkflow:properties></extensionElements>"
    )
    return f'<userTask id="{id}" name="任务 {id}">{extension}{loop}</userTask>'


def service(id: str, operator: str, result: str, **params: str) -> str:
    rows = "".join(f'<spiffworkflow:parameter id="{key}" type="str" value="{value}"/>' for key, value in params.items())
    start = f'<spiffworkflow:serviceTaskOperator id="{operator}" resultVariable="{result}">'
    return (
        f'<serviceTask id="{id}" name="服务 {id}"><extensionElements>{start}'
        f"<spiffworkflow:parameters>{rows}</spiffworkflow:parameters>"
        f"</spiffworkflow:serviceTaskOperator></extensionElements></serviceTask>"
    )


def boundary(id: str, on: str, definition: str, *, interrupting: bool = True) -> str:
    cancel = str(interrupting).lower()
    return f'<boundaryEvent id="{id}" attachedToRef="{on}" cancelActivity="{cancel}">{definition}</boundaryEvent>'


ERROR = '<errorEventDefinition errorRef="lost"/>'


def timer(kind: str, value: str) -> str:
    return f'<timerEventDefinition><{kind} xsi:type="tFormalExpression">{value}</{kind}></timerEventDefinition>'


def process(id: str, *body: str) -> str:
    inner = "".join(body)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<definitions id="D_{id}" {NAMESPACES}>{HEAD}'
        f'<process id="{id}" name="流程 {id}" isExecutable="true"><startEvent id="start"/><endEvent id="end"/>{inner}'
        f"</process></definitions>"
    )


FORM = json.dumps(
    {
        "type": "default",
        "id": "decision",
        "schemaVersion": 16,
        "components": [
            {
                "type": "radio",
                "id": "f1",
                "key": "decision",
                "label": "决定",
                "values": [{"value": "approve", "label": "同意"}, {"value": "refuse", "label": "驳回"}],
                "validate": {"required": True},
            },
            {"type": "textarea", "id": "f2", "key": "comment", "label": "意见"},
        ],
    },
    ensure_ascii=False,
)

REVIEW = process(
    "review",
    user("decide", "review", candidateGroup="reviewer", formJsonSchemaFilename="decision.form", excluded="[applicant]"),
    user("confirm", "confirmation", assignee="applicant"),
    flows("start", "decide", "confirm", "end"),
)
"""A reviewer who is not the applicant decides, then the applicant confirms."""

SIGNED = process(
    "signed",
    user(
        "decide",
        "review",
        candidateGroup="reviewer",
        formJsonSchemaFilename="decision.form",
        signature="required",
        qualification="retrieval",
        dueIn="P2D",
        priority="80",
    ),
    service("fetch", "office/fetch", "fetched", camera="'gate'"),
    user("confirm", "confirmation", assignee="applicant"),
    '<parallelGateway id="fork"/>',
    flows("start", "decide", "fork"),
    flows("fork", "fetch", "end"),
    flows("fork", "confirm", "end"),
)
"""The dearest step there is: signed, qualified, and it opens a job and a task of a named person."""

CAMERAS = process(
    "cameras",
    '<subProcess id="each" name="每个摄像机"><multiInstanceLoopCharacteristics isSequential="false">'
    '<loopDataInputRef>cameras</loopDataInputRef><inputDataItem id="camera" name="camera"/>'
    "</multiInstanceLoopCharacteristics>"
    '<startEvent id="each_start"/><endEvent id="each_end"/>'
    + service("fetch", "office/fetch", "fetched", camera="camera")
    + boundary("fetch_lost", "fetch", ERROR)
    + user("repair", "repaired", candidateGroup="operator")
    + flows("each_start", "fetch", "each_end")
    + flows("fetch_lost", "repair", "each_end")
    + "</subProcess>",
    flows("start", "each", "end"),
)

FETCH = process(
    "fetch_one", service("fetch", "office/fetch", "fetched", camera="camera"), flows("start", "fetch", "end")
)
"""One job, and nobody catches its errors."""

LOOK_UP = process(
    "look_up",
    service("look", "office/look_up", "found", group="'committee'"),
    user("read", "reading", candidateUsers="found.members"),
    flows("start", "look", "read", "end"),
)

SCRIPT = process(
    "script",
    '<scriptTask id="divide" name="除"><script>ratio = total / parts</script></scriptTask>',
    user("read", "reading", candidateGroup="reviewer"),
    flows("start", "divide", "read", "end"),
)

WAITING = process(
    "waiting",
    user("decide", "review", candidateGroup="reviewer"),
    boundary("reminded", "decide", timer("timeDuration", "PT1H"), interrupting=False),
    boundary("expired", "decide", timer("timeDuration", "P1D")),
    boundary("withdrawn", "decide", '<messageEventDefinition messageRef="withdraw"/>'),
    user("remind", "reminder", candidateGroup="operator"),
    flows("start", "decide", "end"),
    flows("reminded", "remind", "end"),
    flows("expired", "end"),
    flows("withdrawn", "end"),
)

COUNTING = process(
    "counting",
    user("again", "answer", candidateGroup="reviewer", formJsonSchemaFilename="decision.form"),
    '<exclusiveGateway id="merge"/><exclusiveGateway id="choose" default="choose_to_end"/>',
    flows("start", "merge", "again", "choose"),
    flows("choose", "merge", when="answer.decision == 'refuse'"),
    flows("choose", "end"),
)
"""Asks again until somebody approves: as many steps as a test wants."""

FILES = {
    "review.bpmn": REVIEW,
    "signed.bpmn": SIGNED,
    "cameras.bpmn": CAMERAS,
    "fetch_one.bpmn": FETCH,
    "look_up.bpmn": LOOK_UP,
    "script.bpmn": SCRIPT,
    "waiting.bpmn": WAITING,
    "counting.bpmn": COUNTING,
    "forms/decision.form": FORM,
    "translations/en.json": json.dumps({"任务 decide": "Decide"}, ensure_ascii=False),
}


class Recorder:
    """What the operators of these tests do, set by each test; cameras that are `lost` fail as the diagram foresees."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lost: set[str] = set()
        self.broken: dict[str, Exception] = {}
        self.calls: list[tuple[str, int]] = []
        self.limit = 0
        self.site = "main"
        self.members: list[str] = []
        self.during: Any = None


RECORDER = Recorder()


def _exclusive(_session: Any, params: Any) -> tuple[str, int, str]:
    return ("recorder", RECORDER.limit, RECORDER.site) if RECORDER.limit else ("", 1, RECORDER.site)


@operator("office/fetch", zh="取", en="Fetch", errors=("LOST",), retries=3, exclusive=_exclusive)
def fetch(context: JobContext, *, camera: str) -> dict[str, Any]:
    """Answer for a camera, or fail as the test has arranged."""
    RECORDER.calls.append((camera, context.attempt))
    if RECORDER.during is not None:
        RECORDER.during(context)
    if camera in RECORDER.lost:
        raise BpmnError("LOST", f"{camera} does not answer")
    if camera in RECORDER.broken:
        raise RECORDER.broken[camera]
    return {"camera": camera}


@operator("office/look_up", zh="查", en="Look up", synchronous=True)
def look_up(context: StepContext, *, group: str) -> dict[str, Any]:
    """Read a table inside the step; the answer must be recorded."""
    RECORDER.calls.append((group, 0))
    if RECORDER.during is not None:
        RECORDER.during(context)
    return {"group": group, "members": list(RECORDER.members)}
