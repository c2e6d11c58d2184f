"""A recorder's bandwidth is kept to on every way that footage comes, and nothing is lost for it."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fault_room import SPAN, Shelf, held, true_time
from replay_room import now, span
from vendor.dahua import SimulatedDahua

from device.limits import TokenBucket
from device.outcome import Source
from device.pull import Pull
from device.recorders.base import Span
from device.recorders.web import Web
from device.rtsp_messages import Limits
from device.simulator import CAMERAS, Faults, Simulator
from device.simulator.timeline import bounds


class Passing:
    """Real time, and when it was asked last."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def __call__(self) -> float:
        self.last = time.monotonic()
        return self.last

    @property
    def seconds(self) -> float:
        return self.last - self.began


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, cameras=CAMERAS, clock=true_time) as simulator:
        yield simulator


def test_a_replay_keeps_to_the_bandwidth(simulator: Simulator) -> None:
    simulator.faults = Faults()
    passing, shelf = Passing(), Shelf()
    rate = 200_000
    limits = Limits(5, 5, 5, TokenBucket(rate, clock=passing))
    minute = Span(SPAN.start, SPAN.start + timedelta(seconds=50))
    outcome = asyncio.run(Pull(Source(simulator.replay_uri("gate"), limits=limits), *bounds(minute), shelf).run())
    assert shelf.digests == held(simulator, "gate", Faults(), minute)
    assert (outcome.reconnections, outcome.reached_end, outcome.jumps) == (0, True, [])
    one_read = 256 * 1024
    assert outcome.received > rate / 2 + one_read, "or nothing had to wait"
    assert outcome.received - one_read <= rate * (passing.seconds + 0.5)


class OneNap(TokenBucket):
    """Asks for one pause."""

    naps = 0

    def take(self, size: int) -> float:  # noqa: ARG002 - whatever comes
        self.naps += 1
        return 2.0 if self.naps == 3 else 0.0


def test_our_own_pause_is_no_silence_of_the_recorder(simulator: Simulator) -> None:
    simulator.faults = Faults()
    shelf, bucket = Shelf(), OneNap(1)
    limits = Limits(5, 5, 1.5, bucket)
    outcome = asyncio.run(Pull(Source(simulator.replay_uri("gate"), limits=limits), *bounds(SPAN), shelf).run())
    assert shelf.digests == held(simulator, "gate", Faults())
    assert (outcome.reconnections, outcome.reached_end) == (0, True)
    assert bucket.naps > 3


def test_a_download_keeps_to_the_bandwidth(tmp_path: Path) -> None:
    wanted = span("05:00:05", 20)
    naps: list[float] = []
    held_back = TokenBucket(10_000, clock=lambda: sum(naps), sleep=naps.append)
    with SimulatedDahua([(wanted.start, wanted.end)], now, drift=timedelta(0)) as nvr:
        web = Web(nvr.url, "operator", "secret", 5.0, bucket=held_back)
        bounds = {"startTime": "2026-06-01 13:00:05", "endTime": "2026-06-01 13:00:25"}
        query = {"action": "startLoad", "channel": "1", "subtype": "0", **bounds}
        size = web.save("GET", "/cgi-bin/loadfile.cgi", tmp_path / "a.dav", check=lambda _: None, **query)
    assert size == (tmp_path / "a.dav").stat().st_size > 30_000
    assert sum(naps) == pytest.approx(size / 10_000 - 0.5, abs=0.01)
