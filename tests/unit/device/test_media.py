"""ffmpeg's part: the packet probe, viewing copies that browsers play, and files that appear whole or not at all."""

import hashlib
import resource
from pathlib import Path
from typing import Any

import pytest
from replay_room import clip, ffmpeg

from device import media
from device.derivatives import viewing_copy
from device.media import MediaError, probe, sha256
from device.publishing import published
from device.recorders.base import DiskFullError


@pytest.fixture(scope="module")
def h264_with_g711(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    sound = ["-f", "lavfi", "-i", "sine=r=8000:d=4"]
    encoded = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "pcm_mulaw"]
    return clip(folder / "both.mkv", *sound, *encoded)


@pytest.fixture(scope="module")
def h265(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    encoded = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=0"]
    return clip(folder / "hevc.mkv", *encoded)


def test_the_probe_lists_streams_and_packets_without_ffprobe(h264_with_g711: Path) -> None:
    contents = probe(h264_with_g711)
    video, audio = contents.video, contents.audio
    assert video is not None
    assert audio is not None
    assert (video.codec, video.width, video.height, video.pixel_format) == ("h264", 320, 180, "yuv420p")
    assert (audio.codec, audio.sample_rate) == ("pcm_mulaw", 8000)
    assert (video.packets, len(contents.of(video))) == (100, 100)
    assert [packet.key for packet in contents.of(video)][:26] == [True, *[False] * 24, True]
    assert contents.seconds == pytest.approx(4, abs=0.05)
    assert contents.complaints == []


def test_the_probe_can_hash_what_lies_in_the_packets(h264_with_g711: Path) -> None:
    digests = [packet.digest for packet in probe(h264_with_g711, digest="sha256").packets]
    assert all(len(digest) == 64 for digest in digests)
    assert len(set(digests)) > 100


def test_a_file_that_is_no_footage_cannot_be_probed(tmp_path: Path) -> None:
    (tmp_path / "note.mkv").write_text("not a film")
    with pytest.raises(MediaError):
        probe(tmp_path / "note.mkv")


def test_a_playlist_in_disguise_opens_nothing_else(tmp_path: Path, h265: Path) -> None:
    trap = tmp_path / "trap.mkv"
    trap.write_text(f"ffconcat version 1.0\nfile {h265.name}\n")
    (tmp_path / h265.name).write_bytes(h265.read_bytes())
    with pytest.raises(MediaError):
        probe(trap)


@pytest.mark.parametrize("name", ["-i.mkv", "http:x.mkv", "a b%03d'\".mkv", "大门 1.mkv"])
def test_any_file_name_is_only_a_file_name(tmp_path: Path, h265: Path, name: str) -> None:
    (tmp_path / name).write_bytes(h265.read_bytes())
    copy = viewing_copy(tmp_path / name, tmp_path / f"{name}.mp4")
    assert copy.path.is_file()


def test_h264_is_only_repacked_for_the_browser(tmp_path: Path) -> None:
    master = clip(tmp_path / "master.mkv")
    copy = viewing_copy(master, tmp_path / "view.mp4")
    assert (copy.transcoded, copy.codec) == (False, "h264")
    assert copy.sha256 == sha256(copy.path)
    assert [p.pts for p in probe(copy.path).packets] == pytest.approx([p.pts for p in probe(master).packets], abs=0.002)
    head = copy.path.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat"), "playable while it loads"


def test_sound_that_browsers_do_not_play_becomes_aac(tmp_path: Path, h264_with_g711: Path) -> None:
    copy = viewing_copy(h264_with_g711, tmp_path / "view.mp4")
    contents = probe(copy.path)
    assert copy.transcoded
    assert contents.audio is not None
    assert contents.video is not None
    assert (contents.audio.codec, contents.video.packets) == ("aac", 100)


def test_h265_is_transcoded_and_keeps_its_pictures_and_its_time(tmp_path: Path, h265: Path) -> None:
    seen: list[dict[str, Any]] = []
    copy = viewing_copy(h265, tmp_path / "view.mp4", seen.append)
    video = probe(copy.path).video
    assert (copy.transcoded, copy.codec) == (True, "hevc")
    assert video is not None
    assert (video.codec, video.packets, video.pixel_format) == ("h264", 100, "yuv420p")
    assert copy.seconds == pytest.approx(4, abs=0.05)
    assert seen[-1]["fraction"] == pytest.approx(1, abs=0.1)


def test_a_viewing_copy_of_sound_alone_is_refused(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=r=8000:d=1", "-c:a", "pcm_mulaw", str(tmp_path / "sound.mkv"))
    with pytest.raises(MediaError, match="no picture"):
        viewing_copy(tmp_path / "sound.mkv", tmp_path / "view.mp4")


def test_stopping_a_transcode_leaves_nothing(tmp_path: Path, h265: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(facts: dict[str, Any]) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        viewing_copy(h265, tmp_path / "view.mp4", stop)
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with published(target) as draft:
        draft.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"


def test_a_file_whose_writing_fails_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("whole")

    def write() -> None:
        with published(target) as draft:
            draft.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_full_disk_while_transcoding_is_said_and_leaves_nothing(tmp_path: Path, h265: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(DiskFullError):
            viewing_copy(h265, tmp_path / "view.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "data").write_bytes(data)
    assert sha256(tmp_path / "data") == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_ffmpeg_is_found_and_named() -> None:
    assert Path(media.ffmpeg_path()).is_file()
    assert media.ffmpeg_version()[0].isalnum()
