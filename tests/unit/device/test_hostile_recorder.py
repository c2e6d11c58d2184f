"""A hostile recorder neither fills memory or disk, nor holds us for ever, nor sends us to another host."""

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fault_room import Shelf
from replay_room import client, now, span
from test_rtsp_session import SDP, Recorder, against, play

from device import pull as pulling
from device import rtp, timeline
from device.pull import Outcome, Pull, Source
from device.recorders import open_recorder
from device.recorders.base import DeviceError, RecorderRefusedError
from device.rtp import CLEAN, Depacketizer, ntp
from device.rtsp import ReplaySession
from device.rtsp_messages import Limits, Login
from device.simulator import CAMERAS, Faults, Simulator
from device.simulator.recorder import Recording
from device.timeline import SECOND, TrackTimeline

START = 1_780_000_000 * SECOND
END = START + 5 * SECOND
PLAYED = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:v\r\n"

# --- without end


def packet(number: int, at: int, *, stamp: int | None = None, payload: bytes = b"\x65x", kind: int = 96) -> bytes:
    ticks = (number * 900 if stamp is None else stamp) & 0xFFFFFFFF
    head = struct.pack(">BBHII", 0x90, 0x80 | kind, number & 0xFFFF, ticks, 7)
    body = head + struct.pack(">HHIIBBH", 0xABAC, 3, *ntp(at), CLEAN, 0, 0) + payload
    return b"$\x00" + len(body).to_bytes(2, "big") + body


ENDLESS: dict[str, Callable[[int], bytes]] = {
    "packets of no track": lambda _: b"$\x28\x00\x10" + bytes(16),
    "malformed packets": lambda _: b"$\x00\x00\x04" + bytes(4),
    "packets of another type": lambda number: packet(number, START, kind=33),
    "one picture": lambda number: packet(number, START, stamp=5, payload=b"\x41" + bytes(900)),
    "one picture of single bytes": lambda number: packet(number, START, stamp=5, payload=b"\x41"),
    "pictures of one instant": lambda number: packet(number, START + SECOND),
    "pictures from before the beginning": lambda number: packet(number, START - SECOND),
    "pictures from just behind the end": lambda number: packet(number, END + SECOND // 2),
    "every second picture with loss": lambda number: packet(2 * number, START + number),
    "a new source with each packet": lambda number: (
        packet(number, START + number)[:12] + number.to_bytes(4, "big") + packet(number, START + number)[16:]
    ),
    "sender reports": lambda number: (
        b"$\x01\x00\x1c" + struct.pack(">BBHIIIIII", 0x80, 200, 6, number & 0xFFFFFFFF, *ntp(START), 0, 0, 0)
    ),
    "answers that nobody asked for": lambda _: b"RTSP/1.0 200 OK\r\nCSeq: 77\r\n\r\n",
    "requests": lambda _: b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
}


async def drone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, make: Callable[[int], bytes]) -> None:
    """Answer, and after PLAY send what `make` makes, without end."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            found = re.search(r"CSeq: (\d+)", request)
            body = PLAYED if request.startswith("DESCRIBE") else ""
            head = f"RTSP/1.0 200 OK\r\nCSeq: {found[1] if found else 0}\r\nSession: 1\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            if not request.startswith("PLAY"):
                continue
            number = 0
            while not writer.is_closing():
                writer.write(b"".join(make(each) for each in range(number, number + 200)))
                number += 200
                await writer.drain()
                await asyncio.sleep(0)
    writer.close()


@pytest.mark.parametrize("what", ENDLESS)
def test_whatever_comes_without_end_is_ended_with_bounded_memory(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "MOST_FRAMES", 60)
    monkeypatch.setattr(pulling, "MOST_BYTES", 10_000)
    monkeypatch.setattr(pulling, "MAX_LEAD_FRAMES", 500)
    monkeypatch.setattr(rtp, "MAX_FRAME_PACKETS", 400)
    monkeypatch.setattr(timeline, "MAX_JUMPS", 50)
    pulls: list[Pull] = []

    async def main() -> Outcome:
        server = await asyncio.start_server(lambda r, w: drone(r, w, ENDLESS[what]), "127.0.0.1", 0)
        address = f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        source = Source(address, limits=Limits(connect=2, response=2, stall=0.2), retries=1, patience=0.01)
        async with server:
            pulls.append(Pull(source, START, END, Shelf()))
            return await asyncio.wait_for(pulls[0].run(), 20)

    try:
        outcome = asyncio.run(main())
    except DeviceError:
        outcome = None
    assert outcome is None or not outcome.reached_end or outcome.warnings
    line = pulls[0]._lines[0]
    assert len(pulls[0]._lead or []) <= 2 * 500 + 1
    assert sum(map(len, pulls[0]._tails)) <= pulling.MAX_TAIL_FRAMES
    assert len(line.current.packets if line.current else []) <= 400
    assert all(len(each.jumps) <= 50 for each in pulls[0].timelines)
    assert max(len(line._reports), len(line._former)) <= 17
    assert len(pulls[0].warnings) < 20


def test_losses_that_touch_are_one_gap() -> None:
    track = Depacketizer(96, lambda _: None)
    timeline_of = TrackTimeline(rtp.TrackFormat("video", "H264", 90_000, 96, 1, "", "x"), None)
    for number in range(100):
        frame = rtp.Frame(number, number)
        frame.packets, frame.lost = [(96, number, b"\x41x")], 1 if 10 <= number < 20 or number == 50 else 0
        timeline_of.accept(frame, START + number * 40_000)
    assert track.malformed == 0
    assert [(jump.start - START, jump.end - START) for jump in timeline_of.jumps] == [
        (9 * 40_000, 19 * 40_000),
        (49 * 40_000, 50 * 40_000),
    ]


# --- to another host


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A host that nobody registered; at the end nobody has called it."""
    with socket.create_server(("127.0.0.2", 0)) as trap:
        trap.setblocking(False)
        yield trap
        with pytest.raises(BlockingIOError):
            trap.accept()


