"""docs/supported-elements.md says of every element of BPMN 2.0 what happens, and that is what happens.

What runs is shown by a diagram of this folder; what has no effect or is refused is put into a diagram made for it.
"""

import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "unit" / "spiff"))

from case import Case  # noqa: E402
from diagram import (  # noqa: E402
    MESSAGE,
    boundary,
    catch,
    end,
    flows,
    gateway,
    process,
    script,
    service,
    start,
    subprocess,
    throw,
    user,
)
from test_determinism import interleave  # noqa: E402

from engine.errors import Problem  # noqa: E402
from engine.lint import lint  # noqa: E402
from engine.lint.structure import GATEWAYS  # noqa: E402
from engine.lint.vocabulary import (  # noqa: E402
    ABSTRACT,
    BOOLEANS,
    DRAWN,
    IDLE,
    INSTEAD,
    REFUSED,
    RULES,
    RUNS,
    VALUES,
    VOCABULARY,
    WHY_IDLE,
)
from engine.spiff import compile_definition, dmn  # noqa: E402
from web.findings import TITLES  # noqa: E402

PAGE = (HERE.parents[1] / "docs" / "supported-elements.md").read_text(encoding="utf-8")
BPMN = "{http://www.omg.org/spec/BPMN/20100524/MODEL}"
SCHEMA = "{http://www.w3.org/2001/XMLSchema}"
WORDS = {"runs": RUNS, "runs, with limits": RUNS, "no effect": DRAWN, "no effect, warned": IDLE, "refused": REFUSED}


def section(title: str) -> Iterator[list[str]]:
    """The cells of the rows of a section's table, without the marks of code."""
    text = PAGE.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]
    for line in [line for line in text.splitlines() if line.startswith("|")][2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


ELEMENTS = {code(row[0])[0]: row[1:] for row in section("Elements")}
LISTED = {
    name: set(attributes.split())
    for name, _, attributes in (line.partition(":") for line in (HERE / "bpmn20.txt").read_text().splitlines())
}


# ---- the page, the list, the vocabulary and the schema say the same -------------------------------------------------


def test_the_list_of_names_is_that_of_the_schema() -> None:
    """The engine's library brings the schema of the standard along."""
    found = importlib.util.find_spec("SpiffWorkflow")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent / "bpmn" / "parser" / "schema"
    names = {
        element.get("name")
        for file in ("BPMN20.xsd", "Semantic.xsd")
        for element in etree.parse(folder / file).iter(SCHEMA + "element")
        if element.get("name")
    }
    assert names == set(LISTED)


def test_every_element_has_a_row_and_an_entry() -> None:
    assert set(ELEMENTS) == set(LISTED) == set(VOCABULARY) | ABSTRACT


def test_the_vocabulary_knows_every_attribute() -> None:
    formal = {"language", "evaluatesToTypeRef"}  # of an expression that says that it is a formal one
    for name, places in VOCABULARY.items():
        known = set().union(*(entry.attributes for entry in places.values()))
        assert known - formal == LISTED[name] - formal, name


@pytest.mark.parametrize("name", sorted(ELEMENTS))
def test_a_row_says_what_the_vocabulary_says_and_names_what_exists(name: str) -> None:
    verdict, text, shown = ELEMENTS[name]
    verdicts = {entry.verdict for entry in VOCABULARY.get(name, {}).values()} or {REFUSED}
    assert WORDS[verdict] == next(known for known in (RUNS, DRAWN, IDLE, REFUSED) if known in verdicts)
    if WORDS[verdict] == RUNS:
        assert code(shown)
        for file in code(shown):
            assert etree.parse(HERE / file).getroot().find(f".//{BPMN}{name}") is not None or name == "definitions"
    elif WORDS[verdict] != DRAWN:
        (rule,) = code(shown)
        assert rule in TITLES
    instead = INSTEAD.get(name) if WORDS[verdict] == REFUSED else WHY_IDLE.get(name)
    if instead and WORDS[verdict] in (REFUSED, IDLE):
        assert instead[1:] in text


# ---- what runs ------------------------------------------------------------------------------------------------------


@cache
def visited(file: str) -> frozenset[str]:
    """The elements that people see entered in a random run of a diagram; `Case` compares four ways of running it."""
    found: set[str] = set()
    for seed in range(3):
        case = interleave(HERE / file, seed)
        found |= {event["element"] for result in case.results for event in result.visible}
    return frozenset(found)


NODES = {"startEvent", "endEvent", "intermediateCatchEvent", "intermediateThrowEvent", "boundaryEvent", *GATEWAYS} | {
    f"{kind}Task" for kind in ("user", "manual", "script", "service", "send", "receive", "businessRule")
} | {"callActivity", "subProcess", "transaction", "sequenceFlow"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NODES))
def test_what_runs_is_entered_in_its_diagram(name: str) -> None:
    for file in code(ELEMENTS[name][2]):
        nodes = {node.get("id") for node in etree.parse(HERE / file).iter(BPMN + name)}
        assert nodes & visited(file), file


