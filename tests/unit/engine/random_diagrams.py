"""Random sound diagrams for hypothesis: blocks inside blocks, each with one way in and one way out.

Every construct that a process owner draws may stand in every other one. Loops count their rounds, every path of a
choice has a default, and what a non-interrupting event begins ends by itself: so an instance can always go on to its
end, whatever people, operators and clocks do.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from engine.operators import JobContext, StepContext, operator

HEAD = (
    '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:spiffworkflow="http://spiffworkflow.org/bpmn/schema/1.0/core" id="D" targetNamespace="test">'
    '<error id="er" name="lost" errorCode="LOST"/><message id="go_m" name="go"/><message id="stop_m" name="stop"/>'
    '<signal id="alarm_s" name="alarm"/><escalation id="es" name="late" escalationCode="LATE"/>'
)
EVENTS = {
    "go": '<messageEventDefinition messageRef="go_m"/>',
    "stop": '<messageEventDefinition messageRef="stop_m"/>',
    "alarm": '<signalEventDefinition signalRef="alarm_s"/>',
    "timer": "<timerEventDefinition><timeDuration>PT{hours}H</timeDuration></timerEventDefinition>",
    "error": '<errorEventDefinition errorRef="er"/>',
    "late": '<escalationEventDefinition escalationRef="es"/>',
    "over": "<terminateEventDefinition/>",
}
REVIEWED = (
    '<extensionElements><spiffworkflow:properties><spiffworkflow:property name="candidateGroup" value="reviewer"/>{}'
    "</spiffworkflow:properties></extensionElements>"
)
CONDITIONS = ("v > 0", "n % 2 == 0", "v == n", "len(items) > 2", "n + v > 3")
DATA = {"n": 0, "v": 0, "items": [1, 2], "way": ""}
FORM = json.dumps(
    {
        "type": "default",
        "id": "value",
        "schemaVersion": 16,
        "components": [{"type": "number", "id": "f1", "key": "v", "label": "v", "validate": {"required": True}}],
    }
)
TABLE = (
    '<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/" id="decisions" name="Ways" namespace="t">'
    '<decision id="ways" name="Which way"><decisionTable id="table" hitPolicy="FIRST"><input id="number" label="v">'
    '<inputExpression id="number_text" typeRef="number"><text>v</text></inputExpression></input>'
    '<output id="way" name="way" typeRef="string"/>'
    '<rule id="r1"><inputEntry id="i1"><text>&lt; 2</text></inputEntry>'
    '<outputEntry id="o1"><text>"short"</text></outputEntry></rule>'
    '<rule id="r2"><inputEntry id="i2"><text></text></inputEntry>'
    '<outputEntry id="o2"><text>"long"</text></outputEntry></rule></decisionTable></decision></definitions>'
)


@operator("random/fetch", zh="取", en="Fetch", errors=("LOST",), retries=1)
def fetch(context: JobContext, *, n: Any = 0) -> Any:
    """Never run: the test reports what it likes."""
    raise AssertionError(n)


ANSWERS: list[Any] = []
"""What `random/ask` says next; a different thing each time it is asked."""


@operator("random/ask", zh="问", en="Ask", synchronous=True)
def ask(context: StepContext, *, n: Any = 0) -> Any:
    """Answers what nobody could repeat without the record."""
    ANSWERS.append(n)
    return {"asked": len(ANSWERS), "n": n}


@dataclass
class Diagram:
    """A deployment with the process P, and what its instances may wait for."""

    files: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return "\n".join(text for name, text in self.files.items() if name.endswith(".bpmn"))


Ends = tuple[str, str]


class Builder:
    """Draws one process; the same element ids come out of the same choices."""

    def __init__(self, draw: Callable[[Any], Any], prefix: str, calls: tuple[str, ...] = (), blocks: int = 7) -> None:
        self.draw = draw
        self.prefix = prefix
        self.calls = calls
        self.left = blocks
        self.parts: list[str] = []
        self.count = 0

    def process(self, process_id: str) -> str:
        return f'{HEAD}<process id="{process_id}" isExecutable="true">{self.scope(3)}</process></definitions>'

    def scope(self, depth: int) -> str:
        """Start, block, end; and perhaps an event sub-process."""
        outer, self.parts = self.parts, []
        how = self.draw(st.sampled_from(["", "", "", "over", "alarm", "late"]))
        first, last = self.node("startEvent"), self.node("endEvent", EVENTS[how] if how else "")
        entry, leave = self.block(depth)
        self.flow(first, entry)
        self.flow(leave, last)
        if depth > 1 and self.chance(5):
            self.handler(depth - 1)
        body, self.parts = "".join(self.parts), outer
        return body

    def handler(self, depth: int) -> None:
        event = self.draw(st.sampled_from(["go", "stop", "alarm", "timer"]))
        interrupting = str(self.draw(st.booleans())).lower()
        outer, self.parts = self.parts, []
        first = self.node("startEvent", self.event(event), f'isInterrupting="{interrupting}"')
        entry, leave = self.block(depth - 1)
        self.flow(first, entry)
        self.flow(leave, self.node("endEvent"))
        body, self.parts = "".join(self.parts), outer
        self.node("subProcess", body, 'triggeredByEvent="true"')

    # ---- parts

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(0, one_in - 1)) == one_in - 1

    def id(self, kind: str) -> str:
        self.count += 1
        return f"{self.prefix}{kind}{self.count}"

    def node(self, kind: str, inside: str = "", more: str = "") -> str:
        name = self.id({"startEvent": "start", "endEvent": "end"}.get(kind, kind))
        self.parts.append(f'<{kind} id="{name}" name="{name}" {more}>{inside}</{kind}>')
        return name

    def flow(self, source: str, target: str, when: str = "") -> str:
        name = self.id("flow")
        text = when.replace("<", "&lt;").replace(">", "&gt;")
        inside = f"<conditionExpression>{text}</conditionExpression>" if when else ""
        self.parts.append(
            f'<sequenceFlow id="{name}" sourceRef="{source}" targetRef="{target}">{inside}</sequenceFlow>'
        )
        return name

    def event(self, name: str) -> str:
        return EVENTS[name].replace("{hours}", str(self.draw(st.integers(1, 5))))

    def script(self, text: str) -> str:
        return self.node("scriptTask", f"<script>{text.replace('<', '&lt;')}</script>")

    def choice(self, kind: str, ways: list[Ends], conditions: list[str]) -> Ends:
        """A gateway with a condition on every way but the last, which is the default; and its join."""
        fork, join = self.id(kind), self.node(kind)
        for place, (entry, leave) in enumerate(ways):
            last = place == len(ways) - 1
            name = self.flow(fork, entry, "" if last else conditions[place])
            self.flow(leave, join)
        self.parts.append(f'<{kind} id="{fork}" name="{fork}" default="{name}"/>')
        return fork, join

    # ---- blocks

    def block(self, depth: int) -> Ends:
        self.left -= 1
        leaf = depth <= 0 or self.left <= 0
        name = self.draw(st.sampled_from(LEAVES if leaf else LEAVES[:4] + BLOCKS))
        ends: Ends = getattr(self, name)(depth - 1)
        return ends

    def user(self, _depth: int) -> Ends:
        form = '<spiffworkflow:property name="formJsonSchemaFilename" value="value.form"/>'
        name = self.node("userTask", REVIEWED.format(form) + self.repeated())
        return name, name

    def repeated(self) -> str:
        kind = self.draw(st.sampled_from(["", "", "", "false", "true", "standard"]))
        if not kind:
            return ""
        if kind == "standard":
            return (
                '<standardLoopCharacteristics loopMaximum="2" testBefore="false"><loopCondition>v &lt; 2'
                "</loopCondition></standardLoopCharacteristics>"
            )
        until = "<completionCondition>v > 2</completionCondition>" if self.draw(st.booleans()) else ""
        return (
            f'<multiInstanceLoopCharacteristics isSequential="{kind}"><loopDataInputRef>items</loopDataInputRef>'
            f'<inputDataItem id="{self.id("item")}" name="item"/>{until}</multiInstanceLoopCharacteristics>'
        )

    def work(self, _depth: int) -> Ends:
        name = self.node("scriptTask", "<script>n = n + 1\nitems = items[:2] + [n]</script>")
        return name, name

    def service(self, _depth: int, operator_id: str = "random/fetch", result: str = "found") -> Ends:
        inside = (
            f'<extensionElements><spiffworkflow:serviceTaskOperator id="{operator_id}" resultVariable="{result}">'
            '<spiffworkflow:parameters><spiffworkflow:parameter id="n" type="any" value="n"/>'
            "</spiffworkflow:parameters></spiffworkflow:serviceTaskOperator></extensionElements>"
        )
        name = self.node("serviceTask", inside)
        return name, name

    def asked(self, depth: int) -> Ends:
        return self.service(depth, "random/ask", "answer")

    def manual(self, _depth: int) -> Ends:
        name = self.node("manualTask", REVIEWED.format(""))
        return name, name

    def decision(self, _depth: int) -> Ends:
        inside = (
            "<extensionElements><spiffworkflow:calledDecisionId>ways</spiffworkflow:calledDecisionId>"
            "</extensionElements>"
        )
        name = self.node("businessRuleTask", inside)
        return name, name

    def catch(self, _depth: int) -> Ends:
        event = self.draw(st.sampled_from(["timer", "go", "stop", "alarm"]))
        name = self.node("intermediateCatchEvent", self.event(event))
        return name, name

    def throw(self, _depth: int) -> Ends:
        name = self.node("intermediateThrowEvent", EVENTS[self.draw(st.sampled_from(["alarm", "alarm", "go", "late"]))])
        return name, name

    def called(self, _depth: int) -> Ends:
        if not self.calls:
            return self.work(0)
        name = self.node("callActivity", self.repeated(), f'calledElement="{self.draw(st.sampled_from(self.calls))}"')
        return name, name

    def sequence(self, depth: int) -> Ends:
        first, middle = self.block(depth)
        second, last = self.block(depth)
        self.flow(middle, second)
        return first, last

    def exclusive(self, depth: int) -> Ends:
        return self._split("exclusiveGateway", depth)

    def inclusive(self, depth: int) -> Ends:
        return self._split("inclusiveGateway", depth)

    def _split(self, kind: str, depth: int) -> Ends:
        ways = [self.block(depth) for _ in range(self.draw(st.integers(2, 3)))]
        return self.choice(kind, ways, [self.draw(st.sampled_from(CONDITIONS)) for _ in ways])

    def parallel(self, depth: int) -> Ends:
        fork, join = self.node("parallelGateway"), self.node("parallelGateway")
        for _ in range(self.draw(st.integers(2, 3))):
            entry, leave = self.block(depth)
            self.flow(fork, entry)
            self.flow(leave, join)
        return fork, join

    def loop(self, depth: int) -> Ends:
        counter = f"{self.prefix}c{self.count}"
        first, merge = self.script(f"{counter} = 0"), self.node("exclusiveGateway")
        entry, leave = self.block(depth)
        count, fork = self.script(f"{counter} = {counter} + 1"), self.id("exclusiveGateway")
        for source, target in ((first, merge), (merge, entry), (leave, count), (count, fork)):
            self.flow(source, target)
        self.flow(fork, merge, f"{counter} < 3 and {self.draw(st.sampled_from(CONDITIONS))}")
        last = self.work(0)[0]
        default = self.flow(fork, last)
        self.parts.append(f'<exclusiveGateway id="{fork}" name="{fork}" default="{default}"/>')
        return first, last

    def subprocess(self, depth: int) -> Ends:
        body = self.scope(depth)
        name = self.node("subProcess", self.repeated() + body)
        return name, name

    def race(self, depth: int) -> Ends:
        """An event-based gateway."""
        fork, join = self.node("eventBasedGateway"), self.node("exclusiveGateway")
        events = self.draw(st.lists(st.sampled_from(["timer", "go", "stop", "alarm"]), min_size=2, unique=True))
        for event in events:
            first = self.node("intermediateCatchEvent", self.event(event))
            entry, leave = self.block(depth)
            self.flow(fork, first)
            self.flow(first, entry)
            self.flow(leave, join)
        return fork, join

    def guarded(self, depth: int) -> Ends:
        """An activity with one or two boundary events."""
        kind = self.draw(st.sampled_from(["user", "service", "subprocess", "manual", "called"]))
        activity, _ = getattr(self, kind)(depth)
        join = self.node("exclusiveGateway")
        self.flow(activity, join)
        events = ["timer", "go", "stop", "alarm", *(["error"] * 3 if kind in ("service", "subprocess") else [])]
        events += ["late"] * 2 if kind in ("subprocess", "called") else []
        both = st.tuples(st.sampled_from(events), st.booleans())  # one event may both remind and end
        for event, ends in self.draw(st.lists(both, min_size=1, max_size=3, unique=True)):
            cancels = event == "error" or ends
            more = f'attachedToRef="{activity}" cancelActivity="{str(cancels).lower()}"'
            first = self.node("boundaryEvent", self.event(event), more)
            entry, leave = self.block(depth)
            self.flow(first, entry)
            self.flow(leave, join if cancels else self.node("endEvent"))
        return activity, join


LEAVES = ["user", "service", "work", "asked", "manual", "decision", "catch", "throw", "called"]
BLOCKS = [
    *("sequence", "sequence", "parallel", "parallel", "exclusive", "inclusive", "loop"),
    *("subprocess", "race", "guarded", "guarded", "called"),
]


@st.composite
def diagrams(draw: Callable[[Any], Any], *, blocks: int = 9) -> Diagram:
    """A process P, and a process Q that it may call."""
    called = Builder(draw, "q_", blocks=2).process("Q")
    files = {"P.bpmn": Builder(draw, "", ("Q",), blocks).process("P"), "Q.bpmn": called, "forms/value.form": FORM}
    return Diagram({**files, "ways.dmn": TABLE})
