"""The report of an acquisition: documented to the field, true about sizes and codecs that change within the span."""

import json
import re
import struct
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_room import client, clip, now, span
from test_hostile_recorder import START, packet

from device.parameter_sets import MOST, h264_size, h265_size, size_in
from device.pull import Pull, Source
from device.recorders.base import AcquisitionReport, ClockOffset, Gap, RecorderIdentity, Seam
from device.rtp import Depacketizer, Frame, TrackFormat
from device.simulator import CAMERAS, Simulator
from device.simulator.packets import access_units, nal_units, packetise
from device.timeline import SECOND, TrackTimeline

PAGE = Path(__file__).parents[3] / "docs" / "evidence-format.md"
PICTURE = TrackFormat("video", "H264", 90_000, 96, 1, "", "x")


def documented(after: str) -> set[str]:
    """The names in the first column of the first table behind these words."""
    table = PAGE.read_text(encoding="utf-8").partition(after)[2].partition("|---|---|\n")[2].partition("\n\n")[0]
    return {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def words_of(field: str) -> set[str]:
    """The names in the second column of a field's row."""
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{field}`"))
    return set(re.findall(r"`(\w+)`", row.split("|")[2]))


def test_every_field_of_the_report_is_documented_and_no_other() -> None:
    assert documented("## The acquisition report") == {field.name for field in fields(AcquisitionReport)}
    assert {field.name for field in fields(Gap)} <= words_of("gaps")
    assert {field.name for field in fields(ClockOffset)} == words_of("clock")
    assert {field.name for field in fields(RecorderIdentity)} == words_of("recorder")
    assert {field.name for field in fields(Seam)} == words_of("seam")


@pytest.fixture(scope="module")
def written(recorder_media: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A real report, as it lies in the bag."""
    with Simulator(recorder_media, 0, 0, "operator", "secret", cameras=CAMERAS[:1], clock=now) as simulator:
        target = tmp_path_factory.mktemp("copy") / "copy.mkv"
        report = client(simulator).acquire("gate", span("05:00:30", 60), target)
    found: dict[str, object] = json.loads(json.dumps(report.to_json()))
    return found


def test_a_real_report_has_exactly_the_documented_fields(written: dict[str, object]) -> None:
    assert set(written) == documented("## The acquisition report")
    (track,) = written["tracks"]  # type: ignore[misc]  # JSON
    assert set(track) == documented("Of each track:")
    assert set(written["clock"]) == words_of("clock")  # type: ignore[call-overload]  # JSON
    assert set(written["recorder"]) == words_of("recorder")  # type: ignore[call-overload]  # JSON
    assert {"ffmpeg", "diaoqu", "driver", "onvif-zeep", "zeep"} == set(written["tools"])  # type: ignore[call-overload]
    assert all(written["tools"].values())  # type: ignore[attr-defined]  # JSON


def test_the_timeline_counts_the_pictures_of_each_minute(written: dict[str, object]) -> None:
    (track,) = written["tracks"]  # type: ignore[misc]  # JSON
    counts = track["frames_per_minute"]
    assert sum(count for _, count in counts) == track["frames"] == written["frames"]
    assert [minute[:16] for minute, _ in counts] == ["2026-06-01T05:01", "2026-06-01T05:02"]
    assert track["interval_seconds"] == {"usual": 0.08, "shortest": 0.08, "longest": 0.08}
    assert written["changes"] == []


# --- changes within the span


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], bytes]:
    """A second of pictures in each codec and several sizes, cropped ones and interlaced ones too."""
    folder, found = tmp_path_factory.mktemp("sizes"), {}
    for size in ("320x180", "640x360", "322x182", "1920x1080"):
        for codec, encoder in (("H264", ["libx264"]), ("H265", ["libx265", "-x265-params", "log-level=none"])):
            path = folder / f"{size}.{codec.lower()}"
            clip(path, "-c:v", *encoder, "-preset", "ultrafast", "-pix_fmt", "yuv420p", seconds=0.4, size=size)
            found[codec, size] = path.read_bytes()
    interlaced = ["-c:v", "libx264", "-preset", "ultrafast", "-flags", "+ildct+ilme", "-profile:v", "high422"]
    clip(folder / "i.h264", *interlaced, "-pix_fmt", "yuv422p", seconds=0.4, size="720x576")
    found["H264", "720x576"] = (folder / "i.h264").read_bytes()
    return found


def test_sizes_are_read_from_real_parameter_sets(encoded: dict[tuple[str, str], bytes]) -> None:
    for (codec, size), data in encoded.items():
        kinds = [(unit[0] & 31, 7) if codec == "H264" else (unit[0] >> 1 & 63, 33) for unit in nal_units(data)]
        unit = next(unit for unit, (kind, wanted) in zip(nal_units(data), kinds, strict=True) if kind == wanted)
        found = h264_size(unit) if codec == "H264" else h265_size(unit)
        assert found == tuple(map(int, size.split("x"))), (codec, size)


@settings(deadline=None, max_examples=300)
@given(st.binary(min_size=1, max_size=300))
def test_no_parameter_set_breaks_the_reading_or_names_an_absurd_size(unit: bytes) -> None:
    for found in (h264_size(unit), h265_size(unit)):
        assert found is None or all(0 < side <= MOST for side in found)


def test_a_parameter_set_that_is_cut_short_names_no_size(encoded: dict[tuple[str, str], bytes]) -> None:
    for (codec, _), data in encoded.items():
        unit = next(unit for unit in nal_units(data) if (unit[0] & 31 if codec == "H264" else unit[0] >> 1) in (7, 33))
        assert (h264_size if codec == "H264" else h265_size)(unit[:5]) is None


def test_a_change_of_size_within_the_span_is_told_with_its_time(encoded: dict[tuple[str, str], bytes]) -> None:
    for codec in ("H264", "H265"):
        track, number = TrackTimeline(TrackFormat("video", codec, 90_000, 96, 1, "", "x"), None), 0
        for size in ("320x180", "640x360", "320x180"):
            for nals in access_units(encoded[codec, size], codec):
                frame = Frame(number, number)
                payloads = [payload for nal in nals for payload in packetise(nal, codec)]
                frame.packets = [(96, place, payload) for place, payload in enumerate(payloads)]
                track.accept(frame, START + number * 40_000)
                number += 1
        assert [((change.at - START) // 40_000, change.before, change.after) for change in track.changes] == [
            (10, (320, 180), (640, 360)),
            (20, (640, 360), (320, 180)),
        ]


def test_motion_jpeg_tells_its_size_in_each_picture() -> None:
    frame = Frame(0, 0)
    frame.packets = [(26, 1, struct.pack(">IBBBB", 0, 1, 255, 40, 22) + b"scan")]
    assert size_in(frame, "JPEG") == (320, 176)


def test_parameter_sets_in_an_aggregation_packet_are_found(encoded: dict[tuple[str, str], bytes]) -> None:
    units = [unit for unit in nal_units(encoded["H264", "640x360"]) if unit[0] & 31 in (7, 8)][:2]
    frame = Frame(0, 0)
    frame.packets = [(96, 1, b"\x18" + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units))]
    assert size_in(frame, "H264") == (640, 360)


def test_another_codec_within_the_span_is_said_with_its_time() -> None:
    class Nobody:
        failed = None

    pull = Pull(Source("rtsp://x/y"), START, START + 5 * SECOND, Nobody())  # type: ignore[arg-type]  # no frame goes there
    pull.timelines, pull._past = [TrackTimeline(PICTURE, None)], [False]
    line = Depacketizer(96, lambda frame: pull.timelines[0].accept(frame, frame.at or 0))
    pull._lines = [line]
    for number in range(10):
        data = packet(number, START + number * 40_000, kind=96 if number < 6 else 98)[4:]
        line.feed(data, 0, len(data))
    line.flush()
    (warning,) = [text for text in pull._outcome("bye", 0).warnings if "codec" in text]
    assert "video/H264" in warning
    assert "payload type 98" in warning
    assert "2026-05-28T20:26:40Z" in warning
