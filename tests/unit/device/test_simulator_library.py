"""The simulated recorder plays files of one's own, and misses footage on demand."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from fault_room import SPAN, held, pulled, true_time
from replay_room import client, clip, now, pictures, span

from device.recorders.base import Span
from device.simulator import CAMERAS, Faults, MediaError, Simulator, UnknownFaultError
from device.simulator.command import simulate_recorder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Footage as people have it: plain H.264, H.265 with sound, and B-frames in uneven groups."""
    folder = tmp_path_factory.mktemp("library")
    clip(folder / "大门 1.mkv", seconds=4)
    sound = ["-f", "lavfi", "-i", "sine=r=8000:d=4"]
    h265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params"]
    h265 += ["keyint=25:min-keyint=25:scenecut=0:bframes=0:open-gop=0:log-level=none"]
    clip(folder / "garage.mp4", *sound, *h265, "-c:a", "aac", "-pix_fmt", "yuv420p", seconds=4)
    clip(folder / "..-x;rm.mp4", "-c:v", "libx264", "-bf", "3", "-g", "40", "-pix_fmt", "yuv420p", seconds=3)
    (folder / "notes.txt").write_text("no footage")
    return folder


def test_each_file_of_a_folder_is_a_camera_that_plays_it_over_and_over(library: Path, tmp_path: Path) -> None:
    with Simulator(tmp_path / "cache", 0, 0, "operator", "secret", clock=now, library=library) as simulator:
        driver = client(simulator)
        found = {each.token: each for each in driver.recordings()}
        assert {token: each.tracks for token, each in found.items()} == {
            "x-rm": ("video/H264",),
            "garage": ("video/H265", "audio/PCMU"),
            "1": ("video/H264",),
        }
        assert found["1"].camera == "大门 1"
        for token, own in (("1", "大门 1.mkv"), ("garage", "garage.mp4")):
            report = driver.acquire(token, span("05:00:00", 10), tmp_path / f"{token}.mkv")
            assert report.complete
            got, whole = pictures(tmp_path / f"{token}.mkv"), pictures(library / own)
            begin = whole.index(got[0])
            assert got == [whole[(begin + number) % len(whole)] for number in range(len(got))], "byte for byte"
        assert driver.acquire("x-rm", span("05:00:00", 5), tmp_path / "x.mkv").complete


def test_a_folder_without_footage_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(MediaError, match=r"a\.mp4"):
        Simulator(tmp_path / "cache", library=tmp_path)
    (tmp_path / "a.mp4").unlink()
    done = CliRunner().invoke(simulate_recorder, ["--recordings", str(tmp_path), "--media", str(tmp_path / "cache")])
    assert (done.exit_code, "no video file" in done.output) == (1, True)


# --- gaps on demand

GAP = "2026-06-01T05:00:06Z/2026-06-01T05:00:09Z"


@pytest.mark.parametrize("camera", ["gate", pytest.param("garage", marks=pytest.mark.long)])
def test_a_gap_on_demand_is_in_the_index_and_in_the_footage(recorder_media: Path, camera: str) -> None:
    faults = Faults.parse([f"gaps={GAP}"])
    with Simulator(recorder_media, cameras=CAMERAS, clock=true_time) as simulator:
        outcome, shelf = pulled(simulator, camera, faults)
        assert shelf.digests == held(simulator, camera, faults)
        assert [(jump.cause, (jump.end - jump.start) // 1_000_000) for jump in outcome.jumps] == [("not_recorded", 4)]
        whole = Span(SPAN.start, SPAN.end)
        (missing,) = simulator.missing(camera, whole)
        assert (missing.end - missing.start).total_seconds() == 4, "widened to groups of two seconds"
        simulator.faults = Faults()
        assert simulator.missing(camera, whole) == []


@pytest.mark.parametrize(
    "gap", ["yesterday", "2026-06-01T05:00:06Z", "2026-06-01T05:00:06Z/2026-06-01T05:00:06Z", "a/b"]
)
def test_a_gap_that_is_none_is_refused(gap: str) -> None:
    with pytest.raises(UnknownFaultError):
        Faults.from_json({"gaps": [gap]})
