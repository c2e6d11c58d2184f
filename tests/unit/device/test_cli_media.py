"""`diaoqu media`: exit status 0 done, 1 found a problem, 2 wrong use; the film itself is never touched."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from drawn_faces import film_of, portrait

from device.media import sha256
from device.media_cli import commands

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of(tmp_path_factory.mktemp("film") / "录像 one.mkv", lambda at: portrait(120 + 30 * at, 110, 70), 1.0)


def said(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(each) for each in arguments])


def told(*arguments: object) -> dict[str, Any]:
    result = said(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_a_face_is_found_looked_through_and_blurred(film: Path, tmp_path: Path) -> None:
    before = sha256(film)
    found = told("faces", film, "--out", tmp_path / "faces.json")
    assert (found["regions"], found["source_sha256"]) == (1, before)
    listed = json.loads((tmp_path / "faces.json").read_text())
    assert (listed["schema"], listed["master"], listed["detector"]["model"]) == (
        "diaoqu-regions-1",
        before,
        "centerface.onnx",
    )
    made = told("blur", film, "--regions", tmp_path / "faces.json", "--out", tmp_path / "blurred.mp4", "--mute")
    assert made["regions_sha256"] == sha256(tmp_path / "faces.json")
    assert (made["sha256"], made["parameters"]["sound"]) == (sha256(tmp_path / "blurred.mp4"), False)
    assert told("faces", tmp_path / "blurred.mp4", "--out", tmp_path / "none.json")["regions"] == 0
    assert sha256(film) == before


def test_copies_and_stills_say_what_they_were_made_from(film: Path, tmp_path: Path) -> None:
    viewing = told("viewing", film, "--out", tmp_path / "view.mp4")
    marked = told("watermark", film, "--out", tmp_path / "mark.mp4", "--line", "李申请", "--code", "k7qf-3mtx")
    plain = told("still", film, "--at", 0.5, "--out", tmp_path / "plain.jpg")
    named = told("still", film, "--at", 0.5, "--out", tmp_path / "named.jpg", "--line", "李申请")
    assert {each["source_sha256"] for each in (viewing, marked, plain, named)} == {sha256(film)}
    assert marked["parameters"]["code"] == "K7QF3MTX"
    assert len(named["code"]) == 8
    assert (tmp_path / "plain.jpg").read_bytes() != (tmp_path / "named.jpg").read_bytes()


def test_problems_end_with_a_line_and_status_1(film: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mkv").write_text("no film")
    (tmp_path / "odd.json").write_text('{"schema": "other"}')
    (tmp_path / "text.json").write_text("no json")
    for arguments, words in (
        (("viewing", tmp_path / "text.mkv"), "ffmpeg failed"),
        (("still", film, "--at", 60), "shorter than"),
        (("blur", film, "--regions", tmp_path / "odd.json"), "no list of regions"),
        (("blur", film, "--regions", tmp_path / "text.json"), "text.json"),
    ):
        result = said(*arguments, "--out", tmp_path / "out.mp4")
        assert (result.exit_code, result.stdout) == (1, ""), arguments
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out.mp4").exists()


def test_wrong_use_ends_with_status_2_and_replaces_nothing(film: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.mp4"
    taken.write_text("mine")
    for arguments in (
        ("viewing", film, "--out", taken),
        ("viewing", film, "--out", film, "--force"),
        ("watermark", film, "--out", tmp_path / "new.mp4"),
        ("watermark", film, "--out", tmp_path / "new.mp4", "--line", "x", "--code", "short"),
        ("viewing", tmp_path / "missing.mkv", "--out", tmp_path / "new.mp4"),
    ):
        assert said(*arguments).exit_code == 2, arguments
    assert taken.read_text() == "mine"
    assert not (tmp_path / "new.mp4").exists()
