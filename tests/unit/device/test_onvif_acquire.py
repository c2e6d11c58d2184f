"""Acquisition from the simulated recorder over real sockets: exactly its frames, and honest about what is missing."""

import os
import resource
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from replay_room import OFFSET, BadLine, Fault, client, held, now, pictures, span

from device import media
from device.recorders.base import (
    DiskFullError,
    RecorderBusyError,
    RecorderRefusedError,
    RecorderUnreachableError,
    Span,
)
from device.recorders.replay import RtspRecorder
from device.simulator import AUDIO_TRACK, Simulator


@pytest.fixture(scope="module")
def recorder(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username="operator", password="secret", clock=now, clock_offset=OFFSET) as simulator:
        yield simulator


@pytest.mark.parametrize("camera", ["gate", "garage", "counter"])
def test_the_copy_has_exactly_the_frames_that_the_recorder_holds(
    recorder: Simulator, tmp_path: Path, camera: str
) -> None:
    report = client(recorder).acquire(camera, span("05:00:03.5", 42.2), tmp_path / "copy.mkv")
    expected = held(recorder, camera, report)
    assert pictures(tmp_path / "copy.mkv") == [frame.digest for frame in expected]
    assert (report.complete, report.nothing_lost, report.gaps, report.warnings) == (True, True, (), [])
    assert (report.confidence, report.frames, report.packets_lost) == ("high", len(expected), 0)
    assert report.first_frame == expected[0].time - OFFSET
    assert report.last_frame == expected[-1].time - OFFSET
    assert report.first_frame <= report.requested.start
    assert report.sha256 == media.sha256(tmp_path / "copy.mkv")
    assert report.size == (tmp_path / "copy.mkv").stat().st_size
    assert "secret" not in str(report.to_json())


def test_container_time_is_the_recorders_time(recorder: Simulator, tmp_path: Path) -> None:
    report = client(recorder).acquire("gate", span("05:00:00", 30), tmp_path / "copy.mkv")
    expected = held(recorder, "gate", report)
    contents = media.probe(tmp_path / "copy.mkv")
    assert contents.video is not None
    for packet, frame in zip(contents.of(contents.video), expected, strict=True):
        assert packet.pts == pytest.approx((frame.time - expected[0].time).total_seconds(), abs=0.002)


def test_sound_is_copied_untouched_and_keeps_its_place(recorder: Simulator, tmp_path: Path) -> None:
    report = client(recorder).acquire("counter", span("05:00:00", 20), tmp_path / "copy.mkv")
    contents = media.probe(tmp_path / "copy.mkv", digest="sha256")
    assert report.codecs == ("h264", "pcm_mulaw")
    assert contents.audio is not None
    heard = contents.of(contents.audio)
    assert report.clock is not None
    assert report.first_frame is not None
    start = report.first_frame
    sent = recorder.frames("counter", Span(start + OFFSET, report.requested.end + OFFSET), AUDIO_TRACK)
    assert [f"sha256:{packet.digest}" for packet in heard] == [frame.digest for frame in sent]
    assert heard[0].pts == pytest.approx((sent[0].time - OFFSET - start).total_seconds(), abs=0.01)


def test_ten_minutes_come_at_more_than_a_hundred_times_real_time(recorder: Simulator, tmp_path: Path) -> None:
    driver = client(recorder)
    driver.probe()
    began = time.monotonic()
    report = driver.acquire("gate", span("05:00:00", 600), tmp_path / "copy.mkv")
    assert time.monotonic() - began < 6.0
    assert report.complete


def test_a_gap_within_the_span_is_reported_and_kept_in_the_files_time(recorder: Simulator, tmp_path: Path) -> None:
    report = client(recorder).acquire("lobby", span("03:58:00", 600), tmp_path / "copy.mkv")
    begin = datetime(2026, 6, 1, 4, 0, tzinfo=UTC) - OFFSET
    assert not report.complete
    assert report.nothing_lost
    assert [gap.cause for gap in report.gaps] == ["not_recorded"]
    assert abs(report.gaps[0].start - begin) < timedelta(seconds=1)
    assert abs(report.gaps[0].end - begin - timedelta(minutes=6, seconds=30)) < timedelta(seconds=1)
    assert pictures(tmp_path / "copy.mkv") == [frame.digest for frame in held(recorder, "lobby", report)]
    steps = [b.pts - a.pts for a, b in pairwise(media.probe(tmp_path / "copy.mkv").packets)]
    assert max(steps) == pytest.approx(390, abs=1)


