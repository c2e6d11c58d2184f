"""A long span in segments: no frame twice and none missing, wherever segments meet and whatever kills the retrieval."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from replay_room import OFFSET, BadLine, Fault, client, now, pictures, span

from device import media
from device.cli import recorder as group
from device.publishing import published
from device.recorders.base import DeviceError, DiskFullError, RecorderUnreachableError, Span
from device.recorders.replay import RESERVE
from device.segments import MANIFEST, SegmentedAcquisition, is_long, join, next_seam
from device.simulator import Simulator
from engine.settings import ROOT

MINUTE = span("05:00:03.5", 60)
LENGTH = timedelta(seconds=25)


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username="operator", password="secret", clock=now, clock_offset=OFFSET) as simulator:
        yield simulator


def in_segments(simulator: Simulator, folder: Path, asked: Span = MINUTE, camera: str = "gate", **options: Any) -> Any:
    return SegmentedAcquisition(client(simulator, **options), camera, asked, folder, LENGTH)


def frames_of(folder: Path, report: dict[str, Any]) -> list[str]:
    return [digest for each in report["segments"] for digest in pictures(folder / each["file"])]


def sounds(path: Path) -> list[str]:
    contents = media.probe(path, digest="sha256")
    assert contents.audio is not None
    return [packet.digest for packet in contents.of(contents.audio)]


def held(simulator: Simulator, camera: str, asked: Span = MINUTE) -> list[str]:
    on_recorder = Span(asked.start + OFFSET, asked.end + OFFSET)
    return [frame.digest for frame in simulator.frames(camera, on_recorder, lead_in=True)]


@pytest.mark.parametrize(
    "camera", ["counter", *(pytest.param(one, marks=pytest.mark.long) for one in ("gate", "garage"))]
)
def test_segments_hold_what_one_uncut_copy_holds(simulator: Simulator, tmp_path: Path, camera: str) -> None:
    whole = client(simulator).acquire(camera, MINUTE, tmp_path / "whole.mkv")
    folder = tmp_path / "segments"
    report = in_segments(simulator, folder, camera=camera).acquire()
    assert len(report["segments"]) == 3
    assert frames_of(folder, report) == pictures(tmp_path / "whole.mkv") == held(simulator, camera)
    assert (report["complete"], report["gaps"], report["warnings"]) == (True, [], [])
    assert (report["frames"], report["first_frame"]) == (whole.frames, whole.to_json()["first_frame"])
    for before, after in pairwise(report["segments"]):
        assert before["end"] == after["start"] == after["first_frame"]
    if camera == "counter":
        assert [each for one in report["segments"] for each in sounds(folder / one["file"])] == sounds(
            tmp_path / "whole.mkv"
        )
        assert report["tracks"] == whole.to_json()["tracks"]
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "sha256sums.txt"], cwd=folder, check=False)
    assert checked.returncode == 0


@pytest.mark.long
def test_joined_segments_are_one_file_in_the_recorders_time(simulator: Simulator, tmp_path: Path) -> None:
    begin = span("03:59:40", 440)  # the lobby has no footage from 04:00 (minus 37 s) on for six and a half minutes
    whole = client(simulator).acquire("lobby", begin, tmp_path / "whole.mkv")
    parts = SegmentedAcquisition(client(simulator), "lobby", begin, tmp_path / "s", timedelta(seconds=200)).acquire()
    joined = join(parts, tmp_path / "s", tmp_path / "joined.mkv")
    assert len(parts["segments"]) > 1
    assert pictures(tmp_path / "joined.mkv") == pictures(tmp_path / "whole.mkv") == held(simulator, "lobby", begin)
    one, other = (media.probe(tmp_path / f"{name}.mkv").packets for name in ("whole", "joined"))
    assert [packet.pts for packet in other] == pytest.approx([packet.pts for packet in one], abs=0.003)
    assert joined["gaps"] == whole.to_json()["gaps"]
    assert joined["sha256"] == media.sha256(tmp_path / "joined.mkv")


@pytest.mark.long
def test_a_retrieval_that_failed_goes_on_after_the_last_finished_segment(simulator: Simulator, tmp_path: Path) -> None:
    with BadLine(simulator, Fault("cut", 10**9), *[Fault("cut", 3000)] * 30) as line:
        driver = {"rtsp_override": line.address, "keep_partial": False}
        with pytest.raises(RecorderUnreachableError):
            in_segments(simulator, tmp_path / "s", **driver).acquire()
    assert len(json.loads((tmp_path / "s" / MANIFEST).read_text())["segments"]) == 1
    first = next((tmp_path / "s").glob("0001-*.mkv"))
    kept = (first.stat().st_ino, first.stat().st_mtime_ns)
    plays = simulator.calls["RTSP PLAY"]
    report = in_segments(simulator, tmp_path / "s").acquire()
    assert frames_of(tmp_path / "s", report) == held(simulator, "gate")
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == kept
    assert simulator.calls["RTSP PLAY"] == plays + 2
    assert in_segments(simulator, tmp_path / "s").acquire() == report
    assert simulator.calls["RTSP PLAY"] == plays + 2


@pytest.mark.long
def test_a_disk_that_fills_up_keeps_the_finished_segments_and_more_room_lets_it_go_on(
    simulator: Simulator, tmp_path: Path
) -> None:
    """It stops before the disk is full: the rest is expected to need what the first segment needed, twice."""
    folder = tmp_path / "s"

    def free(_: Path) -> int:
        finished = json.loads((folder / MANIFEST).read_text())["segments"] if (folder / MANIFEST).exists() else []
        if not finished:
            return 10**12
        size, rest = finished[0]["size"], 60 / 25 - 1
        return RESERVE + round(size * (1 + 2 * rest) * 0.9)

    driver = client(simulator, free=free)
    with pytest.raises(DiskFullError, match="make room"):
        SegmentedAcquisition(driver, "gate", MINUTE, folder, LENGTH, copies=2).acquire()
    assert [path.name[:5] for path in sorted(folder.glob("*.mkv"))] == ["0001-"]
    assert list(folder.glob(".*")) == []
    assert frames_of(folder, in_segments(simulator, folder).acquire()) == held(simulator, "gate")


def test_a_folder_of_another_span_or_with_a_damaged_segment_is_not_gone_on_with(
    simulator: Simulator, tmp_path: Path
) -> None:
    in_segments(simulator, tmp_path / "s", span("05:00:03", 30)).acquire()
    with pytest.raises(DeviceError, match="another span"):
        in_segments(simulator, tmp_path / "s").acquire()
    victim = next((tmp_path / "s").glob("0001-*.mkv"))
    with victim.open("r+b") as file:
        file.seek(2000)
        file.write(b"\xff")
    with pytest.raises(DeviceError, match="not what was retrieved"):
        in_segments(simulator, tmp_path / "s", span("05:00:03", 30)).acquire()


def test_the_seams_lie_whole_lengths_after_the_beginning_and_a_short_rest_stays() -> None:
    whole = span("05:00:00", 3 * 3600 + 300)
    hour = timedelta(hours=1)
    assert next_seam(whole, whole.start, hour) == whole.start + hour
    assert next_seam(whole, whole.start + hour + timedelta(seconds=4), hour) == whole.start + 2 * hour
    assert next_seam(whole, whole.start + 2 * hour - timedelta(seconds=4), hour) is None, "five minutes are no segment"
    assert next_seam(whole, whole.start + 2 * hour, hour) is None
    assert (is_long(span("05:00:00", 600)), is_long(span("05:00:00", 3601)), is_long(whole)) == (False, False, True)


# ---- SIGKILL --------------------------------------------------------------------------------------------------------

DOOMED = """
import os, signal, sys, threading
kind, _, number = sys.argv.pop(1).partition(":")
left = int(number)
def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
def watch(name, arguments):
    if name in ("os.rename", "os.remove", "os.mkdir") or (
        name == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
    ):
        step()
