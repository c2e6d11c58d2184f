"""The procedure's files are deployable without a warning, name every clause, and are drawn completely."""

import re
from pathlib import Path

import pytest
from lxml import etree
from walk import FOLDER, compiled

import device.operators  # noqa: F401 - registers what the service tasks call
from engine.definitions import read_folder
from engine.lint import lint

CLAUSES = [
    "P1",
    "P2",
    "P3",
    "1.1",
    "1.2",
    "2.1",
    "2.2",
    "2.3",
    "3.1",
    "3.2",
    "3.3",
    "4.1",
    "4.2",
    "5.1",
    "N1",
    "N2",
    "N3",
]
ROOT = etree.parse(FOLDER / "footage_retrieval.bpmn").getroot()


def drawn(kind: str) -> dict[str, etree._Element]:
    return {element.get("bpmnElement", ""): element for element in ROOT.iter(f"{{*}}{kind}")}


def test_the_files_have_no_problem_and_no_warning() -> None:
    assert lint(read_folder(FOLDER)) == []


@pytest.mark.parametrize("clause", CLAUSES)
def test_every_clause_is_named_by_an_element(clause: str) -> None:
    pattern = re.compile(rf"(?<![\w.]){re.escape(clause)}(?![\w.])")
    named = [info.id for info in compiled().elements.values() if pattern.search(info.documentation)]
    assert named != []


def test_every_row_of_the_conformance_table_names_elements_that_exist() -> None:
    table = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
    cells = [row.split("|")[3] for row in table.splitlines() if row.startswith("|") and not row.startswith("|---")]
    named = {name for cell in cells for name in re.findall(r"`([a-z]+_[a-z_]+)`", cell)}
    assert len(named) > 50
    drawn_anywhere = {
        node.get("id") for diagram in FOLDER.glob("*.bpmn") for node in etree.parse(diagram).getroot().iter("{*}*")
    }
    assert sorted(named - drawn_anywhere) == []


def test_every_element_is_drawn_inside_its_lane() -> None:
    shapes, edges = drawn("BPMNShape"), drawn("BPMNEdge")
    elements = compiled().elements
    flows = {info.id for info in elements.values() if info.type == "sequenceFlow"}
    assert flows - edges.keys() == set()
    assert elements.keys() - flows - shapes.keys() == set()

    def bounds(name: str) -> tuple[float, float, float, float]:
        box = next(shapes[name].iter("{*}Bounds"))
        x, y, width, height = (float(box.get(key, "")) for key in ("x", "y", "width", "height"))
        return x, y, x + width, y + height

    for lane in ROOT.iter("{*}lane"):
        left, top, right, bottom = bounds(lane.get("id", ""))
        for reference in lane.iter("{*}flowNodeRef"):
            name = reference.text or ""
            if elements[name].type == "boundaryEvent":
                continue
            x, y, end_x, end_y = bounds(name)
            assert left <= x < end_x <= right, name
            assert top <= y < end_y <= bottom, name