def test_a_gap_at_the_end_of_the_span_is_reported(recorder: Simulator, tmp_path: Path) -> None:
    report = client(recorder).acquire("lobby", span("03:59:00", 60), tmp_path / "copy.mkv")
    assert [gap.cause for gap in report.gaps] == ["not_recorded"]
    assert report.gaps[0].end == report.requested.end
    assert report.nothing_lost


def test_a_span_without_footage_is_refused_and_leaves_nothing(recorder: Simulator, tmp_path: Path) -> None:
    with pytest.raises(RecorderRefusedError, match="no footage"):
        client(recorder).acquire("lobby", span("04:01:00", 60), tmp_path / "copy.mkv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("camera", ["gate", "counter"])
@pytest.mark.parametrize("cuts", [(900, 30_000), (70_001, 2_000, 90_000), (131_072, 131_071)])
def test_a_connection_that_breaks_makes_no_difference(
    recorder: Simulator, tmp_path: Path, camera: str, cuts: tuple[int, ...]
) -> None:
    with BadLine(recorder, *(Fault("cut", 4000 + after) for after in cuts)) as line:
        driver = client(recorder, rtsp_override=line.address)
        report = driver.acquire(camera, span("05:00:03", 60), tmp_path / "copy.mkv")
    assert line.connections > len(cuts)
    assert pictures(tmp_path / "copy.mkv") == [frame.digest for frame in held(recorder, camera, report)]
    assert (report.complete, report.gaps) == (True, ())
    assert report.reconnections >= len(cuts)


def test_silence_in_the_middle_is_a_broken_connection(recorder: Simulator, tmp_path: Path) -> None:
    with BadLine(recorder, Fault("stall", 60_000)) as line:
        driver = client(recorder, rtsp_override=line.address, stall=0.5)
        report = driver.acquire("gate", span("05:00:03", 60), tmp_path / "copy.mkv")
    assert pictures(tmp_path / "copy.mkv") == [frame.digest for frame in held(recorder, "gate", report)]
    assert report.complete


def test_what_came_before_the_line_went_dead_is_kept_and_said_to_be_incomplete(
    recorder_media: Path, tmp_path: Path
) -> None:
    with Simulator(recorder_media, username="operator", password="secret", clock=now, clock_offset=OFFSET) as simulator:
        with BadLine(simulator, *(Fault("cut", each) for each in (90_000, *[100] * 20))) as line:
            driver = client(simulator, rtsp_override=line.address)
            report = driver.acquire("gate", span("05:00:00", 60), tmp_path / "copy.mkv")
        assert (report.complete, report.nothing_lost) == (False, False)
        assert [gap.cause for gap in report.gaps] == ["connection"]
        assert report.gaps[0].end == report.requested.end
        expected = [frame.digest for frame in held(simulator, "gate", report)]
        got = pictures(tmp_path / "copy.mkv")
        assert got == expected[: len(got)]
        assert 0 < len(got) < len(expected)


def test_a_lost_connection_raises_when_partial_copies_are_not_wanted(recorder: Simulator, tmp_path: Path) -> None:
    with BadLine(recorder, *(Fault("cut", each) for each in (90_000, *[100] * 20))) as line:
        driver = client(recorder, rtsp_override=line.address, keep_partial=False)
        with pytest.raises(RecorderUnreachableError, match="before the end"):
            driver.acquire("gate", span("05:00:00", 60), tmp_path / "copy.mkv")
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_never_carries_a_frame_is_unreachable(recorder: Simulator, tmp_path: Path) -> None:
    with BadLine(recorder, *[Fault("stall", 1900)] * 9) as line:
        driver = client(recorder, rtsp_override=line.address, stall=0.4, timeout=1.0)
        with pytest.raises(RecorderUnreachableError):
            driver.acquire("gate", span("05:00:00", 60), tmp_path / "copy.mkv")
    assert list(tmp_path.iterdir()) == []


def test_a_second_playback_finds_the_recorder_busy(recorder: Simulator, tmp_path: Path) -> None:
    playing, done = threading.Event(), threading.Event()

    def hold(facts: dict[str, Any]) -> None:
        playing.set()
        assert done.wait(20)

    first = threading.Thread(
        target=lambda: client(recorder).acquire("gate", span("02:00:00", 3000), tmp_path / "first.mkv", hold)
    )
    first.start()
    try:
        assert playing.wait(20)
        with pytest.raises(RecorderBusyError):
            client(recorder).acquire("garage", span("05:00:00", 10), tmp_path / "second.mkv")
    finally:
        done.set()
        first.join(60)
    assert not (tmp_path / "second.mkv").exists()


def test_a_wrong_password_for_replay_is_refused(recorder: Simulator, tmp_path: Path) -> None:
    address = recorder.replay_uri("gate")
    with pytest.raises(RecorderRefusedError, match="user name or password"):
        RtspRecorder(address, "operator", "guess").acquire("gate", span("05:00:00", 10), tmp_path / "copy.mkv")
    with pytest.raises(RecorderRefusedError, match="asks for a user name"):
        RtspRecorder(address).acquire("gate", span("05:00:00", 10), tmp_path / "copy.mkv")


def test_a_bare_replay_address_is_enough(recorder: Simulator, tmp_path: Path) -> None:
    driver = RtspRecorder(recorder.replay_uri("gate"), "operator", "secret")
    report = driver.acquire("gate", span("05:00:00", 10), tmp_path / "copy.mkv")
    assert report.complete
    assert report.first_frame is not None
    assert report.first_frame <= report.requested.start, "without a measured clock, times are the recorder's"


def test_a_full_disk_is_noticed_before_the_recorder_is_asked(recorder: Simulator, tmp_path: Path) -> None:
    driver = client(recorder, free=lambda _: 1_000_000)
    with pytest.raises(DiskFullError, match="make room"):
        driver.acquire("gate", span("05:00:00", 60), tmp_path / "copy.mkv")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way_leaves_nothing_behind(recorder: Simulator, tmp_path: Path) -> None:
    answers = iter([10**12])
    driver = client(recorder, free=lambda _: next(answers, 0))
    with pytest.raises(DiskFullError):
        driver.acquire("gate", span("02:00:00", 3000), tmp_path / "copy.mkv")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_in_ffmpeg_is_a_full_disk(recorder: Simulator, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(DiskFullError, match="no room"):
            client(recorder).acquire("gate", span("05:00:00", 600), tmp_path / "copy.mkv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_progress_callback_that_raises_stops_everything(recorder: Simulator, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(facts: dict[str, Any]) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        client(recorder).acquire("gate", span("05:00:00", 600), tmp_path / "copy.mkv", stop)
    assert list(tmp_path.iterdir()) == []
    assert client(recorder).acquire("gate", span("05:00:00", 5), tmp_path / "next.mkv").complete


def test_progress_tells_how_far_it_is(recorder: Simulator, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    client(recorder).acquire("gate", span("02:00:00", 2500), tmp_path / "copy.mkv", seen.append)
    fractions = [facts["fraction"] for facts in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(seen) >= 2
    assert all({"bytes", "media_seconds", "frames"} <= set(facts) for facts in seen)


def test_ffmpeg_never_learns_the_recorders_address_or_password(recorder: Simulator, tmp_path: Path) -> None:
    seen: list[str] = []

    def look(facts: dict[str, Any]) -> None:
        for pid in (Path(f"/proc/self/task/{os.getpid()}/children").read_text() or "").split():
            seen.append((Path("/proc") / pid / "cmdline").read_bytes().decode(errors="replace"))

    client(recorder).acquire("gate", span("05:00:00", 600), tmp_path / "copy.mkv", look)
    commands = [line for line in seen if "matroska" in line]
    assert commands
    assert not any("secret" in line or str(recorder.rtsp_port) in line for line in commands)