if kind == "files":
    sys.addaudithook(watch)
else:
    import device.relay
    write = device.relay.Relay.write
    device.relay.Relay.write = lambda *given: (write(*given), step())[0]
from device.cli import recorder
recorder(prog_name="diaoqu recorder")
"""


@pytest.fixture
def asked(simulator: Simulator, tmp_path: Path) -> list[str]:
    """The arguments of `diaoqu recorder export` for the minute, without its output."""
    (tmp_path / "password").write_text("secret\n")
    login = [
        "--rtsp",
        simulator.replay_uri("gate"),
        "--user",
        "operator",
        "--password-file",
        str(tmp_path / "password"),
    ]
    start, end = (at + OFFSET for at in (MINUTE.start, MINUTE.end))
    return ["export", *login, "--recording", "gate", "--from", start.isoformat(), "--to", end.isoformat()]


def export_and_kill(doom: str, *arguments: str) -> int:
    command = [sys.executable, "-c", DOOMED, doom, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, timeout=120).returncode


def export(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(group, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


KILLS = ["frames:40", "frames:700", "files:4", *(f"files:{step}" for step in range(1, 30, 2)), "frames:750"]


@pytest.mark.parametrize(
    "doom", [pytest.param(each, marks=() if each == "frames:700" else pytest.mark.long) for each in KILLS]
)
def test_an_export_that_was_killed_goes_on_and_ends_in_the_same_frames(
    simulator: Simulator, asked: list[str], tmp_path: Path, doom: str
) -> None:
    arguments = [*asked, "--segment-minutes", "0.3", "--out", str(tmp_path / "clip.mkv")]
    assert export_and_kill(doom, *arguments) == -9
    before = list((tmp_path / "clip.mkv.segments").glob("0*.mkv"))
    assert len(before) == 2 or doom != "frames:700"
    report = export(*arguments)
    assert len(report["segments"]) == 4
    assert (report["complete"], report["sha256"]) == (True, media.sha256(tmp_path / "clip.mkv"))
    assert pictures(tmp_path / "clip.mkv") == held(simulator, "gate")
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mkv", "password"}


def test_a_folder_of_segments_can_be_asked_for(simulator: Simulator, asked: list[str], tmp_path: Path) -> None:
    report = export(*asked, "--segment-minutes", "0.5", "--segments", "--out", str(tmp_path / "clips"))
    assert [each["file"][:5] for each in report["segments"]] == ["0001-", "0002-"]
    assert frames_of(tmp_path / "clips", report) == held(simulator, "gate")
    assert export(*asked, "--segment-minutes", "0.5", "--segments", "--out", str(tmp_path / "clips")) == report


def test_the_hours_are_waited_for_with_a_word_until_when(asked: list[str], tmp_path: Path) -> None:
    """The process waits; nothing has been written meanwhile."""
    hour = datetime.now(UTC).hour
    closed = f"{(hour + 2) % 24}:00-{(hour + 3) % 24}:00@UTC"
    command = [sys.executable, "-c", DOOMED, "frames:1", *asked, "--hours", closed, "--out", str(tmp_path / "c.mkv")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        told = waiting.stderr.readline()
        waiting.kill()
    assert told.startswith("Waiting until ")
    assert f"{(hour + 2) % 24:02d}:00 UTC: footage only" in told
    assert not (tmp_path / "c.mkv").exists()
    wrong = CliRunner().invoke(group, [*asked, "--hours", "at night", "--out", str(tmp_path / "c.mkv")])
    assert (wrong.exit_code, "22:00-06:00" in wrong.stderr) == (2, True)


def test_the_draft_that_a_kill_left_beside_the_file_is_cleared_away(asked: list[str], tmp_path: Path) -> None:
    """A draft that a living process is writing stays."""
    arguments = [*asked, "--out", str(tmp_path / "clip.mkv")]
    assert export_and_kill("frames:700", *arguments) == -9
    assert len(list(tmp_path.glob(".clip.*.part.mkv"))) == 1
    with published(tmp_path / "clip.mkv") as living:
        export(*arguments)
        assert list(tmp_path.glob(".clip.*.part.mkv")) == [living]
        os.truncate(living, 1)
    assert list(tmp_path.glob(".clip.*")) == []
