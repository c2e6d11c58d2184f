"""A long span in segments: no frame twice, none missing, whatever kills the retrieval and wherever segments meet."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from replay_room import OFFSET, BadLine, Fault, client, held, now, pictures, span

from device import media
from device.recorders.base import DeviceError, RecorderUnreachableError, Span
from device.recorders.replay import RtspRecorder
from device.segments import MANIFEST, SUMS, OtherSpanError, SegmentedAcquisition, join, next_seam
from device.simulator import Faults, Simulator

MINUTE = span("05:00:03.5", 60)
TWELVE = timedelta(seconds=12)


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username="operator", password="secret", clock=now, clock_offset=OFFSET) as simulator:
        yield simulator


def frames_of(folder: Path, report: dict[str, Any]) -> list[str]:
    return [digest for each in report["segments"] for digest in pictures(folder / each["file"])]


def sounds(path: Path) -> list[str]:
    contents = media.probe(path, digest="sha256")
    assert contents.audio is not None
    return [packet.digest for packet in contents.of(contents.audio)]


def expected(simulator: Simulator, camera: str, asked: Span) -> list[str]:
    on_recorder = Span(asked.start + OFFSET, asked.end + OFFSET)
    return [frame.digest for frame in simulator.frames(camera, on_recorder, lead_in=True)]


@pytest.mark.parametrize("camera", ["gate", "garage", "counter"])
@pytest.mark.parametrize(("seconds", "count"), [(7, 9), (12, 5), (31.3, 2)])
def test_segments_hold_the_frames_of_one_uncut_copy(
    simulator: Simulator, tmp_path: Path, camera: str, seconds: float, count: int
) -> None:
    whole = client(simulator).acquire(camera, MINUTE, tmp_path / "whole.mkv")
    length = timedelta(seconds=seconds)
    report = SegmentedAcquisition(client(simulator), camera, MINUTE, tmp_path / "s", length).acquire()
    assert len(report["segments"]) == count
    assert frames_of(tmp_path / "s", report) == pictures(tmp_path / "whole.mkv") == expected(simulator, camera, MINUTE)
    assert (report["complete"], report["gaps"], report["warnings"]) == (True, [], [])
    assert (report["frames"], report["first_frame"]) == (whole.frames, whole.to_json()["first_frame"])
    for before, after in pairwise(report["segments"]):
        assert before["end"] == after["start"] == after["first_frame"]
    if camera == "counter":
        parts = [digest for each in report["segments"] for digest in sounds(tmp_path / "s" / each["file"])]
        assert parts == sounds(tmp_path / "whole.mkv")