# ---- what has no effect or is refused -------------------------------------------------------------------------------

FLOW = "f_a_g"
LINK = '<linkEventDefinition name="on"/>'


@cache
def base() -> str:
    """A diagram with a place for everything that may be put into one."""
    text = process(
        '<laneSet id="lanes"><lane id="lane_all"><flowNodeRef>a</flowNodeRef></lane></laneSet>',
        '<dataObject id="paper"/><dataObjectReference id="paper_ref" dataObjectRef="paper"/>',
        '<dataStoreReference id="shelf_ref" dataStoreRef="shelf"/>',
        start(),
        user("a", inside="<incoming>f_s_a</incoming>"),
        boundary("late", "a", '<messageEventDefinition messageRef="m"/>'),
        gateway("exclusive", "g", default="f_g_out"),
        '<scriptTask id="w"><ioSpecification id="io"><dataInput id="n"/><dataOutput id="x"/><inputSet id="i">'
        '<dataInputRefs>n</dataInputRefs></inputSet><outputSet id="o"><dataOutputRefs>x</dataOutputRefs></outputSet>'
        '</ioSpecification><dataOutputAssociation id="write"><targetRef>paper_ref</targetRef></dataOutputAssociation>'
        "<script>x = 1</script></scriptTask>",
        throw("out", LINK),
        catch("into", LINK),
        user(
            "many",
            inside='<multiInstanceLoopCharacteristics id="loop"><loopCardinality>2</loopCardinality>'
            '<inputDataItem id="item"/></multiInstanceLoopCharacteristics>',
        ),
        end(),
        flows("s > a > g > out", "g > w if n == 99", "w > e", "into > many > e", "late > e"),
    )

    return text.replace(
        "<process ",
        '<collaboration id="pools"><participant id="pool" processRef="P"/></collaboration><category id="cat"/>'
        '<itemDefinition id="type"/><dataStore id="shelf"/><process ',
        1,
    ).replace("<message ", '<message itemRef="type" ', 1)


def put(name: str, verdict: str) -> etree._Element:
    """The diagram with an element of that name where the vocabulary gives it this verdict."""
    root = etree.fromstring(base().encode())
    place(root, name, verdict)
    return root


def place(root: etree._Element, name: str, verdict: str) -> etree._Element:
    parents = [parent for parent, entry in VOCABULARY[name].items() if entry.verdict == verdict]
    found = next((node for parent in parents for node in root.iter(BPMN + parent)), None)
    if parents == ["*"]:
        found = root.find(BPMN + "process")
    elif found is None:
        outer = {entry.verdict for entry in VOCABULARY[parents[0]].values()}
        found = place(root, parents[0], next(known for known in (RUNS, DRAWN, IDLE, REFUSED) if known in outer))
    made = etree.SubElement(found, BPMN + name, id=f"added_{name}")
    if name in ("incoming", "outgoing"):
        made.attrib.clear()
        made.text = {"incoming": "f_s_a", "outgoing": "f_a_g"}[name]
        root.find(f".//{BPMN}userTask[@id='a']").append(made)
    return made


def found_in(root: etree._Element | str) -> list[Problem]:
    text = root if isinstance(root, str) else etree.tostring(root, encoding="unicode")
    return lint({"test.bpmn": text})


def runs_of(root: etree._Element | str) -> list[object]:
    case = Case(root if isinstance(root, str) else etree.tostring(root, encoding="unicode"), {"n": 1})
    case.do("a")
    case.do("many")
    case.do("many")
    assert case.state == "completed"
    return list(case.results)


@cache
def unchanged() -> list[object]:
    return runs_of(base())


def test_the_diagram_into_which_everything_is_put_is_sound() -> None:
    assert {problem.severity for problem in found_in(base())} == {"warning"}
    assert len(runs_of(base())) == 4


def entries(verdict: str) -> list[str]:
    return sorted(
        name for name, places in VOCABULARY.items() if any(entry.verdict == verdict for entry in places.values())
    )


@pytest.mark.parametrize("name", entries(DRAWN))
def test_a_drawing_changes_nothing(name: str) -> None:
    root = put(name, DRAWN)
    assert [problem for problem in found_in(root) if problem.severity == "error" or problem.rule == "no-effect"] == []
    assert runs_of(root) == unchanged()


