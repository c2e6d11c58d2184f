"""Faces are found and proposed; what is redacted is gone in every picture, and the rest of the picture is as it was."""

import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from drawn_faces import HEIGHT, WIDTH, film_of, portrait
from replay_room import ffmpeg

from device import faces, raw_frames, redaction
from device.media import MediaError, probe
from device.recorders.base import DiskFullError
from device.regions import Box, Region

SECONDS = 2.0
SIZE = 70
HIDDEN_FOR = (0.8, 1.2)
"""For this long the face is behind something: the detector cannot see it."""


def place(at: float) -> tuple[float, float]:
    return 90 + 40 * at, 110


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face walks through the picture; for some moments something is before it."""

    def draw(at: float) -> np.ndarray:
        picture = portrait(*place(at), SIZE)
        if HIDDEN_FOR[0] <= at < HIDDEN_FOR[1]:
            picture[50:230, :] = 90
        return picture

    return film_of(tmp_path_factory.mktemp("walk") / "walk.mkv", draw, SECONDS)


@pytest.fixture(scope="module")
def proposed(walk: Path) -> list[Region]:
    return faces.propose(walk, SECONDS).regions


def luma(film: Path) -> list[tuple[float, np.ndarray]]:
    return [
        (
            picture.at,
            np.frombuffer(picture.pixels, np.uint8)[: picture.width * picture.height]
            .reshape(picture.height, picture.width)
            .astype(int),
        )
        for picture in raw_frames.pictures(film)
    ]


def inside(box: Box) -> tuple[slice, slice]:
    top, left = max(0, round(box.y) + 2), max(0, round(box.x) + 2)
    return slice(top, round(box.y + box.height) - 2), slice(left, round(box.x + box.width) - 2)


def test_a_face_that_walks_and_is_missed_for_a_moment_is_one_region(proposed: list[Region]) -> None:
    (face,) = proposed
    assert (face.start, face.source, face.on) == (0.0, "detector", True)
    assert face.end >= SECONDS - 0.1
    for tenth in range(20):
        x, y = place(tenth / 10)
        box = face.box(tenth / 10)
        assert box.x < x - 0.3 * SIZE < x + 0.3 * SIZE < box.x + box.width, tenth
        assert box.y < y - 0.3 * SIZE < y + 0.3 * SIZE < box.y + box.height, tenth


@pytest.mark.parametrize("manner", ["fill", pytest.param("pixelate", marks=pytest.mark.long)])
def test_nothing_of_a_region_is_left_at_any_picture_and_the_rest_is_as_it_was(
    walk: Path, proposed: list[Region], tmp_path: Path, manner: redaction.Manner
) -> None:
    (face,) = proposed
    made = redaction.redacted(walk, tmp_path / "redacted.mp4", proposed, manner=manner)
    before, after = luma(walk), luma(made.path)
    assert [at for at, _plane in after] == [at for at, _plane in before]
    assert made.parameters["pictures"] == len(before) == 20
    for (at, plain), (_at, covered) in zip(before, after, strict=True):
        part = inside(face.box(at))
        if manner == "fill":
            assert np.abs(covered[part] - redaction.DARK[0]).max() <= 12, "one colour, whatever was below"
        else:
            rows = np.abs(np.diff(covered[part], axis=0)) > 12
            assert rows.mean() < 0.08, "blocks: no detail is left"
        mask = np.ones((HEIGHT, WIDTH), bool)
        box = face.box(at).grown(0.1)
        mask[max(0, round(box.y)) : round(box.y + box.height), max(0, round(box.x)) : round(box.x + box.width)] = False
        assert np.abs(covered - plain)[mask].mean() < 2.5, at


@pytest.mark.long
def test_two_different_faces_look_the_same_below_the_fill(tmp_path: Path) -> None:
    region = [Region("all", 0.0, 9.0, ((0.0, Box(20, 20, 200, 200)),))]
    parts = []
    for size in (50, 90):
        film = film_of(tmp_path / f"{size}.mkv", lambda _at, size=size: portrait(120, 110, size), 0.5)
        made = redaction.redacted(film, tmp_path / f"{size}.mp4", region)
        parts.append(np.stack([plane[30:210, 30:210] for _at, plane in luma(made.path)]))
    assert np.abs(parts[0] - parts[1]).max() <= 8


@pytest.mark.long
def test_a_detector_finds_no_face_in_what_is_redacted(walk: Path, proposed: list[Region], tmp_path: Path) -> None:
    redaction.redacted(walk, tmp_path / "redacted.mp4", proposed)
    assert faces.propose(tmp_path / "redacted.mp4", SECONDS).regions == []


@pytest.mark.long
def test_only_what_is_on_and_only_in_its_time_is_painted_over(walk: Path, tmp_path: Path) -> None:
    polygon = Region("door", 0.5, 1.0, polygon=((200.0, 150.0), (300.0, 150.0), (250.0, 230.0)))
    switched_off = Region("face", 0.0, 9.0, ((0.0, Box(60, 60, 100, 100)),), on=False)
    made = redaction.redacted(walk, tmp_path / "redacted.mp4", [polygon, switched_off])
    for (at, plain), (_at, covered) in zip(luma(walk), luma(made.path), strict=True):
        within = 0.5 <= at <= 1.0
        assert (np.abs(covered[165:185, 240:260] - redaction.DARK[0]).max() <= 12) == within, at
        assert np.abs(covered - plain)[195:220, 203:215].mean() < 20, "a polygon is no rectangle"
        assert np.abs(covered - plain)[70:140, 70:140].mean() < 2.5
    assert made.parameters["regions"] == 1


@pytest.mark.long
def test_pictures_keep_their_times_over_a_gap_and_the_sound_stays_or_goes(walk: Path, tmp_path: Path) -> None:
    gappy = tmp_path / "gappy.mkv"
    ffmpeg(
        "-i",
        str(walk),
        "-vf",
        "setpts='if(gte(N,10),PTS+1.37/TB,PTS+0.03*mod(N,3)/TB)'",
        "-fps_mode",
        "vfr",
        str(gappy),
    )
    region = [Region("all", 0.0, 9.0, ((0.0, Box(0, 0, 50, 50)),))]
    loud = redaction.redacted(gappy, tmp_path / "loud.mp4", region)
    times = [at for at, _plane in luma(gappy)]
    assert max(b - a for a, b in pairwise(times)) > 1.3
    assert [at for at, _plane in luma(loud.path)] == pytest.approx(times, abs=0.002)
    assert probe(loud.path).audio is not None
    mute = redaction.redacted(gappy, tmp_path / "mute.mp4", region, audible=False)
    assert probe(mute.path).audio is None


@pytest.mark.long
def test_a_stop_leaves_neither_file_nor_process(walk: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(_facts: object) -> None:
        raise StopError

    with pytest.raises(StopError):
        redaction.redacted(walk, tmp_path / "redacted.mp4", [], progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert str(walk) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


@pytest.mark.long
def test_a_full_disk_is_said(walk: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DiskFullError):
            redaction.redacted(walk, tmp_path / "redacted.mp4", [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", str(tmp_path / "sound.mp4"))
    with pytest.raises(MediaError):
        redaction.redacted(tmp_path / "sound.mp4", tmp_path / "out.mp4", [])
    (tmp_path / "text.mkv").write_text("no film")
    with pytest.raises(MediaError):
        faces.propose(tmp_path / "text.mkv", 1.0)


def test_without_opencv_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MediaError, match="extra `redaction`"):
        faces.opencv()
