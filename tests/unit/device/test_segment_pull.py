"""Where two segments meet: pulls of neighbouring parts hold together what one pull holds, over real sockets."""

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fault_room import SPAN, Shelf, held, true_time

from device.outcome import Source
from device.recorders.base import Seam, Span
from device.rtp import Frame
from device.rtsp_messages import Limits
from device.segment_pull import SeamMissedError, SegmentPull
from device.simulator import CAMERAS, Faults, Simulator
from device.simulator.timeline import bounds
from device.timeline import SECOND

CHANCE = random.Random(20260701)
LONG = Span(SPAN.start, SPAN.start + timedelta(seconds=40))
START, END = bounds(LONG)


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, cameras=CAMERAS, clock=true_time) as simulator:
        yield simulator


def part(simulator: Simulator, camera: str, seam: int | None, opening: Seam | None, shelf: Shelf) -> SegmentPull:
    source = Source(simulator.replay_uri(camera), limits=Limits(connect=5, response=5, stall=0.4), patience=0.01)
    start = opening.at if opening is not None else START
    return SegmentPull(source, start, END, shelf, seam=seam, opening=opening)


def in_parts(simulator: Simulator, camera: str, seams: list[int], faults: list[Faults]) -> list[list[str]]:
    """All frames of the span, pulled with these seams; each part meets the faults of its turn."""
    found: list[list[str]] = []
    opening = None
    for seam in [*seams, None]:
        if opening is not None and seam is not None and seam <= opening.at:
            continue
        simulator.faults = faults[len(found) % len(faults)] if faults else Faults()
        shelf = Shelf()
        outcome = asyncio.run(part(simulator, camera, seam, opening, shelf).run())
        assert outcome.reached_end, outcome
        assert outcome.jumps == []
        found = [[*before, *new] for before, new in zip(found or [[]] * len(shelf.digests), shelf.digests, strict=True)]
        opening = outcome.seam
    assert opening is None
    return found


def some_seams() -> list[int]:
    return sorted(CHANCE.randrange(START + SECOND, END - SECOND) for _ in range(CHANCE.randrange(1, 6)))


ROUNDS = [(camera, some_seams()) for camera in ("gate", "garage", "counter") for _ in range(12)]


@pytest.mark.parametrize(
    ("camera", "seams"),
    [pytest.param(*each, marks=() if number % 12 < 2 else pytest.mark.long) for number, each in enumerate(ROUNDS)],
)
def test_parts_hold_the_frames_of_one_uncut_pull_at_any_seam(
    simulator: Simulator, camera: str, seams: list[int]
) -> None:
    assert in_parts(simulator, camera, seams, []) == held(simulator, camera, Faults(), LONG)


FAULTS = {
    "the line breaks in each part": [Faults(plays=("cut:60000", "cut:30000")), Faults(plays=("cut:9000",))],
    "no extension": [Faults(no_extension=True)],
    "no extension and no reports": [Faults(no_extension=True, no_reports=True)],
    "counters wrap": [Faults(counters_wrap=True)],
    "new sources": [Faults(sources=3.0)],
    "past the end": [Faults(ending="past_end")],
}


@pytest.mark.parametrize(
    ("name", "camera"),
    [
        pytest.param(
            name,
            camera,
            marks=()
            if (name, camera) in {("the line breaks in each part", "counter"), ("no extension", "gate")}
            else pytest.mark.long,
        )
        for name in FAULTS
        for camera in ("gate", "counter")
    ],
)
def test_a_recorder_with_habits_makes_no_difference_at_the_seams(simulator: Simulator, name: str, camera: str) -> None:
    seams = [START + 11 * SECOND, START + 23 * SECOND]
    assert in_parts(simulator, camera, seams, FAULTS[name]) == held(simulator, camera, Faults(), LONG)


class Closing(Shelf):
    """Ends its pull early when it has got so many frames."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.left = frames
        self.pull: SegmentPull | None = None

    def write(self, index: int, frame: Frame, rtp_time: int) -> None:
        super().write(index, frame, rtp_time)
        self.left -= 1
        if self.left <= 0 and self.pull is not None:
            self.pull.end_early()


@pytest.mark.parametrize(
    ("camera", "frames", "ending"),
    [
        ("counter", 300, "sound"),
        *(
            pytest.param(camera, frames, ending, marks=pytest.mark.long)
            for camera in ("gate", "garage", "counter")
            for frames in (1, 7, 333)
            for ending in ("sound", "past_end")
        ),
        pytest.param("gate", 480, "past_end", marks=pytest.mark.long),
    ],
)
def test_a_part_that_is_ended_early_is_whole_and_the_next_goes_on_after_it(
    simulator: Simulator, camera: str, frames: int, ending: Any
) -> None:
    """Also within the last group of pictures, after which the recorder may send some of beyond the end."""
    simulator.faults = Faults(ending=ending)
    found: list[list[str]] = []
    opening, parts = None, 0
    while opening is not None or not parts:
        parts += 1
        shelf = Closing(frames)
        shelf.pull = part(simulator, camera, None, opening, shelf)
        outcome = asyncio.run(shelf.pull.run())
        assert outcome.reached_end, outcome
        found = [[*before, *new] for before, new in zip(found or [[]] * len(shelf.digests), shelf.digests, strict=True)]
        assert opening is None or outcome.seam is None or outcome.seam.at > opening.at
        opening = outcome.seam
    assert parts > 1 or frames > 400
    assert found == held(simulator, camera, Faults(), LONG)


def test_a_part_without_its_opening_frame_says_so(simulator: Simulator) -> None:
    simulator.faults = Faults()
    with pytest.raises(SeamMissedError):
        asyncio.run(part(simulator, "gate", None, Seam(START, 1), Shelf()).run())
