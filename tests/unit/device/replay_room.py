"""What the retrieval tests stand on: a recorder at a known hour, a line to it that can break, and what a file holds."""

import contextlib
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from device import media
from device.recorders.base import AcquisitionReport, ClockOffset, Span
from device.recorders.onvif import OnvifRecorder
from device.simulator import Frame, Simulator, annexb_digests

OFFSET = timedelta(seconds=37)
HOUR = datetime(2026, 6, 1, 6, 30, tzinfo=UTC)
_STARTED = time.monotonic()


def now() -> datetime:
    """True time of these tests: half past six, Greenwich, and running."""
    return HOUR + timedelta(seconds=time.monotonic() - _STARTED)


def span(start: str, seconds: float) -> Span:
    """`span("05:00:00", 60)` on the day of these tests."""
    begin = datetime.fromisoformat(f"2026-06-01T{start}+00:00")
    return Span(begin, begin + timedelta(seconds=seconds))


def client(simulator: Simulator, **options: Any) -> OnvifRecorder:
    """Our driver, signed in at the simulated recorder, whose clock was compared before."""
    clock = ClockOffset(OFFSET, timedelta(0), "set by the test", HOUR)
    options = {"timeout": 5.0, "patience": 0.02, "clock": clock} | options
    return OnvifRecorder(simulator.url, "operator", "secret", now=now, **options)


def held(simulator: Simulator, camera: str, report: AcquisitionReport) -> list[Frame]:
    """What the recorder holds of the span of a report, from the key frame before it."""
    assert report.clock is not None
    offset = report.clock.offset
    asked = Span(report.requested.start + offset, report.requested.end + offset)
    return simulator.frames(camera, asked, lead_in=True)


def pictures(path: Path) -> list[str]:
    """The digest of each frame in a file, as the simulator writes them."""
    contents = media.probe(path)
    assert contents.video is not None
    codec = {"h264": "H264", "hevc": "H265"}[contents.video.codec]
    command = [media.ffmpeg_path(), "-v", "error", "-nostdin", "-i", str(path), "-map", "0:v", "-c", "copy"]
    command += ["-f", contents.video.codec, "-"]
    return annexb_digests(subprocess.run(command, capture_output=True, check=True).stdout, codec)


def clip(target: Path, *arguments: str, seconds: float = 4, size: str = "320x180", rate: int = 25) -> Path:
    """A small clip of a moving test picture; `arguments` are further output options."""
    made = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
    encoded = ["-c:v", "libx264", "-preset", "ultrafast", "-g", str(rate), "-pix_fmt", "yuv420p"]
    ffmpeg(*made, *(arguments or encoded), str(target))
    return target


def ffmpeg(*arguments: str) -> None:
    subprocess.run([media.ffmpeg_path(), "-v", "error", "-nostdin", "-y", *arguments], check=True)


@dataclass(frozen=True)
class Fault:
    """What happens to one connection after so many bytes from the recorder: `cut`, or `stall` (silence)."""

    kind: str
    after: int


class BadLine:
    """A TCP line to the recorder's replay service; the n-th connection that plays suffers the n-th fault."""

    def __init__(self, simulator: Simulator, *faults: Fault) -> None:
        self._target = ("127.0.0.1", simulator.rtsp_port)
        self._faults = list(faults)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.address = f"rtsp://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in self._sockets:
            _hang_up(each)
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            fault = self._faults.pop(0) if self._faults else None
            self.connections += 1
            self._sockets += [near, far]
            self._spawn(self._carry, near, far, None)
            self._spawn(self._carry, far, near, fault)

    def _carry(self, source: socket.socket, sink: socket.socket, fault: Fault | None) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                if fault is not None and carried + len(data) >= fault.after:
                    sink.sendall(data[: fault.after - carried])
                    if fault.kind == "stall":
                        return
                    break
                sink.sendall(data)
                carried += len(data)
        _hang_up(sink)
        _hang_up(source)


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
