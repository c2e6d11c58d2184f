"""What the simulated recorder claims to have recorded, and the footage behind it."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from device.recorders.base import Span
from device.simulator import AUDIO_TRACK, CAMERAS, LOCAL_TIME, MediaError, Simulator, prepare_media
from device.simulator.loops import load_video
from device.simulator.media import find_ffmpeg
from device.simulator.packets import access_units, nal_type
from device.simulator.timeline import Timeline, instant, microseconds, ntp

NOW = datetime(2026, 2, 20, 7, 30, 0, 123456, tzinfo=UTC)
GATE, LOBBY = CAMERAS[0], CAMERAS[1]


def span(start: datetime, **length: float) -> Span:
    return Span(start, start + timedelta(**length))


@pytest.fixture
def simulator(recorder_media: Path) -> Simulator:
    return Simulator(recorder_media, clock=lambda: NOW, clock_offset=timedelta())


def test_footage_goes_back_thirty_days_and_ends_now() -> None:
    timeline = Timeline(GATE, lambda: NOW)
    assert instant(timeline.earliest()) == datetime(2026, 1, 21, 7, 30, 2, tzinfo=UTC)
    assert instant(timeline.latest()) == datetime(2026, 2, 20, 7, 30, 0, 80000, tzinfo=UTC)


def test_footage_never_begins_or_ends_inside_a_gap() -> None:
    noon = datetime(2026, 2, 20, 12, 3, tzinfo=LOCAL_TIME)
    timeline = Timeline(LOBBY, lambda: noon)
    assert instant(timeline.latest()) == datetime(2026, 2, 20, 12, 0, tzinfo=LOCAL_TIME)
    assert instant(timeline.earliest()) == datetime(2026, 1, 21, 12, 6, 30, tzinfo=LOCAL_TIME)


def test_the_lobby_misses_the_same_minutes_every_day() -> None:
    timeline = Timeline(LOBBY, lambda: NOW)
    day = datetime(2026, 2, 10, tzinfo=LOCAL_TIME)
    missing = timeline.missing(microseconds(day), microseconds(day + timedelta(days=1)))
    assert [
        (instant(start).astimezone(LOCAL_TIME).time(), instant(end) - instant(start)) for start, end in missing
    ] == [
        ((day + timedelta(hours=3, minutes=10)).time(), timedelta(minutes=15)),
        ((day + timedelta(hours=12)).time(), timedelta(minutes=6, seconds=30)),
    ]


def test_the_lobby_misses_several_hours_once_in_thirty_days() -> None:
    timeline = Timeline(LOBBY, lambda: NOW)
    missing = timeline.missing(timeline.earliest(), timeline.latest())
    assert [instant(end) - instant(start) for start, end in missing].count(timedelta(hours=3, minutes=30)) == 1


def test_sections_and_gaps_together_are_the_whole_span() -> None:
    timeline = Timeline(LOBBY, lambda: NOW)
    start, end = microseconds(NOW - timedelta(days=12)), microseconds(NOW - timedelta(days=2))
    pieces = sorted(timeline.sections(start, end) + timeline.missing(start, end))
    assert pieces[0][0] == start
    assert pieces[-1][1] == end
    assert all(before[1] == after[0] for before, after in pairwise(pieces))


def test_a_replay_begins_with_a_key_frame_and_ends_before_the_end(simulator: Simulator) -> None:
    start = datetime(2026, 2, 19, 3, 10, 1, tzinfo=UTC)
    exact = simulator.frames("gate", span(start, seconds=3))
    led_in = simulator.frames("gate", span(start, seconds=3), lead_in=True)
    assert exact[0].time == datetime(2026, 2, 19, 3, 10, 1, 40000, tzinfo=UTC)
    assert exact[-1].time == datetime(2026, 2, 19, 3, 10, 3, 920000, tzinfo=UTC)
    assert led_in[0].time == datetime(2026, 2, 19, 3, 10, tzinfo=UTC)
    assert led_in[0].clean
    assert led_in[-len(exact) :] == exact


def test_the_loop_repeats_every_ten_minutes_without_a_seam(simulator: Simulator) -> None:
    start = datetime(2026, 2, 19, 3, 9, 55, tzinfo=UTC)
    frames = simulator.frames("garage", span(start, minutes=10))
    steps = {after.time - before.time for before, after in pairwise(frames)}
    assert steps == {timedelta(milliseconds=80)}
    assert len(frames) == 7500
    assert len({frame.digest for frame in frames}) == 7500
    again = simulator.frames("garage", span(start + timedelta(minutes=10), minutes=10))
    assert [frame.digest for frame in again] == [frame.digest for frame in frames]


def test_sound_has_a_packet_for_every_forty_milliseconds(simulator: Simulator) -> None:
    frames = simulator.frames("counter", span(NOW - timedelta(hours=1), seconds=10), AUDIO_TRACK)
    assert len(frames) == 250
    assert {frame.size for frame in frames} == {320}


def test_ntp_times_cut_to_microseconds_are_exact() -> None:
    for count in range(1_771_000_000_000_000, 1_771_000_001_000_000, 4_999):
        seconds, fraction = divmod(ntp(count), 1 << 32)
        assert (seconds - 2_208_988_800) * 1_000_000 + (fraction * 1_000_000 >> 32) == count


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.token)
def test_every_gop_is_closed_and_begins_with_its_parameter_sets(camera, recorder_media: Path) -> None:  # type: ignore[no-untyped-def]
    (media,) = prepare_media(recorder_media, [camera])
    pictures = list(access_units(media.video.read_bytes(), camera.codec))
    assert len(pictures) == 7500
    sets = {7, 8} if camera.codec == "H264" else {32, 33, 34}
    for number, nals in enumerate(pictures):
        assert (sets <= {nal_type(nal, camera.codec) for nal in nals}) == (number % camera.gop == 0)
    loop = load_video(media.video, camera.codec, camera.period)
    assert [number for number, unit in enumerate(loop.units) if unit.clean] == list(range(0, 7500, camera.gop))


def test_footage_is_encoded_once_and_stays_small(recorder_media: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in recorder_media.iterdir() if path.name != ".lock"}
    prepare_media(recorder_media)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sum(path.stat().st_size for path in before) < 60_000_000


def test_without_any_ffmpeg_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", {}.get)
    with pytest.raises(MediaError, match="imageio-ffmpeg"):
        find_ffmpeg()
