"""Each defect of real H.264 and H.265 files is detected, named and located; sound files are not accused."""

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from replay_room import ffmpeg

from device import decoding, media
from device.integrity import Verdict, check

FIRST = datetime(2026, 2, 1, 10, tzinfo=UTC)
SECONDS, RATE, GOP = 16, 25, 25
X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p"]
X265_OPTIONS = "keyint=25:min-keyint=25:scenecut=0:bframes=0:open-gop=0:log-level=none"
X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", X265_OPTIONS]
ENCODERS = {"h264": X264, "hevc": X265}
MOVING = f"testsrc2=s=320x180:r={RATE}:d={SECONDS}"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A file of sixteen seconds in either codec."""
    folder = tmp_path_factory.mktemp("sound")

    def of(codec: str) -> Path:
        path = folder / f"{codec}.mkv"
        if not path.exists():
            ffmpeg("-f", "lavfi", "-i", MOVING, *ENCODERS[codec], "-fflags", "+bitexact", str(path))
        return path

    return of


def report(path: Path, **changes: Any) -> dict[str, Any]:
    """The report of the acquisition of this file, when it was still sound."""
    contents = media.probe(path)
    facts = {
        "first_frame": FIRST.isoformat(),
        "frames": contents.video.packets if contents.video else 0,
        "packets_lost": 0,
        "gaps": [],
        "codecs": [stream.codec for stream in contents.streams],
        "confidence": "high",
        "sha256": media.sha256(path),
    }
    return facts | changes


def places(verdict: Verdict, kind: str) -> list[float]:
    return [each.at_seconds for each in verdict.findings if each.kind == kind and each.at_seconds is not None]


def clusters(data: bytes | bytearray) -> list[int]:
    """Where the clusters of a Matroska file begin."""
    return [found.start() for found in re.finditer(rb"\x1f\x43\xb6\x75", data)]


# --- what damages a file, and what must be found of it


def truncated(path: Path, codec: str) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_between_clusters(path: Path, codec: str) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: clusters(data)[len(clusters(data)) // 2]])


def bits_flipped(path: Path, codec: str) -> None:
    data, chance = bytearray(path.read_bytes()), random.Random(7)
    for _ in range(40):
        data[len(data) // 2 + chance.randrange(8000)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def hole(path: Path, codec: str) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(4096)
    path.write_bytes(data)


def without(path: Path, *numbers: int) -> None:
    """The same file less these pictures, their times left open."""
    chosen = "+".join(f"eq(n,{number})" for number in numbers)
    ffmpeg("-i", str(path), "-c", "copy", "-bsf:v", f"noise=drop='{chosen}'", str(path.with_suffix(".out.mkv")))
    path.with_suffix(".out.mkv").replace(path)


def frame_missing(path: Path, codec: str) -> None:
    without(path, 8 * RATE + 12)


def group_missing(path: Path, codec: str) -> None:
    without(path, *range(8 * RATE, 8 * RATE + GOP))


def wrong_order(path: Path, codec: str) -> None:
    data = path.read_bytes()
    at = clusters(data)
    a, b, c = at[len(at) // 2], at[len(at) // 2 + 1], at[len(at) // 2 + 2]
    path.write_bytes(data[:a] + data[b:c] + data[a:b] + data[c:])


def wrong_codec(path: Path, codec: str) -> None:
    """From the eighth to the tenth second the packets are those of the other codec."""
    other = {"h264": "hevc", "hevc": "h264"}[codec]
    foreign = path.with_name("foreign.mkv")
    ffmpeg("-f", "lavfi", "-i", MOVING, *ENCODERS[other], "-fflags", "+bitexact", str(foreign))
    ours, theirs = path.read_bytes(), foreign.read_bytes()
    mine, its = [*clusters(ours), len(ours)], [*clusters(theirs), len(theirs)]
    middle = len(mine) // 2
    path.write_bytes(ours[: mine[middle]] + theirs[its[middle] : its[middle + 1]] + ours[mine[middle + 1] :])


def scene(graph: str) -> Callable[[Path, str], None]:
    def make(path: Path, codec: str) -> None:
        ffmpeg("-f", "lavfi", "-i", graph, *ENCODERS[codec], str(path))

    return make


DEFECTS: dict[str, tuple[Callable[[Path, str], None], str, float, float]] = {
    "truncated": (truncated, "truncated", 8, 2.5),
    "cut between two clusters": (cut_between_clusters, "truncated", 8, 3.5),
    "bits flipped": (bits_flipped, "decode", 8, 2),
    "a hole": (hole, "hole", 8, 2),
    "a picture missing": (frame_missing, "missing_frames", 8.44, 0.1),
    "a group of pictures missing": (group_missing, "missing_frames", 8, 0.1),
    "the order wrong": (wrong_order, "wrong_order", 8, 4),
    "another codec in the middle": (wrong_codec, "codec", 8, 4),
    "black": (scene(f"{MOVING},drawbox=c=black:t=fill:enable='between(t,5,9)'"), "black", 5, 1.1),
    "frozen": (scene("testsrc2=s=320x180:r=25:d=4,tpad=stop_mode=clone:stop_duration=12"), "frozen", 4, 1.1),
}
WARNS = {"black", "frozen"}


SAMPLE = {("another codec in the middle", "hevc"), ("a picture missing", "h264")}


@pytest.mark.parametrize(
    ("defect", "codec"),
    [
        pytest.param(defect, codec, marks=() if (defect, codec) in SAMPLE else pytest.mark.long)
        for defect in DEFECTS
        for codec in ENCODERS
    ],
)
def test_each_defect_is_detected_named_and_located(
    sound: Callable[[str], Path], tmp_path: Path, defect: str, codec: str
) -> None:
    damage, kind, at, tolerance = DEFECTS[defect]
    path = tmp_path / "film.mkv"
    path.write_bytes(sound(codec).read_bytes())
    before = report(path)
    damage(path, codec)
    verdict = check(path) if kind in WARNS else check(path, before)
    assert verdict.verdict == ("warning" if kind in WARNS else "damaged")
    assert [place for place in places(verdict, kind) if abs(place - at) <= tolerance], verdict.findings
    if kind not in WARNS:
        assert check(path).verdict != "sound", "nor does it pass without a report"


# --- sound files


def film(*more: str, graph: str = "testsrc2=s=320x180:r=25:d=12") -> list[str]:
    return ["-f", "lavfi", "-i", graph, *more]


TONE = ["-f", "lavfi", "-i", "sine=d=12:r=8000"]
AAC = ["-f", "lavfi", "-i", "sine=d=12:r=16000"]
JPEG = ["-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj420p"]
FRAMES = "setpts='N/25/TB+floor(random(0)*30)/1000/TB'"

SOUND: dict[str, tuple[str, list[str]]] = {
    "h264": ("mkv", film(*X264)),
    "h265": ("mkv", film(*X265)),
    "mjpeg": ("mkv", film(*JPEG)),
    "h264 mp4": ("mp4", film(*X264)),
    "h265 mp4": ("mp4", film(*X265)),
    "h264 avi": ("avi", film(*X264)),
    "h264 ps": ("mpg", film(*X264, "-f", "mpeg")),
    "h264 g711 a-law": ("mkv", [*film(), *TONE, *X264, "-c:a", "pcm_alaw"]),
    "h264 g711 µ-law": ("mkv", [*film(), *TONE, *X264, "-c:a", "pcm_mulaw"]),
    "h265 aac": ("mkv", [*film(), *AAC, *X265, "-c:a", "aac"]),
    "mjpeg g711": ("mkv", [*film(), *TONE, *JPEG, "-c:a", "pcm_mulaw"]),
    "h264 b-frames": (
        "mkv",
        film("-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-b_strategy", "0", "-g", "50"),
    ),
    "h264 b-frames, open groups": (
        "mkv",
        film("-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-x264-params", "open-gop=1:keyint=25:scenecut=0"),
    ),
    "h265 b-frames, open groups": (
        "mkv",
        film(
            "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:bframes=4:open-gop=1:log-level=none"
        ),
    ),
    "h264 variable rate": ("mkv", film("-vf", FRAMES, "-fps_mode", "vfr", *X264)),
    "h264 few pictures, then many": (
        "mkv",
        film("-vf", "select='if(lt(t,6),not(mod(n,25)),1)'", "-fps_mode", "vfr", *X264),
    ),
    "h264 one picture a second": ("mkv", film(*X264, graph="testsrc2=s=320x180:r=1:d=12")),
    "h264 intra refresh": ("mkv", film("-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "intra-refresh=1")),
    "h264 slices": ("mkv", film(*X264, "-slices", "4")),
    "h264 interlaced": ("mkv", film("-c:v", "libx264", "-preset", "ultrafast", "-flags", "+ildct+ilme")),
    "sound alone": ("mkv", [*AAC, "-c:a", "aac"]),
    "h264 very short": ("mkv", film(*X264, graph="testsrc2=s=320x180:r=25:d=0.2")),
}

OFTEN = ("h264 very short", "h264 b-frames, open groups")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in OFTEN else pytest.mark.long) for kind in SOUND]
)
def test_a_sound_file_is_never_accused(tmp_path: Path, kind: str) -> None:
    ending, arguments = SOUND[kind]
    path = tmp_path / f"film.{ending}"
    ffmpeg(*arguments, str(path))
    assert (check(path).verdict, check(path).findings) == ("sound", [])
    verdict = check(path, report(path))
    assert (verdict.verdict, verdict.findings) == ("sound", [])


@pytest.mark.parametrize("codec", ["h264", pytest.param("hevc", marks=pytest.mark.long)])
def test_a_gap_of_the_recorder_is_no_damage(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "film.mkv"
    ffmpeg(*film("-vf", "setpts='if(lt(N,150),PTS,PTS+40/TB)'", "-fps_mode", "vfr", *ENCODERS[codec]), str(path))
    gap = [(FIRST + timedelta(seconds=at)).isoformat() for at in (6, 46)]
    facts = report(path, gaps=[{"start": gap[0], "end": gap[1], "cause": "not_recorded"}])
    assert [(each.kind, each.severity) for each in check(path, facts).findings] == [("gap", "warning")]


@pytest.mark.long
def test_a_size_that_changes_within_the_file_is_no_damage(tmp_path: Path) -> None:
    parts = []
    for number, size in enumerate(("320x180", "640x360")):
        part = tmp_path / f"{number}.h264"
        ffmpeg(*film(*X264, graph=f"testsrc2=s={size}:r=25:d=6"), str(part))
        parts.append(part.read_bytes())
    (tmp_path / "both.h264").write_bytes(b"".join(parts))
    ffmpeg("-r", "25", "-i", str(tmp_path / "both.h264"), "-c", "copy", str(tmp_path / "both.mkv"))
    assert check(tmp_path / "both.mkv").findings == []


# --- in parallel


@pytest.mark.parametrize("cores", [pytest.param(1, marks=pytest.mark.long), 2, pytest.param(3, marks=pytest.mark.long)])
@pytest.mark.parametrize("codec", ["h264", pytest.param("hevc", marks=pytest.mark.long)])
def test_every_picture_is_decoded_once_on_any_number_of_cores(
    sound: Callable[[str], Path], codec: str, cores: int
) -> None:
    contents = media.probe(sound(codec))
    seen: list[float] = []
    parts = decoding.decode(contents, lambda facts: seen.append(facts["fraction"]), cores)
    assert len(parts) == cores
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert sum(part.pictures for part in parts) == SECONDS * RATE
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0, abs=0.02)


@pytest.mark.long
def test_damage_in_two_parts_is_located_in_both(sound: Callable[[str], Path], tmp_path: Path) -> None:
    data, path = bytearray(sound("h264").read_bytes()), tmp_path / "film.mkv"
    begins = clusters(data)
    for number in (4, 12):  # within the key frame, which fills the first kilobytes of its second
        for at in range(begins[number] + 2000, begins[number] + 3000, 7):
            data[at] ^= 0x55
    path.write_bytes(data)
    contents = media.probe(path)
    found = [part.reached for part in decoding.decode(contents, cores=2) if part.complaints]
    assert found == [pytest.approx(4, abs=1.5), pytest.approx(12, abs=1.5)]


def test_what_progress_raises_ends_all_decoders(sound: Callable[[str], Path]) -> None:
    def stop(_: object) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        decoding.decode(media.probe(sound("h264")), stop, 2)
