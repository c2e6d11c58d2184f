"""The replay client alone, fed by bytes recorded beforehand, so that no simulator is measured; each beside its limit.

Figures: reading and parsing on one core (limit 110 MB/s, a full gigabit link); the relay into ffmpeg against it, as
fast as it goes and from a line of 110 MB/s; plain ffmpeg on the same bytes; the memory of a pull of 10 GB; hashing
beside `sha256sum`. `python -m tests.bench.bench_client PORT FRAMES BYTES SINK` is one pull in a process of its own.
"""

import asyncio
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from device import media
from device.pull import Pull, Source
from device.recorders.base import DeviceError
from device.relay import Relay
from device.rtp import Frame, TrackFormat
from tests.bench.prerecorded import PERIOD, START

SHORT = 1_000_000_000
LONG = 10_000_000_000
LINE = 110_000_000
MEMORY = 200_000_000
SCENE = "testsrc2=s=1280x720:r=25:d=10,noise=alls=20:allf=t"


class Nowhere:
    """A sink that keeps nothing: what remains is reading and parsing."""

    failed: DeviceError | None = None

    async def begin(self, tracks: Sequence[TrackFormat], pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Nothing to prepare."""

    def write(self, track: int, frame: Frame, rtp_time: int) -> None:
        """Gone."""


def pull(port: int, frames: int, size: int, sink: str) -> dict[str, float]:
    """One pull into nowhere, or through ffmpeg into a file; seconds, processor seconds, bytes, peak memory."""

    async def play() -> int:
        target = Relay(Path(sink)) if sink else Nowhere()
        source = Source(f"rtsp://127.0.0.1:{port}/{size}")
        outcome = await Pull(source, START, START + frames * PERIOD, target).run()
        if isinstance(target, Relay):
            await target.finish()
        if outcome.main is None or outcome.main.frames != frames or outcome.main.lost:
            raise SystemExit("the pull is not whole: the figure would mean nothing")
        return outcome.received

    began, busy = time.perf_counter(), time.process_time()
    received = asyncio.run(play())
    taken = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - busy}
    return {**taken, "bytes": received, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


@contextmanager
def served(clip: Path, *options: str) -> Iterator[tuple[int, Callable[[int], int]]]:
    """The port of a server with the clip, and how many frames so many bytes are (it sends whole rounds)."""
    command = [sys.executable, "-m", "tests.bench.prerecorded", str(clip), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port, size, frames = map(int, server.stdout.readline().split())
        try:
            yield port, lambda wanted: -(-wanted // size) * frames
        finally:
            server.kill()


def in_a_process(port: int, frames: int, size: int, sink: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.bench_client", str(port), str(frames), str(size), sink]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def rate(found: dict[str, float], of: str = "seconds") -> float:
    return found["bytes"] / found[of] / 1e6


def run() -> Iterator[dict[str, object]]:
    """Yield one figure after the other."""
    with tempfile.TemporaryDirectory() as folder:
        clip, out = Path(folder) / "ten.h264", str(Path(folder) / "out.mkv")
        encode = [
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-b:v",
            "8M",
            "-maxrate",
            "8M",
            "-bufsize",
            "8M",
            "-g",
            "50",
        ]
        made = [
            media.ffmpeg_path(),
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            SCENE,
            *encode,
            "-pix_fmt",
            "yuv420p",
            str(clip),
        ]
        subprocess.run(made, check=True)
        with served(clip) as (port, frames):
            alone = in_a_process(port, frames(SHORT), SHORT, "")
            relayed = in_a_process(port, frames(SHORT), SHORT, out)
            plain = plain_ffmpeg(port, out)
            yield {
                "bench": "client",
                "name": "read and parse, MB/s of one core",
                "value": round(rate(alone, "cpu_seconds")),
                "wall": round(rate(alone)),
                "limit": LINE / 1e6,
            }
            yield _relayed("as fast as it goes", relayed, alone) | {"plain_ffmpeg": round(plain)}
            long = in_a_process(port, frames(LONG), LONG, "")
            yield _memory("read and parse", long)
            long = in_a_process(port, frames(LONG), LONG, "/dev/null")
            yield _memory("relay into ffmpeg", long)
        with served(clip, str(LINE)) as (port, frames):
            alone = in_a_process(port, frames(SHORT), SHORT, "")
            relayed = in_a_process(port, frames(SHORT), SHORT, out)
            yield _relayed("from a line of 110 MB/s", relayed, alone)
        yield hashing(Path(out))


def _relayed(how: str, relayed: dict[str, float], alone: dict[str, float]) -> dict[str, object]:
    return {
        "bench": "client",
        "name": f"relay into ffmpeg, {how}, MB/s",
        "value": round(rate(relayed)),
        "read_and_parse_alone": round(rate(alone)),
        "ratio": round(rate(relayed) / rate(alone), 2),
        "limit": 0.9,
    }


def _memory(how: str, found: dict[str, float]) -> dict[str, object]:
    return {
        "bench": "client",
        "name": f"peak memory of a pull of 10 GB, {how}, MB",
        "value": round(found["peak_bytes"] / 1e6),
        "limit": MEMORY / 1e6,
        "seconds": round(found["seconds"], 1),
    }


def plain_ffmpeg(port: int, out: str) -> float:
    """MB/s of plain ffmpeg on the same bytes: it need not reach a recorder's range, only read what comes."""
    command = [media.ffmpeg_path(), "-v", "error", "-nostdin", "-y", "-rtsp_transport", "tcp"]
    command += ["-i", f"rtsp://127.0.0.1:{port}/{SHORT}", "-c", "copy", out]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return SHORT / (time.perf_counter() - began) / 1e6


def hashing(path: Path) -> dict[str, object]:
    """Each once to have the file in memory, then the best of three."""

    def best(work: Callable[[], object]) -> float:
        taken = []
        for _ in range(4):
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
        return path.stat().st_size / min(taken) / 1e6

    ours = best(lambda: media.sha256(path))
    theirs = best(lambda: subprocess.run(["sha256sum", str(path)], check=True, capture_output=True))
    return {
        "bench": "client",
        "name": "hashing, MB/s",
        "value": round(ours),
        "sha256sum": round(theirs),
        "ratio": round(ours / theirs, 2),
        "limit": 0.9,
        "implementation": hashlib.sha256().name,
    }


if __name__ == "__main__":
    print(json.dumps(pull(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
