"""Every kind of damage is found, named and located; sound footage is never accused."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from replay_room import clip, ffmpeg

from device import media
from device.integrity import Verdict, check

FIRST = datetime(2026, 2, 1, 10, tzinfo=UTC)
ENCODED = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p"]


@pytest.fixture(scope="module")
def sound_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("footage") / "sound.mkv", seconds=20)


def report(path: Path, **changes: Any) -> dict[str, Any]:
    """The report of an acquisition that went well, as JSON."""
    facts: dict[str, Any] = {
        "first_frame": FIRST.isoformat(),
        "frames": 500,
        "packets_lost": 0,
        "gaps": [],
        "codecs": ["h264"],
        "confidence": "high",
        "sha256": media.sha256(path),
    }
    return facts | changes


def found(verdict: Verdict) -> dict[str, tuple[str, float | None]]:
    """Each kind of finding with its severity and first place."""
    kinds: dict[str, tuple[str, float | None]] = {}
    for finding in verdict.findings:
        kinds.setdefault(finding.kind, (finding.severity, finding.at_seconds))
    return kinds


def test_sound_footage_is_not_accused(sound_file: Path) -> None:
    verdict = check(sound_file, report(sound_file))
    assert (verdict.verdict, verdict.findings) == ("sound", [])
    assert verdict.facts["pictures"] == 500
    assert check(sound_file).verdict == "sound", "nor without a report"


def test_truncated_footage_is_damaged(sound_file: Path, tmp_path: Path) -> None:
    data = sound_file.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    verdict = check(cut)
    assert verdict.verdict == "damaged"
    severity, at = found(verdict)["truncated"]
    assert severity == "damaged"
    assert at == pytest.approx(10, abs=2)


def test_truncated_mp4_cannot_be_opened(sound_file: Path, tmp_path: Path) -> None:
    ffmpeg("-i", str(sound_file), "-c", "copy", str(tmp_path / "whole.mp4"))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((tmp_path / "whole.mp4").read_bytes()[:200_000])
    assert found(check(cut)) == {"unreadable": ("damaged", 0.0)}


def test_flipped_bits_are_found_by_digest_and_by_decoding(sound_file: Path, tmp_path: Path) -> None:
    original = report(sound_file)
    data = bytearray(sound_file.read_bytes())
    chance = random.Random(7)
    middle = len(data) * 6 // 10
    for _ in range(40):
        data[middle + chance.randrange(20_000)] ^= 1 << chance.randrange(8)
    flipped = tmp_path / "flipped.mkv"
    flipped.write_bytes(data)
    kinds = found(check(flipped, original))
    assert kinds["digest"][0] == "damaged"
    assert kinds["decode"][0] == "damaged"
    assert kinds["decode"][1] == pytest.approx(12, abs=3)
    assert "decode" in found(check(flipped)), "also without a report"


def test_a_hole_of_four_kilobytes_is_found(sound_file: Path, tmp_path: Path) -> None:
    data = bytearray(sound_file.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 4096] = bytes(4096)
    hole = tmp_path / "hole.mkv"
    hole.write_bytes(data)
    assert check(hole).verdict == "damaged"


def test_a_missing_group_of_pictures_is_found_and_located(sound_file: Path, tmp_path: Path) -> None:
    """No decoder complains about it: only the packets' times and their number show it."""
    missing = tmp_path / "missing.mkv"
    ffmpeg("-i", str(sound_file), "-c", "copy", "-t", "8", str(tmp_path / "a.mkv"))
    ffmpeg("-ss", "10", "-i", str(sound_file), "-c", "copy", str(tmp_path / "b.mkv"))
    (tmp_path / "list").write_text("file a.mkv\nduration 10\nfile b.mkv\n")
    ffmpeg("-f", "concat", "-i", str(tmp_path / "list"), "-c", "copy", str(missing))
    severity, at = found(check(missing, report(missing)))["missing_frames"]
    assert (severity, at) == ("damaged", None), "fewer pictures than were acquired"
    places = [f.at_seconds for f in check(missing, report(missing)).findings if f.at_seconds is not None]
    assert places[0] == pytest.approx(8, abs=0.2)
    assert check(missing).verdict == "warning", "without a report it may be how it was recorded"


