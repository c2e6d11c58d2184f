"""The one reader of XML: whatever is sent, it gives a root element or one clear problem, quickly."""

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from engine.errors import DefinitionError, Problem
from engine.lint import lint, read_xml

ASSETS = Path(__file__).parent / "lint"


def problem_of(source: str | bytes) -> Problem:
    with pytest.raises(DefinitionError) as caught:
        read_xml(source, "it.bpmn")
    (problem,) = caught.value.problems
    return problem


def test_a_document_is_read_from_text_and_from_bytes() -> None:
    text = '<?xml version="1.0" encoding="utf-8"?>\n<a 名="值">中</a>'
    for source in (text, text.encode(), b"\xef\xbb\xbf" + text.encode(), "<a 名='值'>中</a>"):
        root = read_xml(source)
        assert (root.get("名"), root.text) == ("值", "中")


@pytest.mark.parametrize("name", ["dtd--xxe.bpmn", "dtd--billion-laughs.bpmn", "dtd--external.bpmn"])
def test_a_document_type_is_refused_before_anything_in_it_is_looked_at(name: str) -> None:
    started = time.monotonic()
    problem = problem_of((ASSETS / name).read_bytes())
    assert problem.rule == "dtd"
    assert "!DOCTYPE" in (ASSETS / name).read_text().splitlines()[problem.line - 1]
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "prolog",
    ["<!DOCTYPE a>", "<!-- x --><!DOCTYPE a>", "<?pi?>\n<!DOCTYPE a>", "\ufeff<!DOCTYPE a>",
     "<!-- <a> --> <!DOCTYPE a>", "<?x <a> ?><!DOCTYPE a [<!ENTITY b 'c'>]>"],
)  # fmt: skip
def test_a_document_type_does_not_hide_in_the_prolog(prolog: str) -> None:
    assert problem_of(prolog + "<a/>").rule == "dtd"


def test_the_word_itself_is_harmless_elsewhere() -> None:
    assert read_xml("<a><!-- <!DOCTYPE x> --><![CDATA[<!DOCTYPE x>]]></a>").tag == "a"


def test_an_entity_without_a_declaration_is_not_well_formed() -> None:
    assert problem_of("<a>\n&secret;</a>").rule == "not-well-formed"


def test_what_is_not_well_formed_is_refused_with_its_line() -> None:
    problem = problem_of((ASSETS / "not-well-formed.bpmn").read_bytes())
    assert (problem.rule, problem.line) == ("not-well-formed", 4)


@pytest.mark.parametrize("source", ["", "  ", "text", "<a/><b/>", "<a", "\0", "<a>\x01</a>", "<x:a/>", b""])
def test_rubbish_is_refused(source: str | bytes) -> None:
    assert problem_of(source).rule == "not-well-formed"


@pytest.mark.parametrize(
    "source",
    ["<a>调取</a>".encode("gbk"), "<a>调取</a>".encode("utf-16"), b'<?xml version="1.0" encoding="UTF-7"?><a/>',
     '<?xml version="1.0" encoding="GB18030"?><a/>', "<a>\ud800</a>"],
)  # fmt: skip
def test_what_is_not_utf8_is_refused(source: str | bytes) -> None:
    assert problem_of(source).rule == "not-utf8"


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    started = time.monotonic()
    assert problem_of(b"<a>" + b"x" * 50_000_000 + b"</a>").rule == "xml-size"
    assert problem_of("<a>" + "<b/>" * 450_000 + "</a>").rule == "xml-size"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("depth", [101, 255, 300, 100_000])
def test_what_is_nested_too_deeply_is_refused(depth: int) -> None:
    assert problem_of("<a>" * depth + "</a>" * depth).rule == "xml-depth"


def test_nothing_is_included_from_elsewhere() -> None:
    text = '<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="file:///etc/passwd" parse="text"/></a>'
    assert "root:" not in "".join(read_xml(text).itertext())


@given(st.text(max_size=200) | st.binary(max_size=200))
@settings(deadline=None)
def test_any_text_or_bytes_are_a_document_or_a_problem(source: str | bytes) -> None:
    with contextlib.suppress(DefinitionError):
        assert read_xml(source).tag
    for problem in lint({"it.bpmn": source, "it.dmn": source, "it.form": source, "it.json": source}):
        assert problem.line >= 1


SOUND = (ASSETS / "sound--everything.bpmn").read_text()


@given(st.data())
@settings(deadline=None)
def test_a_diagram_with_any_piece_cut_out_is_linted_without_a_crash(data: st.DataObject) -> None:
    lines = SOUND.splitlines(keepends=True)
    start = data.draw(st.integers(0, len(lines) - 1))
    length = data.draw(st.integers(1, 4))
    for problem in lint({"it.bpmn": "".join(lines[:start] + lines[start + length :])}):
        assert problem.line >= 1
        assert problem.message


@given(st.data())
@settings(deadline=None)
def test_a_diagram_with_any_attribute_misspelt_is_linted_without_a_crash(data: st.DataObject) -> None:
    root = read_xml(SOUND)
    node = data.draw(st.sampled_from([node for node in root.iter() if isinstance(node.tag, str) and node.attrib]))
    name = data.draw(st.sampled_from(sorted(node.attrib)))
    if data.draw(st.booleans()):
        del node.attrib[name]
    else:
        node.set(name, data.draw(st.sampled_from(["", "x", "1", "true", "step", "vote", "begin", "{", "中"])))
    for problem in lint({"it.bpmn": etree.tostring(root)}):
        assert problem.line >= 1


def diagram_of(middle: str) -> str:
    return (
        '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d" targetNamespace="urn:test">'
        f'<process id="p" isExecutable="true"><startEvent id="s"/>{middle}<endEvent id="e"/></process></definitions>'
    )


def test_a_huge_diagram_is_refused_quickly() -> None:
    started = time.monotonic()
    tasks = "".join(
        f'<userTask id="t{n}"/><sequenceFlow id="f{n}" sourceRef="s" targetRef="t{n}"/>' for n in range(30_000)
    )
    assert [problem.rule for problem in lint({"it.bpmn": diagram_of(tasks)})] == ["diagram-size"]
    assert time.monotonic() - started < 5


def test_the_largest_diagram_that_is_accepted_is_linted_in_seconds() -> None:
    tasks = "".join(
        f'<callActivity id="t{n}" calledElement="p"/><sequenceFlow id="f{n}" sourceRef="s" targetRef="t{n}"/>'
        f'<boundaryEvent id="b{n}" attachedToRef="t{n}"/><serviceTask id="u{n}"/>'
        for n in range(4_900)
    )
    started = time.monotonic()
    assert len(lint({"it.bpmn": diagram_of(tasks)})) > 10_000
    assert time.monotonic() - started < 20
