"""Our client reads GStreamer's RTSP server, and GStreamer's client reads our simulated recorder.

rtspsrc is used at its usual pace. With `onvif-rate-control=false` version 1.22 mostly stands still after PLAY: its
receiving thread and both threads of rtpjitterbuffer wait for each other, with megabytes unread in its socket; while it
logs, and so is slower, it runs through.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from fault_room import digest, true_time
from replay_room import clip, pictures

from device.recorders.base import RecorderRefusedError, Span
from device.rtp import Depacketizer, Frame
from device.rtsp import ReplaySession
from device.rtsp_messages import Limits, Login, Response
from device.simulator import CAMERAS, Faults, Simulator, annexb_digests
from device.simulator.timeline import instant

SERVER = Path(__file__).with_name("gst_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
FINDS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        shutil.which("gst-launch-1.0") is None
        or subprocess.run([SYSTEM_PYTHON, "-c", FINDS], capture_output=True, check=False).returncode != 0,
        reason="GStreamer's RTSP server is not installed (see .ci/packages)",
    ),
]


class FromTheStart(ReplaySession):
    """As our session, but a file has no time of day: its range begins at nought."""

    async def _request(self, method: str, uri: str, headers: Sequence[tuple[str, str]]) -> Response:
        return await super()._request(method, uri, [("Range", "npt=0-")] if method == "PLAY" else headers)


@contextmanager
def served(path: Path, *login: str) -> Iterator[str]:
    """The address of a file at GStreamer's RTSP server."""
    with subprocess.Popen(
        [SYSTEM_PYTHON, str(SERVER), str(path), *login], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"rtsp://127.0.0.1:{process.stdout.readline().strip()}/clip"
        process.stdin.close()


def played(address: str, login: Login) -> tuple[list[Frame], Depacketizer, bool]:
    frames: list[Frame] = []

    async def main() -> tuple[Depacketizer, bool]:
        over = asyncio.Event()

        def packet(channel: int, data: bytes, start: int, end: int) -> None:
            (lines[0].control if channel & 1 else lines[0].feed)(data, start, end)
            if lines[0].bye or lines[0].terminal:
                over.set()

        lines: list[Depacketizer] = []
        session = await FromTheStart.open(address, login, Limits(stall=5), packet)
        lines.append(Depacketizer(session.tracks[0].payload_type, partial(frames.append)))
        await session.play(instant(0), instant(10_000_000))
        leaving = asyncio.ensure_future(over.wait())
        await asyncio.wait({leaving, session.ended}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        await session.close()
        lines[0].flush()
        return lines[0], session.onvif

    line, onvif = asyncio.run(main())
    return frames, line, onvif


@pytest.mark.parametrize("login", [(), ("operator", "secret")])
def test_our_client_reads_gstreamers_server(tmp_path: Path, login: tuple[str, ...]) -> None:
    path = clip(tmp_path / "clip.mkv", seconds=3)
    with served(path, *login) as address:
        if login:
            with pytest.raises(RecorderRefusedError, match="user name or password"):
                played(address, Login("operator", "guess"))
        frames, line, onvif = played(address, Login(*login))
    assert [digest(frame, "H264") for frame in frames] == pictures(path)
    assert not onvif, "a plain server refuses onvif-replay, and is asked again without"
    assert (line.malformed, sum(frame.lost for frame in frames)) == (0, 0)
    times = [frame.at for frame in frames]
    assert None not in times, "GStreamer's own 0xABAC extension is understood"
    assert all(b - a == pytest.approx(40_000, abs=1_500) for a, b in pairwise(times) if a and b)


@pytest.mark.parametrize(("camera", "depay", "caps"), [("gate", "h264", "x-h264"), ("garage", "h265", "x-h265")])
def test_gstreamers_client_reads_our_simulator(
    recorder_media: Path, tmp_path: Path, camera: str, depay: str, caps: str
) -> None:
    out = tmp_path / "out.raw"
    with Simulator(recorder_media, 0, 0, "operator", "secret", clock=true_time, faults=Faults()) as simulator:
        source = f"rtspsrc location={simulator.replay_uri(camera)} protocols=tcp user-id=operator user-pw=secret"
        source += " latency=200"
        pipeline = f"{source} ! rtp{depay}depay ! {depay}parse ! video/{caps},stream-format=byte-stream,alignment=au"
        command = ["gst-launch-1.0", "-q", *pipeline.split(), "!", "identity", "eos-after=41"]
        command += ["!", "filesink", f"location={out}", "sync=false"]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        earliest = instant(simulator.recorder.recordings[camera].timeline.earliest())
        known = simulator.frames(camera, Span(earliest, earliest + 120 * CAMERAS[0].period))
    got = annexb_digests(out.read_bytes(), depay.upper())
    assert len(got) == 40
    assert got == [frame.digest for frame in known][: len(got)]
