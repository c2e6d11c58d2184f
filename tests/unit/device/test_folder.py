"""A folder of files as a recorder: what it lists, what it covers, what it joins, and names that mean harm.

The layouts come from: Frigate's documentation, docs/docs/configuration/record.md
("YYYY-MM-DD/HH/<camera_name>/MM.SS.mp4 in UTC time"); ZoneMinder's storage scheme "Deep" (its documentation, "Options -
Storage"); Dahua paths as its recorders answer mediaFileFind (tchellomello/python-amcrest, src/amcrest/media.py).
"""

import hashlib
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from replay_room import clip, pictures

from device import media
from device.cli import recorder as group
from device.recorders import open_recorder
from device.recorders.base import (
    DeviceError,
    DiskFullError,
    RecorderRefusedError,
    RecorderUnreachableError,
    Span,
)
from device.recorders.folder import FolderRecorder
from device.recorders.joining import Joining, Piece

TEN = datetime(2026, 2, 1, 10, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def four_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 pictures with a key frame each second."""
    return clip(tmp_path_factory.mktemp("clips") / "four.mp4", size="64x48")


@pytest.fixture
def frigate(tmp_path: Path, four_seconds: Path) -> Path:
    """Five files of four seconds from 10:00:00 on; the one of 10:00:12 is missing."""
    folder = tmp_path / "frigate"
    for second in (0, 4, 8, 16, 20):
        put(four_seconds, folder / f"2026-02-01/10/gate/00.{second:02d}.mp4")
    put(four_seconds, folder / "2026-02-01/10/yard/00.00.mp4")
    return folder


def put(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


def span(start: float, end: float) -> Span:
    return Span(TEN + timedelta(seconds=start), TEN + timedelta(seconds=end))


def open_folder(folder: Path, query: str = "") -> FolderRecorder:
    found = open_recorder("folder", folder.as_uri() + query)
    assert isinstance(found, FolderRecorder)
    return found


def test_each_camera_of_the_paths_is_a_recording(frigate: Path) -> None:
    found = open_folder(frigate).recordings()
    assert [(each.token, each.start, each.end) for each in found] == [
        ("gate", TEN, TEN + timedelta(seconds=24)),
        ("yard", TEN, TEN + timedelta(seconds=4)),
    ]


def test_the_coverage_shows_the_missing_file(frigate: Path) -> None:
    found = open_folder(frigate).coverage("gate", span(1, 23))
    assert found.status == "partial"
    assert [(gap.start, gap.end, gap.cause) for gap in found.gaps] == [
        (TEN + timedelta(seconds=12), TEN + timedelta(seconds=16), "not_recorded")
    ]
    assert open_folder(frigate).coverage("gate", span(1, 11)).status == "complete"
    assert open_folder(frigate).coverage("gate", span(60, 70)).status == "none"


def test_files_that_follow_each_other_are_joined_picture_by_picture(
    frigate: Path, four_seconds: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "gate.mkv"
    report = open_folder(frigate).acquire("gate", span(2, 10), target)
    whole = pictures(four_seconds)
    assert pictures(target) == whole[50:] + whole + whole[:50]
    assert report.complete
    assert report.frames == 200
    assert (report.first_frame, report.confidence) == (TEN + timedelta(seconds=2), "medium")
    assert report.sha256 == "sha256:" + hashlib.sha256(target.read_bytes()).hexdigest()
    assert media.probe(target).seconds == pytest.approx(8, abs=0.1)


def test_the_native_files_are_kept_and_hashed(frigate: Path, four_seconds: Path, tmp_path: Path) -> None:
    target = tmp_path / "gate.mkv"
    report = json.loads(json.dumps(open_folder(frigate).acquire("gate", span(2, 10), target).to_json()))
    digest = "sha256:" + hashlib.sha256(four_seconds.read_bytes()).hexdigest()
    assert [(each["name"], each["sha256"]) for each in report["native"]] == [
        (f"2026-02-01/10/gate/00.{second}.mp4", digest) for second in ("00", "04", "08")
    ]
    for each in report["native"]:
        assert (tmp_path / each["file"]).read_bytes() == four_seconds.read_bytes()


def test_the_cut_begins_at_the_key_frame_before_the_span(frigate: Path, tmp_path: Path) -> None:
    report = open_folder(frigate).acquire("gate", span(1.5, 3), tmp_path / "gate.mkv")
    assert report.first_frame == TEN + timedelta(seconds=1)
    assert report.frames == 50
    assert report.complete


def test_container_time_runs_on_over_a_missing_file(frigate: Path, tmp_path: Path) -> None:
    target = tmp_path / "gate.mkv"
    report = open_folder(frigate).acquire("gate", span(8, 20), target)
    assert not report.complete
    assert report.nothing_lost
    assert [(gap.start, gap.end) for gap in report.gaps] == [(TEN + timedelta(seconds=12), TEN + timedelta(seconds=16))]
    times = sorted(packet.pts for packet in media.probe(target).packets)
    assert max(b - a for a, b in pairwise(times)) == pytest.approx(4.04, abs=0.01)


def test_local_times_and_an_offset_are_translated(four_seconds: Path, tmp_path: Path) -> None:
    put(four_seconds, tmp_path / "in/front door_20260201180037.mp4")
    recorder = open_folder(tmp_path / "in", "?zone=Asia/Shanghai&offset=37")
    (found,) = recorder.recordings()
    assert (found.token, found.start) == ("front door", TEN)
    assert recorder.probe().clock.offset == timedelta(seconds=37)
    with_zone = open_folder(tmp_path / "in", "?zone=%2B09:00&offset=37")
    assert with_zone.recordings()[0].start == TEN - timedelta(hours=1)


LAYOUTS = {
    "2026-02-01/10/gate/00.00.mp4": "gate",
    "3/26/02/01/18/00/00/17-video.mp4": "3",
    "nvr/2026-02-01/001/dav/18/18.00.00-18.00.04[R][0@0][0].mp4": "001",
    "ch01_20260201180000_20260201180004.mp4": "ch01",
    "hall/2026-02-01T10-00-00Z.mp4": "hall",
    "yard 2026.02.01_18.00.00.mp4": "yard",
    "lane 2026-02-01 11-00-00+0100 (1).mp4": "lane (1)",
}


def test_every_documented_layout_is_read(four_seconds: Path, tmp_path: Path) -> None:
    for path in LAYOUTS:
        put(four_seconds, tmp_path / path)
    found = open_folder(tmp_path).recordings()
    assert {each.token: each.start for each in found} == dict.fromkeys(LAYOUTS.values(), TEN)
    assert {each.end for each in found} == {TEN + timedelta(seconds=4)}


def test_a_file_without_a_believable_time_is_not_taken(tmp_path: Path) -> None:
    for name in ("holiday", "20261301180000", "99990201180000", "123456789012345678", "x_20260230000000"):
        (tmp_path / f"{name}.mp4").touch()
    recorder = open_folder(tmp_path)
    assert recorder.recordings() == []
    assert recorder.unnamed == 5


HOSTILE = [
    "-y -f mp4 evil'; touch pwned; '",
    "two\nlines",
    "quote'and\"and\\",
    "$(touch pwned)",
    "concat:a|b",
    "路口 ③",
    os.fsdecode(b"\xff\xfe not utf-8"),
]


def test_hostile_names_are_only_names(four_seconds: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name in HOSTILE:
        put(four_seconds, source / name / "2026-02-01T10-00-00Z.mp4")
    recorder = open_folder(source)
    found = recorder.recordings()
    assert len(found) == len(HOSTILE)
    assert all(each.token.isprintable() and each.token.encode() for each in found)
    report = recorder.acquire(HOSTILE[0], span(0, 4), tmp_path / "out.mkv")
    assert report.complete
    json.dumps(report.to_json()).encode()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "out.mkv", "out.mkv.native"]


def test_links_are_not_followed_out_of_the_folder(four_seconds: Path, tmp_path: Path) -> None:
    secret = put(four_seconds, tmp_path / "elsewhere/2026-02-01T10-00-00Z.mp4")
    source = tmp_path / "in"
    source.mkdir()
    (source / "2026-02-01T10-00-00Z.mp4").symlink_to(secret)
    (source / "cam").symlink_to(secret.parent, target_is_directory=True)
    assert open_folder(source).recordings() == []


def test_a_playlist_with_a_footage_name_opens_nothing_else(four_seconds: Path, tmp_path: Path) -> None:
    secret = put(four_seconds, tmp_path / "elsewhere/secret.mp4")
    bait = tmp_path / "in/gate_20260201180000_20260201180004.mp4"
    bait.parent.mkdir()
    bait.write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    with pytest.raises(RecorderRefusedError, match="no footage"):
        open_folder(bait.parent).acquire("gate", span(0, 4), tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()


def test_a_broken_file_is_named_and_the_rest_is_joined(frigate: Path, tmp_path: Path) -> None:
    (frigate / "2026-02-01/10/gate/00.04.mp4").write_bytes(b"not a film" * 100)
    report = open_folder(frigate).acquire("gate", span(0, 12), tmp_path / "gate.mkv")
    assert not report.complete
    assert any("00.04.mp4 cannot be read" in warning for warning in report.warnings)
    assert report.frames == 200


def test_a_file_that_is_still_growing_is_refused(four_seconds: Path, tmp_path: Path) -> None:
    path = put(four_seconds, tmp_path / "in/gate.mp4")
    piece = Piece(path, path.name, TEN, path.stat().st_size - 10)
    joining = Joining("gate", span(0, 4), [piece], "folder", "medium", "", None, None)
    with pytest.raises(RecorderUnreachableError, match="still being written"):
        joining.acquire(tmp_path / "out.mkv")


def test_files_of_different_codecs_are_not_forced_together(frigate: Path, tmp_path: Path) -> None:
    clip(frigate / "2026-02-01/10/gate/00.12.mp4", size="80x48")
    with pytest.raises(RecorderRefusedError, match="changes its codec or its size"):
        open_folder(frigate).acquire("gate", span(8, 20), tmp_path / "gate.mkv")


def test_a_file_within_another_is_left_out_once(four_seconds: Path, tmp_path: Path) -> None:
    put(four_seconds, tmp_path / "in/gate/2026-02-01T10-00-00Z.mp4")
    put(four_seconds, tmp_path / "in/gate/2026-02-01T10-00-00Z copy 2.mp4")
    recorder = open_folder(tmp_path / "in")
    assert {each.token for each in recorder.recordings()} == {"gate", "copy 2"}
    put(four_seconds, tmp_path / "in/gate/again/gate 2026-02-01T10-00-00Z.mp4")
    recorder.refresh()
    report = recorder.acquire("gate", span(0, 4), tmp_path / "out.mkv")
    assert report.frames == 100
    assert any("lies within the file before it" in warning for warning in report.warnings)


def test_no_folder_is_unreachable_and_no_camera_is_refused(tmp_path: Path, frigate: Path) -> None:
    with pytest.raises(RecorderUnreachableError, match="is the disk mounted"):
        open_folder(tmp_path / "nothing").recordings()
    with pytest.raises(RecorderRefusedError, match="no camera"):
        open_folder(frigate).coverage("roof", span(0, 4))
    with pytest.raises(RecorderRefusedError, match="No file"):
        open_folder(frigate).acquire("gate", span(100, 104), tmp_path / "out.mkv")
    for url in ("file://host/share", "", f"{frigate.as_uri()}?zone=Mars/Olympus", f"{frigate.as_uri()}?offset=soon"):
        with pytest.raises(DeviceError):
            open_recorder("folder", url)


def test_a_full_disk_is_noticed_before_anything_is_written(frigate: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "gate.mkv"
    with pytest.raises(DiskFullError, match="make room"):
        FolderRecorder(frigate.as_uri(), free=lambda _: 1000).acquire("gate", span(0, 4), target)
    assert list(target.parent.iterdir()) == []


def test_the_command_line_exports_from_a_folder(frigate: Path, tmp_path: Path) -> None:
    asked = ["--driver", "folder", "--url", frigate.as_uri(), "--recording", "gate"]
    bounds = ["--from", "2026-02-01T10:00:00Z", "--to", "2026-02-01T10:00:12Z"]
    out = tmp_path / "clip.mkv"
    done = CliRunner().invoke(group, ["export", *asked, *bounds, "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["frames"] == 300
    subprocess.run([media.ffmpeg_path(), "-v", "error", "-xerror", "-i", str(out), "-f", "null", "-"], check=True)
