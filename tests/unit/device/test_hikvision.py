"""The Hikvision driver against a simulated recorder over real sockets; vendor/hikvision.py names the sources."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from replay_room import HOUR, OFFSET, now, span
from replay_room import pictures as in_file
from vendor.hikvision import SimulatedHikvision

from device.recorders import open_recorder
from device.recorders.base import (
    ClockOffset,
    DiskFullError,
    RecorderBusyError,
    RecorderRefusedError,
    RecorderUnreachableError,
    Span,
)
from device.recorders.hikvision import HikvisionRecorder
from device.simulator import annexb_digests
from engine.settings import ROOT

CLOCK = ClockOffset(OFFSET, timedelta(0), "set by the test", HOUR)
HELD = [span("05:00:00", 40), span("05:01:00", 30)]
"""What the recorder holds, in true time; its own clock is 37 s ahead."""


def simulated(**options: Any) -> SimulatedHikvision:
    recent = (HOUR - timedelta(minutes=2), HOUR + timedelta(seconds=20))
    stretches = [(each.start + OFFSET, each.end + OFFSET) for each in HELD]
    return SimulatedHikvision([*stretches, recent], now, drift=OFFSET, **options)


@pytest.fixture
def nvr() -> Iterator[SimulatedHikvision]:
    with simulated() as nvr:
        yield nvr


def client(nvr: SimulatedHikvision, **options: Any) -> HikvisionRecorder:
    options = {"timeout": 5.0, "patience": 0.02, "clock": CLOCK, "rtsp_override": nvr.rtsp, "now": now} | options
    found = open_recorder("hikvision", nvr.url, "operator", "secret", **options)
    assert isinstance(found, HikvisionRecorder)
    return found


def held(nvr: SimulatedHikvision, *spans: Span) -> list[str]:
    units = [p.annexb for each in spans for p in nvr.between(each.start + OFFSET, each.end + OFFSET)]
    return annexb_digests(b"".join(units), "H264")


def test_probe_names_the_recorder_and_measures_its_clock(nvr: SimulatedHikvision) -> None:
    found = client(nvr, clock=None).probe()
    assert (found.identity.model, found.identity.driver) == ("DS-7616NI-K2", "hikvision")
    assert found.identity.firmware == "V4.30.085 build 200916"
    assert abs(found.clock.offset - OFFSET) <= found.clock.uncertainty + timedelta(milliseconds=20)


@pytest.mark.parametrize(("zone", "suffix"), [("CST-8:00:00", ""), ("CST-8:00:00", "+08:00"), ("", "+08:00")])
def test_the_zone_is_read_with_its_sign_the_posix_way(nvr: SimulatedHikvision, zone: str, suffix: str) -> None:
    """CST-8 is eight hours *east* of Greenwich."""
    nvr.zone, nvr.clock_suffix = zone, suffix
    recorder = client(nvr, clock=None)
    assert abs(recorder.clock.offset - OFFSET) < timedelta(seconds=1)
    assert recorder.zone.utcoffset(HOUR.replace(tzinfo=None)) == timedelta(hours=8)


def test_a_zone_that_contradicts_the_shown_time_is_not_believed(nvr: SimulatedHikvision) -> None:
    nvr.zone = "CST+8:00:00"
    recorder = client(nvr, clock=None)
    assert recorder.zone.utcoffset(HOUR.replace(tzinfo=None)) == timedelta(hours=8)
    assert any("contradicts" in warning for warning in recorder.warnings)


def test_recordings_are_the_video_tracks_with_the_names_of_their_channels(nvr: SimulatedHikvision) -> None:
    (found,) = client(nvr).recordings()
    assert (found.token, found.camera, found.tracks) == ("101", "East gate", ("video/H264",))


@pytest.mark.parametrize("utc", [False, True])
def test_coverage_is_right_whatever_the_recorder_means_by_z(utc: bool) -> None:
    with simulated(utc=utc) as nvr:
        found = client(nvr).coverage("101", span("05:00:00", 90))
    assert found.status == "partial"
    assert list(found.recorded) == HELD
    assert [(gap.start, gap.end, gap.cause) for gap in found.gaps] == [(HELD[0].end, HELD[1].start, "not_recorded")]


def test_without_recent_footage_local_time_is_assumed_and_said(nvr: SimulatedHikvision) -> None:
    nvr.stretches.pop()
    recorder = client(nvr)
    assert recorder.coverage("101", span("05:00:00", 40)).status == "complete"
    assert any("local time" in warning for warning in recorder.warnings)


def test_an_empty_result_is_no_coverage(nvr: SimulatedHikvision) -> None:
    found = client(nvr).coverage("101", span("03:00:00", 60))
    assert (found.status, found.recorded) == ("none", ())
    with pytest.raises(RecorderRefusedError, match="no footage"):
        client(nvr).acquire("101", span("03:00:00", 60), Path("unused.mkv"))


def test_all_pages_of_a_search_are_read() -> None:
    with simulated(page=1) as nvr:
        found = client(nvr).coverage("101", span("05:00:00", 90))
        assert list(found.recorded) == HELD
        assert nvr.asked["/ISAPI/ContentMgmt/search"] >= 3


def test_a_search_that_promises_more_for_ever_ends(nvr: SimulatedHikvision) -> None:
    nvr.faults.answers["/ISAPI/ContentMgmt/search"] = (
        b"<CMSearchResult><responseStatusStrg>MORE</responseStatusStrg><matchList/></CMSearchResult>"
    )
    assert client(nvr).coverage("101", span("05:00:00", 90)).status == "none"


def test_the_span_arrives_frame_by_frame(nvr: SimulatedHikvision, tmp_path: Path) -> None:
    wanted = span("05:00:05", 20)
    report = client(nvr).acquire("101", wanted, tmp_path / "gate.mkv")
    assert in_file(tmp_path / "gate.mkv") == held(nvr, wanted)
    assert report.complete
    assert (report.confidence, report.first_frame) == ("low", wanted.start)
    assert nvr.addresses == ["/Streaming/tracks/101/?starttime=20260601T130042Z&endtime=20260601T130102Z"]
    assert "secret" not in str(report.to_json())


def test_the_zone_of_the_replay_address_is_the_one_of_the_index(tmp_path: Path) -> None:
    with simulated(utc=True) as nvr:
        wanted = span("05:00:05", 5)
        assert client(nvr).acquire("101", wanted, tmp_path / "gate.mkv").complete
        assert nvr.addresses == ["/Streaming/tracks/101/?starttime=20260601T050042Z&endtime=20260601T050047Z"]
        assert in_file(tmp_path / "gate.mkv") == held(nvr, wanted)


@pytest.mark.parametrize("ignore_end", [False, True])
def test_a_hole_in_the_index_is_a_hole_in_the_copy(nvr: SimulatedHikvision, tmp_path: Path, ignore_end: bool) -> None:
    """Also when the firmware ignores `endtime`: RTP time runs on over the hole, so only the index shows it."""
    nvr.faults.ignore_end = ignore_end
    report = client(nvr).acquire("101", span("05:00:30", 50), tmp_path / "gate.mkv")
    parts = [span("05:00:30", 10), span("05:01:00", 20)]
    assert in_file(tmp_path / "gate.mkv") == held(nvr, *parts)
    assert [gap.cause for gap in report.gaps] == ["not_recorded"]
    assert abs(report.gaps[0].start - HELD[0].end) < timedelta(seconds=0.2)
    assert abs(report.gaps[0].end - HELD[1].start) < timedelta(seconds=0.2)
    assert report.nothing_lost
    assert any("plays on" in warning for warning in report.warnings) == ignore_end


@pytest.mark.parametrize("early", [0, 3])
def test_a_broken_connection_is_joined_at_a_frame_that_both_sides_have(
    nvr: SimulatedHikvision, tmp_path: Path, early: int
) -> None:
    """Also when the recorder begins three seconds before the window that it was given."""
    wanted = span("05:00:02", 35)
    nvr.faults.cuts, nvr.faults.early = [60_000, 70_000], timedelta(seconds=early)
    report = client(nvr).acquire("101", wanted, tmp_path / "gate.mkv")
    assert report.reconnections == 2
    assert in_file(tmp_path / "gate.mkv") == held(nvr, wanted)
    assert report.complete


def test_sender_reports_raise_the_confidence_unless_they_tell_the_time_of_sending(
    nvr: SimulatedHikvision, tmp_path: Path
) -> None:
    for reports, confidence in (("true", "medium"), ("sending", "low")):
        nvr.faults.reports = reports
        report = client(nvr).acquire("101", span("05:00:05", 5), tmp_path / f"{reports}.mkv")
        assert report.confidence == confidence
        assert report.first_frame == span("05:00:05", 5).start


def test_a_recorder_that_will_not_play_gives_its_files(nvr: SimulatedHikvision, tmp_path: Path) -> None:
    nvr.faults.refuse_playback = 404
    wanted = span("05:00:05", 20)
    report = client(nvr).acquire("101", wanted, tmp_path / "gate.mkv")
    assert in_file(tmp_path / "gate.mkv") == held(nvr, wanted)
    assert [each["name"] for each in report.native] == ["00000000460000000"]
    assert (tmp_path / report.native[0]["file"]).stat().st_size == report.native[0]["size"]
    assert any("would not play" in warning for warning in report.warnings)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["gate.mkv", "gate.mkv.native"]


HOLDING = """
import sys
from pathlib import Path
from device.publishing import folder_beside
with folder_beside(Path(sys.argv[1])) as folder:
    (folder / "00001.mp4").write_bytes(b"half")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_download_left_is_cleared_by_the_next_one_and_a_living_one_stays(
    nvr: SimulatedHikvision, tmp_path: Path
) -> None:
    nvr.faults.refuse_playback = 404
    target, wanted = tmp_path / "gate[1].mkv", span("05:00:05", 5)
    command = [sys.executable, "-c", HOLDING, str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        half = Path(other.stdout.readline().strip())
        client(nvr).acquire("101", wanted, target)
        assert (half / "00001.mp4").read_bytes() == b"half"
        other.kill()
    assert half.is_dir()
    client(nvr).acquire("101", wanted, target)
    assert sorted(each.name for each in tmp_path.iterdir()) == [target.name, f"{target.name}.native"]


def test_a_full_disk_stops_before_the_playback(nvr: SimulatedHikvision, tmp_path: Path) -> None:
    with pytest.raises(DiskFullError):
        client(nvr, free=lambda _: 1000).acquire("101", span("05:00:05", 20), tmp_path / "gate.mkv")
    assert list(tmp_path.iterdir()) == []
    assert nvr.asked["RTSP PLAY"] == 0


def test_wrong_password_unreachable_and_busy_are_told_apart(nvr: SimulatedHikvision, tmp_path: Path) -> None:
    with pytest.raises(RecorderRefusedError, match="user name or the password"):
        open_recorder("hikvision", nvr.url, "operator", "wrong").probe()
    with pytest.raises(RecorderUnreachableError, match="No connection"):
        open_recorder("hikvision", "http://127.0.0.1:9", "operator", "secret").probe()
    client(nvr).rehearse("101", span("05:00:05", 20))
    assert nvr.asked["RTSP PLAY"] == 1
    nvr.faults.refuse_playback = 453
    with pytest.raises(RecorderBusyError):
        client(nvr).rehearse("101", span("05:00:05", 20))
    with pytest.raises(RecorderBusyError):
        client(nvr).acquire("101", span("05:00:05", 20), tmp_path / "gate.mkv")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>not logged in</html>",
        b"\xff\xfe\x00",
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Time><localTime>&b;</localTime></Time>',
        b"<Time><localTime>2026-99-99T00:00:00+08:00</localTime></Time>",
        b"<Time><localTime>2026-06-01T13:00:00</localTime><timeZone>somewhere</timeZone></Time>",
    ],
)
def test_a_strange_answer_is_an_error_that_says_so(nvr: SimulatedHikvision, answer: bytes) -> None:
    nvr.faults.answers["/ISAPI/System/time"] = answer
    with pytest.raises((RecorderRefusedError, RecorderUnreachableError)):
        client(nvr, clock=None).probe()