def at(trap: socket.socket, scheme: str = "rtsp") -> str:
    return f"{scheme}://127.0.0.2:{trap.getsockname()[1]}/x"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "305 Use Proxy"])
@pytest.mark.parametrize("method", ["DESCRIBE", "SETUP", "PLAY"])
def test_an_rtsp_redirect_is_refused(stranger: socket.socket, method: str, status: str) -> None:
    recorder = Recorder({method: f"{status}\nLocation: {at(stranger)}"})
    with pytest.raises(RecorderRefusedError, match=status.split(" ")[0]):
        play(recorder, Login("operator", "secret"))


def test_a_redirect_request_moves_nothing(stranger: socket.socket) -> None:
    asked = f"REDIRECT rtsp://x RTSP/1.0\r\nCSeq: 9\r\nLocation: {at(stranger)}\r\n\r\n".encode()
    assert play(Recorder(after_play=b"$\x00\x00\x01a" + asked))[0] == "stall"


@pytest.mark.parametrize("header", ["Content-Base", "Content-Location", "Location"])
def test_addresses_in_rtsp_answers_only_name_what_is_asked_of_the_same_recorder(
    stranger: socket.socket, header: str
) -> None:
    sdp = SDP.replace("a=control:trackID=1", f"a=control:{at(stranger)}").replace(
        "a=control:*", f"a=control:{at(stranger)}\r\nc=IN IP4 127.0.0.2"
    )
    recorder = Recorder({"DESCRIBE": f"200 OK\n{header}: {at(stranger)}"}, b"$\x00\x00\x01a", hang_up=True, sdp=sdp)
    assert play(recorder)[0] == "eof"


class Redirecting(BaseHTTPRequestHandler):
    """Sends everybody to `location`."""

    location = ""

    def do_POST(self) -> None:
        self.send_response(307)
        self.send_header("Location", self.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.mark.parametrize("driver", ["onvif", "hikvision", "dahua"])
def test_an_http_redirect_is_refused(stranger: socket.socket, driver: str) -> None:
    handler = type("Handler", (Redirecting,), {"location": at(stranger, "http")})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(RecorderRefusedError, match="another address"):
            open_recorder(driver, f"http://127.0.0.1:{server.server_port}", "operator", "secret").probe()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_service_and_replay_addresses_of_another_host_are_called_at_the_registered_one(
    recorder_media: Path, tmp_path: Path
) -> None:
    """The recorder names 127.0.0.2 everywhere; whoever listens there hears nothing."""
    with Simulator(recorder_media, 0, 0, "operator", "secret", clock=now, faults=Faults(nat="127.0.0.2")) as simulator:
        traps = [socket.create_server(("127.0.0.2", port)) for port in (simulator.port, simulator.rtsp_port)]
        report = client(simulator).acquire("gate", span("05:00:00", 4), tmp_path / "clip.mkv")
        assert report.complete
        for trap in traps:
            trap.setblocking(False)
            with pytest.raises(BlockingIOError):
                trap.accept()
            trap.close()


# --- names

HOSTILE = [
    "../../etc/cron.d/x",
    "/etc/passwd",
    "a\nb\r\nX: y",
    "-i",
    "$(id);`id`|x",
    "%n{pts}\\:'\"",
    "\u202egnp",
    "关" * 300,
]


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, clock=now, cameras=CAMERAS[:1]) as simulator:
        yield simulator


@pytest.mark.parametrize(
    "name", [HOSTILE[2], *(pytest.param(name, marks=pytest.mark.long) for name in HOSTILE[:2] + HOSTILE[3:])]
)
def test_whatever_a_camera_is_called_it_stays_a_name(simulator: Simulator, tmp_path: Path, name: str) -> None:
    """The name of a camera comes from the recorder: it is shown, cleaned, and is no part of a path or a command."""
    gate = simulator.recorder.recordings["gate"]
    named = replace(gate.camera, name=name)
    simulator.recorder.recordings["gate"] = Recording(named, gate.timeline, gate.tracks)
    driver = client(simulator)
    (found,) = driver.recordings()
    assert found.camera.isprintable()
    assert 1 <= len(found.camera) <= 200
    driver.acquire("gate", span("05:00:00", 2), tmp_path / "copies" / "clip.mkv")
    assert [path.name for path in tmp_path.rglob("*")] == ["copies", "clip.mkv"]


@pytest.mark.parametrize("token", [HOSTILE[0], *(pytest.param(token, marks=pytest.mark.long) for token in HOSTILE[1:])])
@pytest.mark.parametrize("driver", ["onvif", "hikvision", "dahua", "folder"])
def test_whatever_token_is_asked_for_nothing_is_written_and_nothing_else_is_read(
    simulator: Simulator, tmp_path: Path, driver: str, token: str
) -> None:
    (tmp_path / "footage").mkdir()
    address = f"file://{tmp_path / 'footage'}" if driver == "folder" else simulator.url
    recorder = open_recorder(driver, address, **({} if driver == "folder" else {"timeout": 2.0}))
    with pytest.raises(DeviceError):
        recorder.acquire(token, span("05:00:00", 2), tmp_path / "out" / "clip.mkv")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_address_with_a_login_of_its_own_does_not_reach_the_wire() -> None:
    recorder = Recorder()

    async def act(url: str) -> None:
        session = await ReplaySession.open(url, Login(), Limits(2, 2, 2), lambda *_: None)
        await session.close()

    against(recorder, act)
    assert recorder.asked
    assert not any("secret" in asked for asked in recorder.asked)
