"""RTSP replay from the simulated recorder, over real sockets, by a naive client and by plain ffmpeg."""

import gc
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from raw_rtsp import RawRtsp, units

from device.recorders.base import Span
from device.simulator import AUDIO_TRACK, VIDEO_TRACK, Simulator, annexb_digests, digest_of
from device.simulator.media import find_ffmpeg
from device.simulator.timeline import microseconds

NOW = datetime(2026, 2, 20, 7, 30, tzinfo=UTC)
LOGIN = ("admin", "p@ss word")
CLEAN, END, DISCONTINUITY, TERMINAL = 0x80, 0x40, 0x20, 0x10


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username=LOGIN[0], password=LOGIN[1], clock=lambda: NOW) as simulator:
        yield simulator


@pytest.fixture
def client(simulator: Simulator, request: pytest.FixtureRequest) -> Iterator[RawRtsp]:
    with RawRtsp(simulator.replay_uri(getattr(request, "param", "gate")), LOGIN) as client:
        yield client


def clock(*instants: datetime) -> str:
    return "-".join(f"{instant:%Y%m%dT%H%M%S}.{instant.microsecond:06d}Z" for instant in instants)


@pytest.mark.parametrize(("client", "codec"), [("gate", "H264"), ("garage", "H265")], indirect=["client"])
def test_a_replay_delivers_exactly_the_frames_that_the_recorder_holds(
    simulator: Simulator, client: RawRtsp, codec: str
) -> None:
    start, end = datetime(2026, 2, 19, 3, 8, 1, tzinfo=UTC), datetime(2026, 2, 19, 3, 13, 0, 500000, tzinfo=UTC)
    client.set_up(VIDEO_TRACK)
    assert client.play(clock(start, end)).status == 200
    received = units(client.pull(), 0, codec)
    held = simulator.frames(client.url.rpartition("/")[2], Span(start, end), lead_in=True)
    assert [unit.at for unit in received] == [microseconds(frame.time) for frame in held]
    assert annexb_digests(b"".join(unit.annexb for unit in received), codec) == [frame.digest for frame in held]
    assert [bool(unit.flags & CLEAN) for unit in received] == [frame.clean for frame in held]
    assert [bool(unit.flags & TERMINAL) for unit in received] == [False] * (len(held) - 1) + [True]
    assert not any(unit.flags & (END | DISCONTINUITY) for unit in received)
    assert {after.stamp - before.stamp & 0xFFFFFFFF for before, after in pairwise(received)} == {7200}


@pytest.mark.parametrize("client", ["counter"], indirect=True)
def test_picture_and_sound_arrive_side_by_side(simulator: Simulator, client: RawRtsp) -> None:
    span = Span(NOW - timedelta(hours=5), NOW - timedelta(hours=5) + timedelta(seconds=30))
    client.set_up(VIDEO_TRACK, AUDIO_TRACK)
    client.play(clock(span.start, span.end))
    packets = client.pull()
    assert len(units(packets, 0, "H264")) == len(simulator.frames("counter", span, lead_in=True))
    sound = units(packets, 2, "PCMU")
    assert [digest_of(unit.parts[0]) for unit in sound] == [
        frame.digest for frame in simulator.frames("counter", span, AUDIO_TRACK, lead_in=True)
    ]
    order = [channel for channel, _ in packets if channel in (0, 2)]
    assert max(len(run) for run in re.findall(r"0+", "".join(map(str, order)))) < 40


@pytest.mark.parametrize("client", ["lobby"], indirect=True)
def test_a_gap_is_jumped_over_and_marked_on_both_sides(simulator: Simulator, client: RawRtsp) -> None:
    span = Span(datetime(2026, 2, 19, 3, 59, 50, tzinfo=UTC), datetime(2026, 2, 19, 4, 6, 40, tzinfo=UTC))
    client.set_up(VIDEO_TRACK)
    client.play(clock(span.start, span.end))
    received = units(client.pull(), 0, "H264")
    assert len(received) == 250
    before, after = received[124], received[125]
    assert (before.at, before.flags) == (microseconds(datetime(2026, 2, 19, 3, 59, 59, 920000, tzinfo=UTC)), END)
    assert (after.at, after.flags) == (
        microseconds(datetime(2026, 2, 19, 4, 6, 30, tzinfo=UTC)),
        CLEAN | DISCONTINUITY,
    )
    assert simulator.missing("lobby", span) == [
        Span(datetime(2026, 2, 19, 4, 0, tzinfo=UTC), datetime(2026, 2, 19, 4, 6, 30, tzinfo=UTC))
    ]


