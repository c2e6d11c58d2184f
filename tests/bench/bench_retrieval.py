"""How fast footage is retrieved from the simulated recorder: one JSON line per figure, the peer in the same run.

Run by `make bench`. Ten minutes through the relay into ffmpeg; the same stream read and parsed only, as its limit; and
plain ffmpeg, which cannot ask for an absolute range without rate control, on a short span, since it plays in real time.
"""

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from device import integrity, media
from device.pull import Pull, Source
from device.recorders.base import DeviceError, Span
from device.recorders.onvif import OnvifRecorder
from device.rtp import Frame, TrackFormat
from device.simulator import Simulator

FOOTAGE = Path("data/simulator")
SPAN = timedelta(minutes=10)
PLAIN_SECONDS = 10
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Nowhere:
    """A sink that keeps nothing: what remains is reading and parsing."""

    failed: DeviceError | None = None

    async def begin(self, tracks: Sequence[TrackFormat], pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Nothing to prepare."""

    def write(self, track: int, frame: Frame, rtp_time: int) -> None:
        """Gone."""


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def parsed_only(simulator: Simulator, camera: str, span: Span) -> None:
    start, end = ((at - EPOCH) // timedelta(microseconds=1) for at in (span.start, span.end))
    asyncio.run(Pull(Source(simulator.replay_uri(camera)), start, end, Nowhere()).run())


def staged(target: Path) -> dict[str, float]:
    """Seconds of each stage of the integrity check."""
    taken: dict[str, float] = {}
    stage, since = "", time.perf_counter()

    def watch(facts: dict[str, object]) -> None:
        nonlocal stage, since
        if facts["stage"] != stage:
            taken[stage] = time.perf_counter() - since
            stage, since = str(facts["stage"]), time.perf_counter()

    integrity.check(target, progress=watch)
    del taken[""]
    return taken


def plain_ffmpeg(simulator: Simulator, camera: str, target: Path) -> None:
    command = [media.ffmpeg_path(), "-v", "error", "-nostdin", "-y", "-rtsp_transport", "tcp"]
    command += ["-i", simulator.replay_uri(camera), "-t", str(PLAIN_SECONDS), "-c", "copy", str(target)]
    subprocess.run(command, check=True)


def run(footage: Path = FOOTAGE) -> Iterator[dict[str, object]]:
    """Yield one figure after the other; `footage` is the simulator's folder, filled when it is empty."""
    seconds = SPAN.total_seconds()
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    span = Span(begin, begin + SPAN)
    with tempfile.TemporaryDirectory() as folder, Simulator(footage, clock_offset=timedelta(0)) as simulator:
        recorder = OnvifRecorder(simulator.url)
        recorder.probe()
        for camera in ("gate", "garage", "counter"):
            target = Path(folder) / f"{camera}.mkv"
            limit = timed(lambda camera=camera: parsed_only(simulator, camera, span))
            taken = timed(lambda camera=camera, target=target: recorder.acquire(camera, span, target))
            stages = staged(target)
            checked = sum(stages.values())
            cheap = checked - stages["decode"]
            yield {
                "bench": "retrieval",
                "name": camera,
                "media_seconds": seconds,
                "megabytes": round(target.stat().st_size / 1e6, 1),
                "seconds": round(taken, 3),
                "times_real_time": round(seconds / taken, 1),
                "parsed_only_times_real_time": round(seconds / limit, 1),
                "check_times_real_time": round(seconds / checked, 1),
                "cheap_checks_percent_of_real_time": round(100 * cheap / seconds, 2),
                "cheap_checks_limit": 5,
            }
        plain = timed(lambda: plain_ffmpeg(simulator, "gate", Path(folder) / "plain.mkv"))
        yield {
            "bench": "retrieval",
            "name": "plain ffmpeg, gate",
            "media_seconds": PLAIN_SECONDS,
            "seconds": round(plain, 3),
            "times_real_time": round(PLAIN_SECONDS / plain, 2),
        }


if __name__ == "__main__":
    for figure in run():
        print(json.dumps(figure), flush=True)
