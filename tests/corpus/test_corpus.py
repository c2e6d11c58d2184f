"""The comparison with the bare library finds what it looks for."""

import shutil
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS.parent))

from tests.corpus.__main__ import main  # noqa: E402

CONSTRUCTS = TESTS / "conformance"


def compare(folder: Path, capsys: pytest.CaptureFixture[str], *, adapt: bool = False) -> tuple[int, str]:
    status = main(folder, adapt=adapt)
    return status, capsys.readouterr().out


def test_diagrams_that_end_alike_or_are_refused_are_no_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sequence.bpmn", "decision_table.bpmn", "decision_table.dmn", "intermediate_timers.bpmn"):
        shutil.copy(CONSTRUCTS / name, tmp_path)
    shutil.copy(CONSTRUCTS / "modelers" / "bpmn_io.bpmn", tmp_path)
    status, told = compare(tmp_path, capsys)
    assert status == 0
    assert "sequence.bpmn: same" in told
    assert "decision_table.bpmn: runs here only" in told  # it knows no intervals
    assert "intermediate_timers.bpmn: runs here only" in told
    assert "bpmn_io.bpmn: refused" in told
    assert "Files refused by each rule: " in told
    assert "no-operator 1" in told


def test_other_data_than_in_the_bare_library_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two branches append to one list: the bare library loses what the one that ends first has written."""
    shutil.copy(CONSTRUCTS / "parallel_branches_change_nested_data.bpmn", tmp_path)
    status, told = compare(tmp_path, capsys)
    assert status == 1
    assert "parallel_branches_change_nested_data.bpmn: different" in told


def test_a_token_that_waits_for_ever_at_a_join_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two tokens come by one flow of a parallel join, one by the other: the bare library drops the third."""
    flows = ("s > f", "f > a", "f > b", "f > c", "a > m", "b > m", "m > j", "c > j", "j > e")
    parts = "".join(f'<manualTask id="{name}"/>' for name in "abc")
    lines = "".join(
        '<sequenceFlow id="{0}_{1}" sourceRef="{0}" targetRef="{1}"/>'.format(*flow.split(" > ")) for flow in flows
    )
    (tmp_path / "surplus.bpmn").write_text(
        '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d" targetNamespace="t">'
        f'<process id="P" isExecutable="true"><startEvent id="s"/><endEvent id="e"/>{parts}<parallelGateway id="f"/>'
        f'<parallelGateway id="j"/><exclusiveGateway id="m"/>{lines}</process></definitions>',
        encoding="utf-8",
    )
    status, told = compare(tmp_path, capsys)
    assert status == 0
    assert "surplus.bpmn: left waiting" in told
    assert "here a token waits for others at j" in told


def test_a_drawing_is_adapted_and_then_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (CONSTRUCTS / "modelers").glob("*.bpmn"):
        shutil.copy(path, tmp_path)
    status, told = compare(tmp_path, capsys, adapt=True)
    assert status == 0
    assert told.count(".bpmn: adapted: same") == 5
    assert "signavio.bpmn: same" in told


def test_a_folder_without_diagrams_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(tmp_path, capsys)[0] == 1