@pytest.mark.parametrize("client", ["lobby"], indirect=True)
def test_a_span_without_any_footage_is_refused(client: RawRtsp) -> None:
    client.set_up(VIDEO_TRACK)
    inside = clock(datetime(2026, 2, 19, 4, 1, tzinfo=UTC), datetime(2026, 2, 19, 4, 6, tzinfo=UTC))
    assert client.play(inside).status == 457
    assert client.play(clock(NOW - timedelta(days=60), NOW - timedelta(days=50))).status == 457
    assert client.play("yesterday-today").status == 457


def test_the_answer_to_play_and_the_sender_reports_tell_where_it_begins(client: RawRtsp) -> None:
    client.set_up(VIDEO_TRACK)
    start = datetime(2026, 2, 19, 3, 0, 1, 500000, tzinfo=UTC)
    reply = client.play(clock(start, start + timedelta(seconds=12)))
    assert reply.headers["range"] == "clock=20260219T030000.000000Z-20260219T030013.500000Z"
    packets = client.pull()
    first = units(packets, 0, "H264")[0]
    assert f"rtptime={first.stamp}" in reply.headers["rtp-info"]
    reports = [packet for channel, packet in packets if channel == 1 and packet[1] == 200]
    assert len(reports) == 4
    assert int.from_bytes(reports[0][16:20], "big") == first.stamp


def test_ten_minutes_arrive_more_than_250_times_faster_than_real_time(client: RawRtsp) -> None:
    client.set_up(VIDEO_TRACK)
    began = time.monotonic()
    client.play(clock(NOW - timedelta(hours=3), NOW - timedelta(hours=3) + timedelta(minutes=10)))
    client.pull()
    assert 600 / (time.monotonic() - began) > 250


def test_with_rate_control_a_replay_takes_its_time(client: RawRtsp) -> None:
    client.set_up(VIDEO_TRACK)
    began = time.monotonic()
    client.play(clock(NOW - timedelta(hours=3), NOW - timedelta(hours=3) + timedelta(seconds=1)), rate="yes")
    client.pull()
    assert 0.9 < time.monotonic() - began < 10


def test_a_paused_replay_goes_on_without_losing_or_repeating_a_frame(simulator: Simulator, client: RawRtsp) -> None:
    span = Span(NOW - timedelta(hours=20), NOW - timedelta(hours=19))
    client.set_up(VIDEO_TRACK)
    client.play(clock(span.start, span.end))
    assert client.ask("PAUSE").status == 200
    paused_at = len(units(client.packets, 0, "H264"))
    assert client.ask("PLAY", Rate_Control="no").status == 200
    received = units(client.pull(), 0, "H264")
    held = simulator.frames("gate", span)
    assert 0 < paused_at < len(held)
    assert [unit.at for unit in received] == [microseconds(frame.time) for frame in held]
    assert received[paused_at].flags & DISCONTINUITY


def test_a_client_that_does_not_read_does_not_fill_the_memory(simulator: Simulator, client: RawRtsp) -> None:
    client.set_up(VIDEO_TRACK)
    client.play(clock(NOW - timedelta(days=20), NOW))
    with RawRtsp(simulator.replay_uri("garage"), LOGIN) as other:
        # Each answer means that the server has had another turn, in which it could have queued 64 KiB more.
        assert {other.ask("DESCRIBE").status for _ in range(400)} == {200}
    assert client.ask("GET_PARAMETER").status == 200
    assert sum(len(packet) for _, packet in client.packets) < 12_000_000


def test_a_second_playback_is_refused_until_the_first_has_ended(simulator: Simulator, client: RawRtsp) -> None:
    span = clock(NOW - timedelta(hours=2), NOW - timedelta(hours=1))
    client.set_up(VIDEO_TRACK)
    assert client.play(span).status == 200
    with RawRtsp(simulator.replay_uri("garage"), LOGIN) as second:
        second.set_up(VIDEO_TRACK)
        assert second.play(span).status == 453
        assert client.ask("TEARDOWN").status == 200
        assert client.stream.read() == b""
        assert second.play(span).status == 200


def test_a_wrong_password_is_challenged_again(simulator: Simulator) -> None:
    with RawRtsp(simulator.replay_uri("gate"), ("admin", "guess")) as client:
        reply = client.ask("DESCRIBE")
        assert reply.status == 401
        assert [re.search(r"algorithm=(\S+)", each)[1] for each in reply.challenges] == ["SHA-256", "MD5"]  # type: ignore[index]