@pytest.mark.parametrize("name", entries(IDLE))
def test_what_might_be_expected_to_have_an_effect_is_warned_of_and_has_none(name: str) -> None:
    root = put(name, IDLE)
    problems = found_in(root)
    assert [problem.rule for problem in problems if problem.severity == "error"] == []
    assert [problem.severity for problem in problems if problem.rule == "no-effect"] == ["warning"]
    assert runs_of(root) == unchanged()


@pytest.mark.parametrize("name", entries(REFUSED))
def test_what_is_refused_is_refused_by_its_rule_at_its_place(name: str) -> None:
    root = etree.fromstring(etree.tostring(put(name, REFUSED)))
    added = [node for node in root.iter() if (node.get("id") or "").startswith("added_")]
    outermost = etree.QName(added[0]).localname
    rule = RULES.get(outermost, "unsupported")
    (problem,) = [found for found in found_in(root) if found.rule == rule]
    assert (problem.severity, problem.line) == ("error", added[0].sourceline)
    assert INSTEAD[outermost] in problem.message or rule != "unsupported"


@pytest.mark.parametrize("name", sorted(ABSTRACT))
def test_the_name_of_a_kind_is_no_element(name: str) -> None:
    root = etree.fromstring(base().encode())
    etree.SubElement(root.find(BPMN + "process"), BPMN + name, id="added")
    assert ("added", "unsupported") in {(found.element, found.rule) for found in found_in(root)}


def test_what_is_no_element_stands_in_the_wrong_place_or_stands_twice_is_refused() -> None:
    root = etree.fromstring(base().encode())
    etree.SubElement(root.find(BPMN + "process"), BPMN + "usertask", id="misspelt")
    etree.SubElement(root.find(f".//{BPMN}startEvent"), BPMN + "multiInstanceLoopCharacteristics", id="elsewhere")
    script = root.find(f".//{BPMN}script")
    script.getparent().append(etree.fromstring(etree.tostring(script)))
    found = {(problem.element, problem.rule) for problem in found_in(root) if problem.severity == "error"}
    assert found >= {("misspelt", "unsupported"), ("elsewhere", "misplaced-element"), ("w", "duplicate-element")}


# ---- events, attributes, decision tables ----------------------------------------------------------------------------

PLACES = ("start", "handler", "catch", "boundary", "throw", "end")
EVENTS = {row[0]: row[1:] for row in section("Events")}
DEFINITIONS = {
    "none": "",
    "message": '<messageEventDefinition messageRef="m"/>',
    "signal": '<signalEventDefinition signalRef="sg"/>',
    "timer": "<timerEventDefinition><timeDuration>PT1H</timeDuration></timerEventDefinition>",
    "conditional": "<conditionalEventDefinition><condition>n == 1</condition></conditionalEventDefinition>",
    "error": '<errorEventDefinition errorRef="er"/>',
    "escalation": '<escalationEventDefinition escalationRef="es"/>',
    "cancel": "<cancelEventDefinition/>",
    "compensate": "<compensateEventDefinition/>",
    "link": LINK,
    "terminate": "<terminateEventDefinition/>",
}


