"""The Dahua driver against a simulated recorder over real sockets; vendor/dahua.py names the sources."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from replay_room import HOUR, OFFSET, now, span
from replay_room import pictures as in_file
from vendor.dahua import SimulatedDahua

from device.recorders import open_recorder
from device.recorders.base import (
    ClockOffset,
    DeviceError,
    RecorderBusyError,
    RecorderRefusedError,
    RecorderUnreachableError,
    Span,
)
from device.recorders.dahua import DahuaRecorder
from device.simulator import annexb_digests

CLOCK = ClockOffset(OFFSET, timedelta(0), "set by the test", HOUR)
HELD = [span("05:00:00", 40), span("05:01:00", 30)]
"""What the recorder holds, in true time; its own clock is 37 s ahead."""


def simulated(**options: Any) -> SimulatedDahua:
    return SimulatedDahua([(each.start + OFFSET, each.end + OFFSET) for each in HELD], now, drift=OFFSET, **options)


@pytest.fixture
def nvr() -> Iterator[SimulatedDahua]:
    with simulated() as nvr:
        yield nvr


def client(nvr: SimulatedDahua, **options: Any) -> DahuaRecorder:
    options = {"timeout": 5.0, "patience": 0.02, "clock": CLOCK, "rtsp_override": nvr.rtsp, "now": now} | options
    found = open_recorder("dahua", nvr.url, "operator", "secret", **options)
    assert isinstance(found, DahuaRecorder)
    return found


def held(nvr: SimulatedDahua, *spans: Span) -> list[str]:
    units = [p.annexb for each in spans for p in nvr.between(each.start + OFFSET, each.end + OFFSET)]
    return annexb_digests(b"".join(units), "H264")


def test_probe_names_the_recorder_and_tells_its_zone_from_its_drift(nvr: SimulatedDahua) -> None:
    recorder = client(nvr, clock=None)
    found = recorder.probe()
    assert (found.identity.model, found.identity.serial) == ("DHI-NVR4216", "4X7C5A1ZAG21L3F")
    assert abs(found.clock.offset - OFFSET) <= found.clock.uncertainty + timedelta(milliseconds=20)
    assert recorder.zone.utcoffset(None) == timedelta(hours=8)


def test_a_given_zone_is_believed(nvr: SimulatedDahua) -> None:
    assert abs(client(nvr, clock=None, zone="Asia/Tokyo").clock.offset + timedelta(hours=1)) < timedelta(minutes=1)
    with pytest.raises(DeviceError, match="time zone"):
        client(nvr, zone="Mars/Olympus")


def test_recordings_are_the_channels_with_their_names(nvr: SimulatedDahua) -> None:
    assert [(each.token, each.camera) for each in client(nvr).recordings()] == [("1", "East gate"), ("2", "channel 2")]


@pytest.mark.parametrize("page", [1, 100])
def test_coverage_reads_all_pages_and_closes_its_search(page: int) -> None:
    with simulated(page=page) as nvr:
        found = client(nvr).coverage("1", span("05:00:00", 90))
        assert found.status == "partial"
        assert list(found.recorded) == HELD
        assert [(gap.start, gap.end) for gap in found.gaps] == [(HELD[0].end, HELD[1].start)]
        assert nvr.open_finders == {}


def test_an_empty_result_is_no_coverage(nvr: SimulatedDahua) -> None:
    assert client(nvr).coverage("1", span("03:00:00", 60)).status == "none"
    assert client(nvr).coverage("7", span("05:00:00", 60)).status == "none"
    assert nvr.open_finders == {}
    with pytest.raises(RecorderRefusedError, match="no footage"):
        client(nvr).acquire("1", span("03:00:00", 60), Path("unused.mkv"))
    with pytest.raises(RecorderRefusedError, match="no channel"):
        client(nvr).coverage("1&action=destroy", span("05:00:00", 60))


def test_the_span_arrives_frame_by_frame(nvr: SimulatedDahua, tmp_path: Path) -> None:
    wanted = span("05:00:05", 20)
    report = client(nvr).acquire("1", wanted, tmp_path / "gate.mkv")
    assert in_file(tmp_path / "gate.mkv") == held(nvr, wanted)
    assert report.complete
    assert (report.confidence, report.first_frame) == ("low", wanted.start)
    window = "starttime=2026_06_01_13_00_42&endtime=2026_06_01_13_01_02"
    assert nvr.addresses == [f"/cam/playback?channel=1&subtype=0&{window}"]


@pytest.mark.parametrize("ignore_end", [False, True])
def test_a_hole_in_the_index_is_a_hole_in_the_copy(nvr: SimulatedDahua, tmp_path: Path, ignore_end: bool) -> None:
    nvr.faults.ignore_end = ignore_end
    report = client(nvr).acquire("1", span("05:00:30", 50), tmp_path / "gate.mkv")
    assert in_file(tmp_path / "gate.mkv") == held(nvr, span("05:00:30", 10), span("05:01:00", 20))
    assert [gap.cause for gap in report.gaps] == ["not_recorded"]
    assert report.nothing_lost


def test_a_broken_connection_is_taken_up_again(nvr: SimulatedDahua, tmp_path: Path) -> None:
    wanted = span("05:00:02", 35)
    nvr.faults.cuts = [40_000]
    report = client(nvr).acquire("1", wanted, tmp_path / "gate.mkv")
    assert report.reconnections == 1
    assert in_file(tmp_path / "gate.mkv") == held(nvr, wanted)


def test_a_recorder_that_will_not_play_gives_its_dav_which_is_kept(nvr: SimulatedDahua, tmp_path: Path) -> None:
    nvr.faults.refuse_playback = 404
    wanted = span("05:00:05", 20)
    report = client(nvr).acquire("1", wanted, tmp_path / "gate.mkv")
    assert in_file(tmp_path / "gate.mkv") == held(nvr, wanted)
    (native,) = report.native
    assert native["name"] == "channel1_20260601130042_20260601130102.dav"
    assert (tmp_path / native["file"]).read_bytes()[:4] == b"DHAV"
    nvr.loads = False
    with pytest.raises(RecorderRefusedError, match="no such recording"):
        client(nvr).acquire("1", wanted, tmp_path / "again.mkv")
    assert not (tmp_path / "again.mkv").exists()


def test_wrong_password_unreachable_and_busy_are_told_apart(nvr: SimulatedDahua, tmp_path: Path) -> None:
    with pytest.raises(RecorderRefusedError, match="user name or the password"):
        open_recorder("dahua", nvr.url, "operator", "wrong").probe()
    with pytest.raises(RecorderUnreachableError, match="No connection"):
        open_recorder("dahua", "http://127.0.0.1:9", "operator", "secret").probe()
    client(nvr).rehearse("1", span("05:00:05", 20))
    assert nvr.asked["RTSP PLAY"] == 1
    nvr.faults.refuse_playback = 453
    with pytest.raises(RecorderBusyError):
        client(nvr).rehearse("1", span("05:00:05", 20))
    with pytest.raises(RecorderBusyError):
        client(nvr).acquire("1", span("05:00:05", 20), tmp_path / "gate.mkv")


@pytest.mark.parametrize(
    "answer", [b"", b"\xff\xfe", b"result=soon", b"result=2026-99-01 00:00:00", b"result=1999-01-01 0:0:0"]
)
def test_a_strange_answer_is_an_error_that_says_so(nvr: SimulatedDahua, answer: bytes) -> None:
    nvr.faults.answers["/cgi-bin/global.cgi"] = answer
    with pytest.raises(RecorderRefusedError):
        client(nvr, clock=None).probe()


def test_a_search_that_never_begins_is_refused(nvr: SimulatedDahua) -> None:
    nvr.faults.answers["/cgi-bin/mediaFileFind.cgi"] = b"result=1&action=destroy\r\n"
    with pytest.raises(RecorderRefusedError, match="no search"):
        client(nvr).coverage("1", span("05:00:00", 60))
