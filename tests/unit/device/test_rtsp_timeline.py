"""The recorder's timeline: what a gap is and why, what came twice, and the container's clock."""

from device.rtp import DISCONTINUITY, END_OF_SECTION, Frame, TrackFormat
from device.timeline import RTP_ORIGIN, SECOND, Jump, SessionClock, Stretches, TrackTimeline, explain

VIDEO = TrackFormat("video", "H264", 90_000, 96, 1, "", "rtsp://host/video")
START = 1_780_000_000 * SECOND
STEP = SECOND // 25


def frame(number: int, *, ticks: int | None = None, flags: int = 0, lost: int = 0) -> Frame:
    made = Frame(0, ticks if ticks is not None else number * 3600)
    made.packets = [(0xE0, number, b"A")]
    made.flags, made.lost, made.size = flags, lost, 1
    return made


def run(line: TrackTimeline, first: int, count: int, **marks: int) -> None:
    for number in range(first, first + count):
        line.accept(frame(number, **marks), START + number * STEP)


def line(held: Stretches | None = None) -> TrackTimeline:
    return TrackTimeline(VIDEO, held)


def test_an_unbroken_run_has_no_gap() -> None:
    track = line()
    run(track, 0, 100)
    assert (track.jumps, track.frames, track.interval) == ([], 100, STEP)


def test_a_jump_without_reason_is_unknown_and_one_after_e_was_never_recorded() -> None:
    track = line()
    run(track, 0, 50)
    track.accept(frame(50, flags=END_OF_SECTION), START + 50 * STEP)
    run(track, 200, 50)
    run(track, 500, 10)
    assert [(jump.start - START, jump.end - START, jump.cause) for jump in track.jumps] == [
        (51 * STEP, 200 * STEP, "not_recorded"),
        (250 * STEP, 500 * STEP, "unknown"),
    ]


def test_the_index_explains_a_jump_and_what_it_does_not_explain_stays_open() -> None:
    hole = [(START, START + 2 * SECOND), (START + 10 * SECOND, START + 60 * SECOND)]
    track = line(hole)
    run(track, 0, 50)
    run(track, 500, 50)
    assert [(jump.end - START, jump.cause) for jump in track.jumps] == [
        (10 * SECOND, "not_recorded"),
        (20 * SECOND, "unknown"),
    ]


def test_part_of_a_jump_may_be_recorded() -> None:
    held = [(0, 10 * SECOND), (20 * SECOND, 60 * SECOND)]
    assert explain(held, 5 * SECOND, 25 * SECOND, "connection") == [
        Jump(5 * SECOND, 10 * SECOND, "connection"),
        Jump(10 * SECOND, 20 * SECOND, "not_recorded"),
        Jump(20 * SECOND, 25 * SECOND, "connection"),
    ]
    assert explain(held, 9 * SECOND, 21 * SECOND, "connection") == [Jump(9 * SECOND, 21 * SECOND, "not_recorded")], (
        "an index is coarse at its edges"
    )
    assert explain(None, 0, 5, "unknown") == [Jump(0, 5, "unknown")]
    assert explain([], 0, 5 * SECOND, "unknown") == [Jump(0, 5 * SECOND, "not_recorded")]


def test_lost_packets_are_located() -> None:
    track = line()
    run(track, 0, 10)
    track.accept(frame(10, lost=3), START + 10 * STEP)
    assert track.jumps == [Jump(START + 9 * STEP, START + 10 * STEP, "packets_lost")]
    assert track.lost == 3


def test_a_camera_with_few_pictures_has_no_gaps() -> None:
    track = line()
    for number in range(20):
        track.accept(frame(number), START + number * SECOND)
    assert track.jumps == []


def test_after_a_reconnection_what_came_before_is_dropped_once() -> None:
    track = line()
    run(track, 0, 100)
    track.resume()
    repeated = [START + number * STEP for number in range(75, 100)]
    assert all(track.is_duplicate(frame(round((at - START) / STEP)), at, 0) for at in repeated)
    assert not track.is_duplicate(frame(100), START + 100 * STEP, 0)
    run(track, 100, 70)
    assert not track.is_duplicate(frame(150), START + 150 * STEP, 0), (
        "later a step back in time is a step back, no repetition"
    )


def test_a_clock_set_back_right_after_a_reconnection_loses_nothing() -> None:
    """Summer time ends seconds after the line broke: the hour that comes again is no repetition."""
    track = line()
    run(track, 0, 100)
    track.resume()
    run(track, 100, 3)
    assert not track.is_duplicate(frame(103), START + 103 * STEP - 3600 * SECOND, 0)


def test_a_hole_after_a_reconnection_is_the_connections() -> None:
    track = line()
    run(track, 0, 100)
    track.resume()
    run(track, 200, 10)
    assert [jump.cause for jump in track.jumps] == ["connection"]


def test_container_time_keeps_the_encoders_spacing_and_follows_jumps() -> None:
    track = line()
    out = []
    for number, at in enumerate([0, STEP + 900, 2 * STEP - 700, 3 * STEP, 100 * STEP, 101 * STEP]):
        each = frame(number, ticks=number * 3600, flags=DISCONTINUITY)
        track.accept(each, START + at)
        out.append(track.rtp_time(each, START + at, START) - RTP_ORIGIN)
    assert out == [0, 3600, 7200, 10800, 360_000, 363_600]


def test_container_time_goes_on_after_a_reconnection() -> None:
    track = line()
    run(track, 0, 3)
    first = frame(2)
    track.rtp_time(first, START + 2 * STEP, START)
    track.resume()
    again = frame(3, ticks=0)
    track.accept(again, START + 3 * STEP)
    assert track.rtp_time(again, START + 3 * STEP, START) - RTP_ORIGIN == 3 * 3600


def test_container_time_never_runs_backwards_when_the_recorders_clock_does() -> None:
    track = line()
    out = []
    for number, at in enumerate([0, STEP, 2 * STEP, -3600 * SECOND, -3600 * SECOND + STEP]):
        each = frame(number)
        track.accept(each, START + at)
        out.append(track.rtp_time(each, START + at, START))
    assert out == sorted(out)
    assert track.steps_back == 1


def test_times_come_from_the_extension_then_reports_then_the_range() -> None:
    clock = SessionClock(VIDEO, START, START - SECOND, 1000)
    bare = frame(0, ticks=90_000)
    bare.rtp_time = 91_000
    assert clock.place(bare, None) == (START, 2), "one second after the range began"
    assert clock.place(bare, (START + 5 * SECOND, 1000)) == (START + 6 * SECOND, 1)
    told = frame(1, ticks=180_000)
    told.at = START + 9 * SECOND
    assert clock.place(told, None) == (START + 9 * SECOND, 0)
    after = frame(2, ticks=183_600)
    assert clock.place(after, (START, 0)) == (START + 9 * SECOND + STEP, 0)


def test_times_far_outside_the_span_are_not_believed() -> None:
    clock = SessionClock(VIDEO, START, None, None)
    liar = frame(0)
    liar.at = 0
    assert clock.place(liar, (0, 0)) == (START, 2)
    assert clock.implausible == 1