def with_event(place: str, definition: str) -> str:
    """A small sound diagram, but for the event at that place."""
    match place:
        case "start":
            return process(start(inside=definition), end(), flows("s > e"))
        case "handler":
            inside = (start("hs", definition), end("he"), flows("hs > he"))
            handler = subprocess("h", *inside, more='triggeredByEvent="true"')
            return process(start(), user("a"), end(), flows("s > a > e"), handler)
        case "boundary":
            kind = "transaction" if "cancel" in definition else "subProcess"
            inside = start("is") + user("a") + end("ie") + flows("is > a > ie")
            body = f'<{kind} id="sp">{inside}</{kind}>'
            return process(start(), body, boundary("b", "sp", definition), end(), flows("s > sp > e", "b > e"))
        case "end" if "cancel" in definition:
            inside = start("is") + user("a") + end("ie", definition) + flows("is > a > ie")
            body = f'<transaction id="sp">{inside}</transaction>'
            return process(
                start(), body, boundary("b", "sp", DEFINITIONS["cancel"]), end(), flows("s > sp > e", "b > e")
            )
        case "end":
            return process(start(), end(inside=definition), flows("s > e"))
    if definition == LINK:
        return process(start(), throw("out", LINK), catch("into", LINK), end(), flows("s > out", "into > e"))
    event = catch("c", definition) if place == "catch" else throw("c", definition)
    return process(start(), event, end(), flows("s > c > e"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("event", DEFINITIONS)
def test_an_event_runs_or_is_refused_as_the_table_says(event: str, place: str) -> None:
    text = with_event(place, DEFINITIONS[event])
    rules = {problem.rule for problem in found_in(text) if problem.severity == "error"}
    if EVENTS[event][PLACES.index(place)] == "runs":
        assert rules == set()
        assert compile_definition({"test.bpmn": text}, "P")
    else:
        assert rules & {"unsupported-event", "no-event-definition"}


SAMPLES = {
    "transaction": f'<transaction id="sp">{start("is")}{end("ie")}{flows("is > ie")}</transaction>',
    "subProcess": subprocess("sp", start("is"), end("ie"), flows("is > ie")),
    "callActivity": '<callActivity id="sp" calledElement="P2"/>',
    "receiveTask": '<receiveTask id="sp" messageRef="m"/>',
    "scriptTask": script("sp", "x = 1"),
    "serviceTask": service("sp"),
    "standardLoopCharacteristics": user(
        "sp",
        inside='<standardLoopCharacteristics id="l"><loopCondition>n == 1</loopCondition>'
        "</standardLoopCharacteristics>",
    ),
    "extension": user("sp"),
    "eventBasedGateway": user("sp"),
}


def with_attribute(attribute: str, owner: str, value: str) -> str:
    """A sound diagram in which the (first) element of that kind has this value."""
    if owner not in SAMPLES:
        root = etree.fromstring(base().encode())
    else:
        rest = ""
        lines = ["s > sp > e"]
        if owner == "eventBasedGateway":
            rest = "<eventBasedGateway id='eg'/>" + catch("c1", DEFINITIONS["timer"]) + catch("c2", MESSAGE)
            lines = ["s > sp > eg > c1 > e", "eg > c2 > e"]
        root = etree.fromstring(process(start(), SAMPLES[owner], rest, end(), flows(*lines)).encode())
        if owner == "extension":
            root.insert(0, etree.Element(BPMN + "extension"))
    root.find(f".//{BPMN}{owner}").set(attribute, value)
    return etree.tostring(root, encoding="unicode")


ATTRIBUTES = [tuple((code(cell) or [""])[0] for cell in row) for row in section("Attributes")]


@pytest.mark.parametrize(("attribute", "owner", "runs", "refused", "rule"), ATTRIBUTES)
def test_a_value_of_an_attribute_runs_or_is_refused_as_the_table_says(
    attribute: str, owner: str, runs: str, refused: str, rule: str
) -> None:
    known = {"missing-process", "unknown-operator"}  # of the sample, not of the attribute
    if runs:
        problems = found_in(with_attribute(attribute, owner, runs))
        assert {problem.rule for problem in problems if problem.severity == "error"} - known == set()
        assert "unknown-attribute" not in {problem.rule for problem in problems}
    if refused:
        problems = found_in(with_attribute(attribute, owner, refused))
        assert (rule, "error") in {(problem.rule, problem.severity) for problem in problems}


def test_every_attribute_with_a_rule_of_its_own_has_a_row() -> None:
    assert {row[0] for row in ATTRIBUTES} >= set(VALUES) | BOOLEANS


def test_an_attribute_of_no_element_is_a_warning() -> None:
    problems = found_in(with_attribute("cancelActvity", "boundaryEvent", "false"))
    assert [(found.element, found.severity) for found in problems if found.rule == "unknown-attribute"] == [
        ("late", "warning")
    ]


@pytest.mark.parametrize("event", ["error", "cancel"])
def test_an_error_or_a_cancellation_cannot_go_on(event: str) -> None:
    text = with_event("boundary", DEFINITIONS[event]).replace('cancelActivity="true"', 'cancelActivity="false"')
    assert "unsupported-attribute" in {problem.rule for problem in found_in(text)}


@pytest.mark.parametrize(("policy", "aggregation", "verdict"), [row[:3] for row in section("Decision tables")])
def test_a_hit_policy_runs_or_is_refused_as_the_table_says(policy: str, aggregation: str, verdict: str) -> None:
    table = (HERE / "decision_table.dmn").read_text(encoding="utf-8")
    table = table.replace('"short"', "1").replace('"long"', "2")  # what an aggregation takes, and an order of both
    table = table.replace('typeRef="string"/>', "><outputValues><text>2, 1</text></outputValues></output>")
    more = f' aggregation="{code(aggregation)[0]}"' if aggregation else ""
    changed = table.replace('hitPolicy="UNIQUE"', f'hitPolicy="{code(policy)[0]}"{more}')
    rules = [problem.rule for problem in lint({"ways.dmn": changed})]
    assert rules == ([] if verdict == "runs" else ["hit-policy"])


def test_every_hit_policy_of_the_standard_has_a_row() -> None:
    rows = {(code(policy)[0], *code(aggregation)) for policy, aggregation, *_ in section("Decision tables")}
    assert rows >= {(policy,) for policy in dmn.POLICIES} | {("COLLECT", each) for each in dmn.AGGREGATIONS}
