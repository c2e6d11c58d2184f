"""Whatever a viewer is called, their name is in every picture of their copy, and the code leads back to them (N2)."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from replay_room import ffmpeg

from device import raw_frames, watermark
from device.documents.fonts import font_path
from device.media import MediaError, probe
from device.watermark import Mark, new_code, printed, read_code, shown, watermarked

LONG = pytest.mark.long
NAMES = [
    'O\'Brien: "50%" \\n %{pts}',
    pytest.param("李申请", marks=LONG),
    pytest.param("[v]; , = {} $(id) `x` 王", marks=LONG),
    pytest.param("\u202egnaW\u200b\x07\nline", marks=LONG),
    pytest.param("", marks=LONG),
]


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds in which nothing moves and nothing is to be seen, with a tone."""
    path = tmp_path_factory.mktemp("grey") / "grey.mp4"
    source = ("-f", "lavfi", "-i", "color=gray:size=320x240:rate=10:duration=3", "-f", "lavfi", "-i")
    ffmpeg(*source, "sine=frequency=440:duration=3", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path))
    return path


def luma(film: Path) -> list[np.ndarray]:
    return [
        np.frombuffer(picture.pixels, np.uint8)[: picture.width * picture.height]
        .reshape(picture.height, picture.width)
        .astype(int)
        for picture in raw_frames.pictures(film)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_burned_in_also_in_a_folder_of_any_name(grey: Path, tmp_path: Path, name: str) -> None:
    odd = tmp_path / "od'd, [x]:\\%{n};=字"
    odd.mkdir()
    film, font = odd / "fi'lm:1.mp4", odd / "fo'nt:1.ttf"
    shutil.copyfile(grey, film)
    shutil.copyfile(font_path(), font)
    watermarked(film, odd / "mark'd.mp4", Mark((name, "调取-2026-0001"), new_code()), font)
    before, after = luma(film), luma(odd / "mark'd.mp4")
    assert len(after) == len(before)
    for plain, marked in zip(before, after, strict=True):
        assert np.abs(marked - plain).max() > 40


def test_a_cut_out_of_a_quarter_still_has_the_mark_and_the_mark_moves(grey: Path, tmp_path: Path) -> None:
    watermarked(grey, tmp_path / "marked.mp4", Mark(("李申请（applicant）", "调取-2026-0001"), new_code()), font_path())
    before, after = luma(grey)[0], luma(tmp_path / "marked.mp4")
    for marked in after:
        for rows in (slice(0, 120), slice(120, 240)):
            for columns in (slice(0, 160), slice(160, 320)):
                assert (np.abs(marked - before)[rows, columns] > 25).sum() > 50
    assert np.abs(after[0] - after[-1]).max() > 40


@LONG
def test_the_copy_lasts_as_long_and_keeps_its_sound(grey: Path, tmp_path: Path) -> None:
    seen: list[dict[str, object]] = []
    made = watermarked(grey, tmp_path / "marked.mp4", Mark(("李申请",), "K7QF3MTX"), font_path(), seen.append)
    contents = probe(made.path)
    assert contents.audio is not None
    assert contents.seconds == pytest.approx(probe(grey).seconds, abs=0.1)
    assert seen[-1]["fraction"] == pytest.approx(1.0, abs=0.1)
    assert (made.parameters["code"], made.parameters["lines"]) == ("K7QF3MTX", ["李申请"])
    assert set(made.tools) == {"ffmpeg", "diaoqu"}


@LONG
def test_a_picture_is_marked_like_the_film(grey: Path, tmp_path: Path) -> None:
    mark = Mark(("李申请",), new_code())
    found = watermark.picture(grey, 1.0, mark, font_path())
    assert found is not None
    (tmp_path / "still.jpg").write_bytes(found)
    ffmpeg("-i", str(tmp_path / "still.jpg"), "-pix_fmt", "yuv420p", str(tmp_path / "still.mkv"))
    assert np.abs(luma(tmp_path / "still.mkv")[0] - luma(grey)[0]).max() > 40
    assert watermark.picture(grey, 60.0, mark, font_path()) is None


@LONG
def test_a_file_without_a_picture_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", str(tmp_path / "sound.mp4"))
    with pytest.raises(MediaError, match="no picture"):
        watermarked(tmp_path / "sound.mp4", tmp_path / "marked.mp4", Mark(("李申请",), new_code()), font_path())
    assert [path.name for path in tmp_path.iterdir()] == ["sound.mp4"]


def test_a_code_is_read_as_it_was_meant() -> None:
    code = new_code()
    assert read_code(printed(code)) == code
    assert read_code(" k7qf-3mtx ") == "K7QF3MTX"
    assert read_code("OIL7-3m？x") == "01173M?X"
    for wrong in ("", "K7QF", "K7QF-3MTXX", "K7QF-3MTU", "K7QF-3MT%", "K7QF-3MT_"):
        with pytest.raises(ValueError, match="no code"):
            read_code(wrong)
    assert len({new_code() for _ in range(1000)}) == 1000


def test_letters_that_turn_or_hide_text_are_not_burned_in() -> None:
    assert shown("\u202egnaW\u200b\x07\nx") == "gnaW  x"
    assert shown("李" * 500) == "李" * watermark.LONGEST_LINE
