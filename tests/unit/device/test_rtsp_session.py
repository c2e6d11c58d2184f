"""The RTSP client against a recorder that misbehaves: every way out is one of our errors, in time."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.recorders.base import RecorderBusyError, RecorderRefusedError, RecorderUnreachableError
from device.rtsp import ReplaySession
from device.rtsp_messages import MAX_BODY, Limits, Login, clock_range, parse_sdp, range_start, without_login

SDP = (
    "v=0\r\ns=x\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1\r\na=control:trackID=1\r\n"
    "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:meta\r\n"
)
START = datetime(2026, 2, 1, 10, tzinfo=UTC)
END = START + timedelta(minutes=1)
LIMITS = Limits(connect=2, response=0.5, stall=0.4)


@dataclass
class Recorder:
    """Answers each method with a fixed status and headers; remembers what it was asked."""

    answers: dict[str, str] = field(default_factory=dict)
    after_play: bytes = b""
    asked: list[str] = field(default_factory=list)
    hang_up: bool = False
    sdp: str = SDP

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.asked.append(request)
                method = request.split(" ")[0]
                answer = self.answers.get(method, "200 OK")
                if answer == "silence":
                    continue
                sequence = re.search(r"CSeq: (\d+)", request)
                body = self.sdp if method == "DESCRIBE" and answer.startswith("200") else ""
                status, _, headers = answer.partition("\n")
                head = f"RTSP/1.0 {status}\r\nCSeq: {sequence[1] if sequence else 0}\r\nSession: 42;timeout=60\r\n"
                head += "".join(f"{line}\r\n" for line in headers.splitlines())
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                if method == "PLAY":
                    writer.write(self.after_play)
                    if self.hang_up:
                        break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


def against(recorder: Recorder, act: Callable[[str], Awaitable[None]]) -> None:
    async def main() -> None:
        server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
        async with server:
            await act(f"rtsp://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/replay/x")

    asyncio.run(main())


def play(recorder: Recorder, login: Login | None = None) -> tuple[str, list[tuple[int, bytes]]]:
    """Open and play; the reason of the end and what came."""
    packets: list[tuple[int, bytes]] = []
    reasons: list[str] = []

    async def act(url: str) -> None:
        session = await ReplaySession.open(
            url, login or Login(), LIMITS, lambda channel, data, start, end: packets.append((channel, data[start:end]))
        )
        try:
            await session.play(START, END)
            reasons.append(await asyncio.wait_for(session.ended, 5))
        finally:
            await session.close()

    against(recorder, act)
    return reasons[0], packets


def test_the_range_is_absolute_unpaced_and_asked_for_with_onvif_replay() -> None:
    recorder = Recorder(after_play=b"$\x00\x00\x03abc$\x01\x00\x01d", hang_up=True)
    reason, packets = play(recorder)
    assert reason == "eof"
    assert packets == [(0, b"abc"), (1, b"d")]
    setups = [request for request in recorder.asked if request.startswith("SETUP")]
    assert len(setups) == 1, "metadata is not set up"
    assert "trackID=1" in setups[0]
    assert "Require: onvif-replay" in setups[0]
    asked = next(request for request in recorder.asked if request.startswith("PLAY"))
    assert "Range: clock=20260201T100000.000Z-20260201T100100.000Z" in asked
    assert "Rate-Control: no" in asked
    assert "Require: onvif-replay" in asked
    assert "Session: 42\r\n" in asked
    assert not any("secret" in request for request in recorder.asked)


def test_a_recorder_without_onvif_replay_is_asked_again_plainly() -> None:
    async def act(url: str) -> None:
        with pytest.raises(RecorderRefusedError, match="551"):
            await ReplaySession.open(url, Login(), LIMITS, lambda *_: None)

    recorder = Recorder({"SETUP": "551 Option not supported"})
    against(recorder, act)
    setups = [request for request in recorder.asked if request.startswith("SETUP")]
    assert ["Require" in request for request in setups] == [True, False]


@pytest.mark.parametrize(
    ("method", "answer", "error"),
    [
        ("DESCRIBE", "404 Not Found", RecorderRefusedError),
        ("DESCRIBE", "silence", RecorderUnreachableError),
        ("DESCRIBE", "500 Oops", RecorderRefusedError),
        ("SETUP", "453 Not Enough Bandwidth", RecorderBusyError),
        ("PLAY", "453 Not Enough Bandwidth", RecorderBusyError),
        ("PLAY", "503 Service Unavailable", RecorderBusyError),
        ("PLAY", "457 Invalid Range", RecorderRefusedError),
        ("PLAY", "silence", RecorderUnreachableError),
        ("DESCRIBE", '401 Unauthorized\nWWW-Authenticate: Digest realm="r", nonce="n"', RecorderRefusedError),
    ],
)
def test_what_a_recorder_refuses_is_the_right_error(method: str, answer: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        play(Recorder({method: answer}))


def test_a_login_that_is_refused_again_and_again_ends() -> None:
    recorder = Recorder({"DESCRIBE": '401 Unauthorized\nWWW-Authenticate: Digest realm="r", nonce="n", stale=true'})
    with pytest.raises(RecorderRefusedError, match="does not accept"):
        play(recorder, Login("user", "wrong"))
    assert sum(request.startswith("DESCRIBE") for request in recorder.asked) == 3


def test_basic_is_refused_unless_allowed() -> None:
    basic = Recorder({"DESCRIBE": '401 Unauthorized\nWWW-Authenticate: Basic realm="r"'})
    with pytest.raises(RecorderRefusedError, match="Basic"):
        play(basic, Login("user", "secret"))
    assert not any("Authorization" in request for request in basic.asked)
    with pytest.raises(RecorderRefusedError, match="does not accept"):
        play(basic, Login("user", "secret", allow_basic=True))
    assert any("Authorization: Basic" in request for request in basic.asked)


def test_silence_after_play_is_a_stall() -> None:
    assert play(Recorder(after_play=b"$\x00\x00\x01a"))[0] == "stall"


@pytest.mark.parametrize("method", ["TEARDOWN", "ANNOUNCE"])
def test_a_recorder_that_takes_leave_ends_the_range(method: str) -> None:
    goodbye = f"{method} rtsp://x RTSP/1.0\r\nCSeq: 9\r\n\r\n".encode()
    assert play(Recorder(after_play=b"$\x00\x00\x01a" + goodbye))[0] == "teardown"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x00\x01\x02\x03 nothing that anybody speaks",
        b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"X" * 70_000,
    ],
)
def test_nonsense_ends_the_playback_with_an_error(nonsense: bytes) -> None:
    with pytest.raises(RecorderRefusedError):
        play(Recorder(after_play=nonsense))


def test_nobody_there_is_unreachable() -> None:
    async def act(url: str) -> None:
        with pytest.raises(RecorderUnreachableError):
            await ReplaySession.open("rtsp://127.0.0.1:1/x", Login(), LIMITS, lambda *_: None)

    against(Recorder(), act)


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "rtsp://", "rtsp://host:99999/x", "-i"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    async def main() -> None:
        with pytest.raises(RecorderRefusedError):
            await ReplaySession.open(url, Login(), LIMITS, lambda *_: None)

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8))
def test_any_bytes_in_any_pieces_end_in_a_result_or_one_of_our_errors(pieces: list[bytes]) -> None:
    async def main() -> None:
        session = ReplaySession("rtsp://host/x", Login(), LIMITS, lambda *_: None)
        session._playing = True
        for piece in pieces:
            session.data_received(piece)
        if session.ended.done():
            assert isinstance(session.ended.exception(), RecorderRefusedError | None)
        assert len(session._rest) <= MAX_BODY + 70_000

    asyncio.run(main())


def test_packets_cut_into_any_pieces_come_out_the_same() -> None:
    stream = b"".join(b"$\x00" + len(part).to_bytes(2, "big") + part for part in (b"a" * 5, b"", b"b" * 300, b"$$$$"))

    async def main(size: int) -> list[bytes]:
        got: list[bytes] = []
        session = ReplaySession("rtsp://h/x", Login(), LIMITS, lambda _, data, start, end: got.append(data[start:end]))
        session._playing = True
        for at in range(0, len(stream), size):
            session.data_received(stream[at : at + size])
        return got

    for size in (1, 2, 3, 7, 100, 1000):
        assert asyncio.run(main(size)) == [b"a" * 5, b"", b"b" * 300, b"$$$$"]


def test_session_descriptions_are_reduced_to_what_can_be_copied() -> None:
    tracks = parse_sdp(SDP, "rtsp://host/replay/x/")
    assert [(track.name, track.clock, track.control) for track in tracks] == [
        ("video/H264", 90000, "rtsp://host/replay/x/trackID=1")
    ]
    static = parse_sdp("v=0\r\nm=audio 0 RTP/AVP 8\r\na=control:rtsp://host/audio\r\n", "rtsp://host/x")
    assert [(track.name, track.clock, track.control) for track in static] == [("audio/PCMA", 8000, "rtsp://host/audio")]
    assert parse_sdp("m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP99/90000\r\n", "rtsp://h") == []


@settings(deadline=None)
@given(st.text(max_size=300))
def test_no_session_description_breaks_the_parser_or_smuggles_a_line(text: str) -> None:
    for track in parse_sdp("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n" + text, "rtsp://host/x"):
        assert not re.search(r"[\r\n]", track.control + track.parameters)


def test_ranges_are_rounded_outwards_to_milliseconds() -> None:
    start = START + timedelta(microseconds=1_999)
    assert clock_range(start, END + timedelta(microseconds=1)) == "clock=20260201T100000.001Z-20260201T100100.001Z"
    assert clock_range(START, END - timedelta(microseconds=1)).endswith("T100100.000Z")


def test_the_answers_range_is_read() -> None:
    assert range_start("clock=20260201T100000.25Z-") == int(START.timestamp()) * 1_000_000 + 250_000
    assert range_start("npt=0-") is None
    assert range_start("clock=20269999T100000Z-") is None


def test_addresses_are_shown_without_login() -> None:
    assert without_login("rtsp://user:pass@host:554/a b?c=d") == "rtsp://host:554/a%20b?c=d"
    assert without_login("rtsp://[::1]:554/x\r\nEvil: 1") == "rtsp://[::1]:554/xEvil:%201"