def test_both_digest_algorithms_open_the_door(simulator: Simulator) -> None:
    for algorithm in ("MD5", "SHA-256"):
        with RawRtsp(simulator.replay_uri("garage"), LOGIN, algorithm) as client:
            reply = client.ask("DESCRIBE")
            assert reply.status == 200
            assert "H265/90000" in reply.body
            assert "a=x-onvif-track:VIDEO001" in reply.body


def test_requests_that_cannot_be_met_get_their_own_status(simulator: Simulator, client: RawRtsp) -> None:
    assert client.ask("OPTIONS").status == 200
    assert client.ask("DESCRIBE", client.url + "x").status == 404
    assert (
        client.ask("SETUP", f"{client.url}/{VIDEO_TRACK}", Transport="RTP/AVP;unicast;client_port=4000-4001").status
        == 461
    )
    assert client.ask("PLAY", Require="com.example.teleport").status == 551
    assert client.ask("RECORD").status == 501
    assert client.ask("PLAY", Session="none").status == 454
    assert client.ask("DESCRIBE rtsp://x/ RTSP/9.9\r\nX:").status in (400, 505)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\xff\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"PLAY " + b"x" * 100_000,
    ],
    ids=["binary", "endless number", "endless line"],
)
def test_what_is_no_request_ends_the_connection_and_nothing_else(simulator: Simulator, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", simulator.rtsp_port), timeout=10) as hostile:
        hostile.sendall(request_bytes)
        hostile.shutdown(socket.SHUT_WR)
        try:
            answer = hostile.recv(65536)
        except ConnectionResetError:
            answer = b""
        assert answer == b"" or answer.startswith(b"RTSP/1.0 400")
    with RawRtsp(simulator.replay_uri("gate"), LOGIN) as client:
        assert client.ask("DESCRIBE").status == 200


def test_without_the_onvif_requirement_packets_carry_no_extension(client: RawRtsp) -> None:
    client.set_up(VIDEO_TRACK, onvif=False)
    client.ask("PLAY", Range=f"clock={clock(NOW - timedelta(hours=1), NOW - timedelta(minutes=59))}", Rate_Control="no")
    assert {unit.at for unit in units(client.pull(), 0, "H264")} == {None}


def test_a_silent_client_is_dropped_after_the_session_timeout(recorder_media: Path) -> None:
    with (
        Simulator(recorder_media, session_timeout=timedelta(milliseconds=200)) as simulator,
        RawRtsp(simulator.replay_uri("gate")) as client,
    ):
        client.set_up(VIDEO_TRACK)
        assert client.stream.read() == b""


def test_after_stop_nothing_is_left_and_start_brings_it_back_at_the_same_port(recorder_media: Path) -> None:
    threads = threading.active_count()
    simulator = Simulator(recorder_media)
    simulator.start()
    url = simulator.replay_uri("gate")
    with RawRtsp(url) as client:
        client.set_up(VIDEO_TRACK)
        client.play(clock(simulator.now() - timedelta(days=10), simulator.now()))
        simulator.stop()
    assert threading.active_count() == threads
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", simulator.port), timeout=5)
    with simulator, RawRtsp(url) as client:
        assert client.ask("DESCRIBE").status == 200
    gc.collect()


def test_a_port_that_is_taken_is_an_error_at_once(simulator: Simulator, recorder_media: Path) -> None:
    with pytest.raises(OSError, match="address already in use"):
        Simulator(recorder_media, port=simulator.port).start()


@pytest.mark.parametrize("path", ["live/gate", "replay/counter"])
def test_plain_ffmpeg_plays_it_too(recorder_media: Path, tmp_path: Path, path: str) -> None:
    login = ":".join(map(quote, LOGIN))
    file = tmp_path / "played.mkv"
    with Simulator(recorder_media, username=LOGIN[0], password=LOGIN[1]) as simulator:
        address = f"rtsp://{login}@127.0.0.1:{simulator.rtsp_port}/{path}"
        read = [find_ffmpeg(), "-v", "error", "-nostdin", "-y", "-rtsp_transport", "tcp", "-i", address]
        subprocess.run([*read, "-t", "1", "-c", "copy", str(file)], check=True, timeout=60)
    check = [find_ffmpeg(), "-v", "error", "-xerror", "-i", str(file), "-f", "framemd5", "-"]
    decoded = subprocess.run(check, check=True, capture_output=True, text=True, timeout=60)
    frames = [line for line in decoded.stdout.splitlines() if line.startswith("0,")]
    assert len(frames) >= 10
    assert decoded.stderr == ""