def test_a_gap_that_the_report_explains_is_a_warning_only(sound_file: Path, tmp_path: Path) -> None:
    gapped = tmp_path / "gapped.mkv"
    ffmpeg("-i", str(sound_file), "-c", "copy", "-t", "8", str(tmp_path / "a.mkv"))
    ffmpeg("-ss", "10", "-i", str(sound_file), "-c", "copy", str(tmp_path / "b.mkv"))
    (tmp_path / "list").write_text("file a.mkv\nduration 10\nfile b.mkv\n")
    ffmpeg("-f", "concat", "-i", str(tmp_path / "list"), "-c", "copy", str(gapped))
    start = FIRST + timedelta(seconds=8)
    gap = {
        "start": start.isoformat(),
        "end": (start + timedelta(seconds=2)).isoformat(),
        "cause": "not_recorded",
    }
    facts = report(gapped, gaps=[gap], frames=len(media.probe(gapped).packets))
    verdict = check(gapped, facts)
    assert verdict.verdict == "warning"
    assert found(verdict) == {"gap": ("warning", 8.0)}


@pytest.mark.parametrize(
    ("changes", "kind", "severity"),
    [
        ({"packets_lost": 3}, "packets_lost", "damaged"),
        ({"codecs": ["hevc"]}, "codec", "damaged"),
        ({"frames": 501}, "missing_frames", "damaged"),
        ({"sha256": "sha256:00"}, "digest", "damaged"),
        ({"confidence": "low"}, "timeline", "warning"),
        (
            {"gaps": [{"start": FIRST.isoformat(), "end": (FIRST + timedelta(1)).isoformat(), "cause": "connection"}]},
            "connection",
            "damaged",
        ),
    ],
)
def test_what_the_report_says_counts(sound_file: Path, changes: dict[str, Any], kind: str, severity: str) -> None:
    assert found(check(sound_file, report(sound_file, **changes)))[kind][0] == severity


def test_black_pictures_are_a_warning_with_their_place(tmp_path: Path) -> None:
    black = tmp_path / "black.mkv"
    scene = "testsrc2=s=320x180:r=25:d=12,drawbox=c=black:t=fill:enable='between(t,5,9)'"
    ffmpeg("-f", "lavfi", "-i", scene, *ENCODED, str(black))
    verdict = check(black)
    assert verdict.verdict == "warning"
    severity, at = found(verdict)["black"]
    assert severity == "warning"
    assert at == pytest.approx(5, abs=1)


def test_a_frozen_picture_is_a_warning_with_its_place(tmp_path: Path) -> None:
    frozen = tmp_path / "frozen.mkv"
    scene = "testsrc2=s=320x180:r=25:d=8,tpad=stop_mode=clone:stop_duration=14"
    ffmpeg("-f", "lavfi", "-i", scene, *ENCODED, str(frozen))
    severity, at = found(check(frozen))["frozen"]
    assert severity == "warning"
    assert at == pytest.approx(8, abs=1.5)


@pytest.mark.parametrize("content", [b"", b"no film at all", bytes(5000)])
def test_a_file_that_is_no_footage_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "junk.mkv").write_bytes(content)
    assert check(tmp_path / "junk.mkv").verdict == "damaged"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "nowhere.mkv")


def test_progress_rises_through_all_stages_and_may_stop(sound_file: Path) -> None:
    seen: list[dict[str, Any]] = []
    check(sound_file, report(sound_file), seen.append)
    fractions = [facts["fraction"] for facts in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert list(dict.fromkeys(facts["stage"] for facts in seen)) == [
        "report",
        "packets",
        "digest",
        "decode",
        "pictures",
        "done",
    ]

    def stop(facts: dict[str, Any]) -> None:
        if facts["stage"] == "decode":
            raise KeyError

    with pytest.raises(KeyError):
        check(sound_file, progress=stop)


def test_the_verdict_is_json(sound_file: Path) -> None:
    plain = check(sound_file, report(sound_file, packets_lost=1)).to_json()
    assert plain["verdict"] == "damaged"
    assert set(plain["findings"][0]) == {"kind", "severity", "at_seconds", "detail"}
