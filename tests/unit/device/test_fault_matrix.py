"""Each fault of a recorder × each ending of a range × each codec: the same frames, and a true word about them."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from fault_room import SPAN, held, pulled, true_time

from device.recorders.base import Span
from device.simulator import CAMERAS, ENDINGS, OLD_CAMERAS, Faults, Simulator, prepare_media

CODECS = {
    "h264": "gate",
    "h265": "garage",
    "h264+pcmu": "counter",
    "jpeg": "yard",
    "h264+aac": "hall",
    "h264+pcma": "desk",
}
FAULTS = {
    "none": Faults(),
    "cut": Faults(plays=("cut:4100", "cut:7001")),
    "cut at once": Faults(plays=("cut:0", "cut:17")),
    "stall": Faults(plays=("stall:5000",)),
    "busy": Faults(plays=("cut:4100", "busy", "busy")),
    "loss": Faults(loss=0.03),
    "reorder": Faults(reorder=0.05),
    "duplicate": Faults(duplicate=0.05),
    "no extension": Faults(no_extension=True),
    "no extension, cut": Faults(no_extension=True, plays=("cut:5000",)),
    "no extension, no reports": Faults(no_extension=True, no_reports=True),
    "no extension, sources": Faults(no_extension=True, sources=3),
    "no E and T": Faults(no_section_bits=True),
    "counters wrap": Faults(counters_wrap=True, plays=("cut:6000",)),
    "sources": Faults(sources=3, plays=("cut:6000",)),
    "clock set back": Faults(clock_step_at="2026-06-01T05:00:09Z", clock_step=-4, plays=("sound",)),
    "clock set back, cut": Faults(clock_step_at="2026-06-01T05:00:07Z", clock_step=-3, plays=("cut:9000",)),
    "summer time ends": Faults(clock_step_at="2026-06-01T05:00:08Z", clock_step=-3600, plays=("cut:6000",)),
    "clock set forward": Faults(clock_step_at="2026-06-01T05:00:08Z", clock_step=2, plays=("cut:6000",)),
}
SAMPLE = 9
"""Every n-th of the matrix is in `make test`, all of it in `make test-full`; both walk through all three axes."""

CASES = [
    pytest.param(fault, ending, codec, marks=() if number % 17 == SAMPLE else pytest.mark.long)
    for number, (fault, ending, codec) in enumerate(product(FAULTS, ENDINGS, CODECS))
]


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    folder = recorder_media / "all-codecs"
    folder.mkdir(exist_ok=True)
    for each in [*recorder_media.glob("ga*-*"), *recorder_media.glob("counter-*")]:
        if not (folder / each.name).exists():
            (folder / each.name).hardlink_to(each)
    cameras = [camera for camera in CAMERAS if camera.token != "lobby"]
    prepare_media(folder, [*cameras, *OLD_CAMERAS])
    with Simulator(folder, cameras=[*cameras, *OLD_CAMERAS], clock=true_time) as simulator:
        yield simulator


@pytest.mark.parametrize(("fault", "ending", "codec"), CASES)
def test_whatever_the_recorder_does_wrong_the_frames_are_right_or_the_loss_is_said(
    simulator: Simulator, fault: str, ending: str, codec: str
) -> None:
    faults = Faults.from_json(FAULTS[fault].to_json() | {"ending": ending})
    camera = CODECS[codec]
    simulator.recorder.dropped = 0
    outcome, shelf = pulled(simulator, camera, faults, stall=1.0 if ending == "late_bye" else 0.4)
    expected = held(simulator, camera, faults)
    if faults.loss:
        assert 0 < sum(line.lost for line in outcome.timelines) <= simulator.recorder.dropped
        assert outcome.main is not None
        assert outcome.main.lost == 0 or any(jump.cause == "packets_lost" for jump in outcome.jumps)
        whole = [sum(each in known for each in got) for got, known in zip(shelf.digests, expected, strict=True)]
        assert all(count >= len(known) * 0.7 for count, known in zip(whole, expected, strict=True))
        return
    assert shelf.digests[0] == expected[0]
    assert shelf.digests == expected
    assert outcome.reached_end
    assert sum(line.lost for line in outcome.timelines) == 0
    assert all(times == sorted(set(times)) for times in shelf.times), "container time runs forward"
    certain = "high" if not faults.no_extension else "low" if faults.no_reports else "medium"
    assert outcome.confidence == certain
    assert any("no time of recording" in warning for warning in outcome.warnings) == faults.no_extension
    told = [jump.cause for jump in outcome.jumps]
    stepped = faults.step is not None and not faults.no_extension
    assert told == (["unknown"] if stepped and faults.clock_step > 0 else []), "a hole of the recorder's time is said"
    assert any("clock stepped" in warning for warning in outcome.warnings) == stepped


@pytest.mark.long
@pytest.mark.parametrize("camera", ["gate", "counter"])
def test_the_hour_that_summer_time_leaves_out_is_a_hole_of_the_clock_not_of_the_footage(
    simulator: Simulator, camera: str
) -> None:
    faults = Faults(clock_step_at="2026-06-01T05:02:00Z", clock_step=3600, plays=("cut:6000",))
    span = Span(SPAN.start, SPAN.start + timedelta(minutes=65))
    outcome, shelf = pulled(simulator, camera, faults, span)
    assert shelf.digests == held(simulator, camera, faults, span)
    assert outcome.reached_end
    (jump,) = outcome.jumps
    assert (jump.cause, round((jump.end - jump.start) / 60_000_000)) == ("unknown", 60)
    assert any("clock stepped forward" in warning for warning in outcome.warnings)
