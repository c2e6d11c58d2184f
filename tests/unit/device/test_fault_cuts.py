"""A connection that breaks after any byte: the frame list is that of one uncut pull."""

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fault_room import SPAN, held, pulled, true_time

from device.recorders.base import Span
from device.simulator import CAMERAS, Faults, Simulator

CHANCE = random.Random(20260601)
POINTS = sorted(CHANCE.randrange(1, 60_000) for _ in range(50))


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, cameras=CAMERAS, clock=true_time) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def uncut(simulator: Simulator) -> dict[str, list[list[str]]]:
    """One pull of each camera from a sound recorder."""
    return {camera: pulled(simulator, camera, Faults())[1].digests for camera in ("gate", "garage", "counter")}


@pytest.mark.parametrize(
    "point", [pytest.param(each, marks=() if each in POINTS[4::9] else pytest.mark.long) for each in POINTS]
)
def test_a_cut_after_any_byte_gives_the_frames_of_one_uncut_pull(
    simulator: Simulator, uncut: dict[str, list[list[str]]], point: int
) -> None:
    camera = ("gate", "garage", "counter")[point % 3]
    again = CHANCE.randrange(1, 40_000)
    outcome, shelf = pulled(simulator, camera, Faults(plays=(f"cut:{point}", f"cut:{again}")))
    assert shelf.digests == uncut[camera] == held(simulator, camera, Faults())
    assert (outcome.reached_end, outcome.jumps, outcome.confidence) == (True, [], "high")
    assert outcome.reconnections >= 1


@pytest.mark.long
@pytest.mark.parametrize("ending", ["silence", "eof", "past_end"])
def test_many_cuts_in_one_pull_make_no_difference(simulator: Simulator, ending: str) -> None:
    """Each connection brings more than a group of pictures, else there is no getting on."""
    plays = tuple(f"cut:{CHANCE.randrange(80_000, 160_000)}" for _ in range(12))
    faults = Faults.from_json({"plays": plays, "ending": ending})
    span = Span(SPAN.start, SPAN.start + timedelta(minutes=2))
    outcome, shelf = pulled(simulator, "gate", faults, span)
    assert shelf.digests == held(simulator, "gate", faults, span)
    assert outcome.reconnections > 5
