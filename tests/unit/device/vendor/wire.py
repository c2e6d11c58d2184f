"""The two faces of a simulated vendor recorder on 127.0.0.1: its own HTTP interface, and RTSP playback.

RTSP as RFC 2326 has it, with what vendors do: the window is in the address, RTP time stamps run on over gaps as if
there were none, no ONVIF extension. `Faults` are what real recorders do wrong.
"""

import contextlib
import http.server
import random
import re
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from vendor.footage import EPOCH, RATE, Picture, packets, pictures

from device.simulator.auth import Gatekeeper

NTP_TO_UNIX = 2_208_988_800
BEFORE = timedelta(seconds=1)


@dataclass
class Faults:
    """`cuts`: after how many bytes the n-th playback breaks. `reports`: none, true, sending (their time is now).
    `early`: every playback but the first begins that much before its window."""

    ignore_end: bool = False
    refuse_playback: int = 0
    cuts: list[int] = field(default_factory=list)
    reports: str = "none"
    early: timedelta = timedelta(0)
    silent_end: bool = False
    answers: dict[str, bytes] = field(default_factory=dict)


class VendorRecorder(ABC):
    """Holds `stretches` (on its own count of UTC), asks for a password, and counts what it is asked."""

    def __init__(
        self,
        stretches: list[tuple[datetime, datetime]],
        now: Callable[[], datetime],
        *,
        drift: timedelta = timedelta(0),
        username: str | None = "operator",
        password: str = "secret",
    ) -> None:
        self.stretches = stretches
        self.faults = Faults()
        self.asked: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.keepers = [Gatekeeper(username, password, lambda: now() + drift) for _ in range(2)]
        self._now, self._drift = now, drift
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def now(self) -> datetime:
        """What the recorder believes the time is, as UTC."""
        return self._now() + self._drift

    # --- to be spoken

    @abstractmethod
    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """The vendor's HTTP interface."""

    @abstractmethod
    def window(self, path: str, query: dict[str, str]) -> tuple[datetime, datetime] | None:
        """The window of a replay address on the recorder's count of UTC; None for an unknown address."""

    # --- footage

    def between(self, start: datetime, end: datetime) -> list[Picture]:
        """What is held from a time up to another, in order."""
        found: list[Picture] = []
        for begin, stop in self.stretches:
            found += [p for p in pictures(begin, stop) if start <= p.at < end]
        return found

    def played(self, start: datetime, end: datetime) -> list[Picture]:
        """What a playback of a window sends: from the key frame at or before its start."""
        if self.faults.ignore_end:
            end = self.stretches[-1][1]
        start -= self.faults.early if self.asked["RTSP PLAY"] > 1 else timedelta(0)
        found = self.between(start - BEFORE, end)
        early = [place for place, picture in enumerate(found) if picture.key and picture.at <= start]
        return found[early[-1] if early else 0 :]

    # --- the network

    def __enter__(self) -> Self:
        self._web = _web_server(self)
        self._rtsp = socket.create_server(("127.0.0.1", 0))
        self._spawn(self._web.serve_forever, 0.01)
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._web.shutdown()
        self._web.server_close()
        self._rtsp.shutdown(socket.SHUT_RDWR)
        self._rtsp.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._web.server_address[1]}"

    @property
    def rtsp(self) -> str:
        return f"rtsp://127.0.0.1:{self._rtsp.getsockname()[1]}"

    def _spawn(self, work: Callable[..., Any], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._rtsp.accept()
            except OSError:
                return
            self._sockets.append(line)
            self._spawn(_Playback(self, line).serve)


def _web_server(recorder: VendorRecorder) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            self._serve()

        do_POST = do_GET

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            keeper = recorder.keepers[0]
            if not keeper.accepts_digest(self.headers.get("Authorization", ""), self.command):
                self._reply(401, b"", keeper.challenges())
                return
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            recorder.asked[query.get("action", parts.path)] += 1
            prepared = recorder.faults.answers.get(parts.path)
            status, content = (
                (200, prepared) if prepared is not None else recorder.answer(self.command, parts.path, query, body)
            )
            self._reply(status, content)

        def _reply(self, status: int, content: bytes, challenges: list[str] | None = None) -> None:
            self.send_response(status)
            for challenge in challenges or ():
                self.send_header("WWW-Authenticate", challenge)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients hang up; that is no news."""

    return Server(("127.0.0.1", 0), Handler)


class _Playback:
    """One RTSP connection."""

    def __init__(self, recorder: VendorRecorder, line: socket.socket) -> None:
        self.recorder, self.line = recorder, line
        self.stream = line.makefile("rb")
        self.window: tuple[datetime, datetime] | None = None
        self.session = f"{random.getrandbits(32):08x}"

    def serve(self) -> None:
        with contextlib.suppress(OSError, ValueError), self.stream:
            while self._one():
                pass
        self.line.close()

    def _one(self) -> bool:
        first = self.stream.readline().decode()
        if not first:
            return False
        method, url, _ = first.split()
        headers: dict[str, str] = {}
        while text := self.stream.readline().decode().strip():
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        cseq = headers.get("cseq", "0")
        keeper = self.recorder.keepers[1]
        if not keeper.accepts_digest(headers.get("authorization", ""), method):
            self._reply(cseq, "401 Unauthorized", *(f"WWW-Authenticate: {each}" for each in keeper.challenges()))
            return True
        self.recorder.asked[f"RTSP {method}"] += 1
        assert "require" not in headers, "a vendor's recorder does not know ONVIF replay"
        if method == "DESCRIBE":
            self._describe(cseq, url)
        elif method == "SETUP":
            self._reply(cseq, "200 OK", f"Session: {self.session};timeout=60", f"Transport: {headers['transport']}")
        elif method == "PLAY":
            self._reply(cseq, "200 OK", f"Session: {self.session}", "Range: npt=0.000-")
            return self._play()
        else:
            self._reply(cseq, "200 OK", f"Session: {self.session}")
        return method != "TEARDOWN"

    def _describe(self, cseq: str, url: str) -> None:
        parts = urlsplit(url)
        self.recorder.addresses.append(f"{parts.path}?{parts.query}")
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.window = self.recorder.window(parts.path, query)
        if self.recorder.faults.refuse_playback:
            self._reply(cseq, f"{self.recorder.faults.refuse_playback} Refused")
            return
        if self.window is None:
            self._reply(cseq, "404 Not Found")
            return
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=Media Presentation", "t=0 0", "a=control:*"]
        lines += ["m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1"]
        lines += ["a=control:trackID=1"]
        body = "\r\n".join(lines) + "\r\n"
        self._reply(cseq, "200 OK", "Content-Type: application/sdp", f"Content-Base: {url}/", body=body.encode())

    def _reply(self, cseq: str, status: str, *headers: str, body: bytes = b"") -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {cseq}", *headers]
        lines += [f"Content-Length: {len(body)}"] if body else []
        self.line.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def _play(self) -> bool:
        faults = self.recorder.faults
        limit = faults.cuts.pop(0) if faults.cuts else None
        ssrc, sequence, base = random.getrandbits(32), random.getrandbits(16), random.getrandbits(32)
        assert self.window is not None
        sent = 0
        for number, picture in enumerate(self.recorder.played(*self.window)):
            stamp = (base + number * 90000 // RATE) & 0xFFFFFFFF  # runs on over gaps
            block = bytearray()
            if faults.reports != "none" and number % RATE == 0:
                at = picture.at if faults.reports == "true" else self.recorder.now()
                block += _framed(1, _sender_report(ssrc, at, stamp))
            for packet in packets(picture, stamp, sequence, ssrc):
                block += _framed(0, packet)
                sequence += 1
            if limit is not None and sent + len(block) > limit:
                self.line.sendall(block[: limit - sent])
                return False
            self.line.sendall(block)
            sent += len(block)
        if not faults.silent_end:
            self.line.sendall(_framed(1, struct.pack(">BBHI", 0x81, 203, 1, ssrc)))
        return True


def _framed(channel: int, packet: bytes) -> bytes:
    return struct.pack(">cBH", b"$", channel, len(packet)) + packet


def _sender_report(ssrc: int, at: datetime, stamp: int) -> bytes:
    seconds = (at - EPOCH) / timedelta(seconds=1) + NTP_TO_UNIX
    fraction = int((seconds % 1) * (1 << 32))
    return struct.pack(">BBHIIIIII", 0x80, 200, 6, ssrc, int(seconds) & 0xFFFFFFFF, fraction, stamp, 0, 0)


def number_of(text: str, default: int = 0) -> int:
    return int(text) if re.fullmatch(r"\d{1,9}", text) else default
