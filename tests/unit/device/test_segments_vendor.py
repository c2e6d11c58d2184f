"""Segments from recorders that take the window in the address and tell no time of a frame: joined by their pictures."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from replay_room import HOUR, OFFSET, now, pictures, span
from vendor.dahua import SimulatedDahua
from vendor.hikvision import SimulatedHikvision

from device.recorders import open_recorder
from device.recorders.base import ClockOffset
from device.segments import SegmentedAcquisition
from device.simulator import annexb_digests

CLOCK = ClockOffset(OFFSET, timedelta(0), "set by the test", HOUR)
HELD = [span("05:00:00", 40), span("05:01:00", 30)]
"""In true time; the recorders' clocks are 37 s ahead."""


@pytest.mark.parametrize(
    ("driver", "kind", "recording"),
    [
        ("hikvision", SimulatedHikvision, "101"),
        pytest.param("dahua", SimulatedDahua, "1", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize(
    ("seconds", "ignore_end"),
    [(23, False), pytest.param(23, True, marks=pytest.mark.long), pytest.param(8.3, False, marks=pytest.mark.long)],
)
def test_segments_hold_each_picture_once_also_across_a_hole(
    tmp_path: Path, driver: str, kind: Any, recording: str, seconds: float, ignore_end: bool
) -> None:
    stretches = [(each.start + OFFSET, each.end + OFFSET) for each in HELD]
    asked = span("05:00:05", 80)
    with kind(stretches, now, drift=OFFSET) as nvr:
        nvr.faults.ignore_end = ignore_end
        options = {"timeout": 5.0, "patience": 0.02, "clock": CLOCK, "rtsp_override": nvr.rtsp, "now": now}
        recorder = open_recorder(driver, nvr.url, "operator", "secret", **options)
        length = timedelta(seconds=seconds)
        report = SegmentedAcquisition(recorder, recording, asked, tmp_path, length).acquire()
        wanted = [span("05:00:05", 35), span("05:01:00", 25)]
        held = [p.annexb for each in wanted for p in nvr.between(each.start + OFFSET, each.end + OFFSET)]
    found = [digest for each in report["segments"] for digest in pictures(tmp_path / each["file"])]
    assert found == annexb_digests(b"".join(held), "H264")
    assert len(report["segments"]) >= 3
    assert [(gap["start"], gap["cause"]) for gap in report["gaps"]] == [(HELD[0].end.isoformat(), "not_recorded")]
    assert report["nothing_lost"] is True
