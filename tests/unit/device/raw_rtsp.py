"""A second, naive RTSP client for the tests of the simulated recorder: blocking, independent of the product's."""

import hashlib
import re
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

NTP_TO_UNIX = 2_208_988_800


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: str
    challenges: list[str]


@dataclass
class Unit:
    """A reassembled frame: microseconds since 1970, extension bits, RTP time stamp, NAL units or audio."""

    at: int | None
    flags: int
    stamp: int
    parts: list[bytes] = field(default_factory=list)

    @property
    def annexb(self) -> bytes:
        return b"".join(b"\x00\x00\x00\x01" + part for part in self.parts)


class RawRtsp:
    """Speaks to one recorder over one connection. `login` is a name and a password."""

    def __init__(self, url: str, login: tuple[str, str] | None = None, algorithm: str = "MD5") -> None:
        host, port = re.match(r"rtsp://([^:/]+):(\d+)", url).groups()  # type: ignore[union-attr]  # our own addresses
        self.url = url
        self.login = login
        self.algorithm = algorithm
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.stream = self.socket.makefile("rb")
        self.cseq = 0
        self.session = ""
        self.channels: dict[int, str] = {}
        self.packets: list[tuple[int, bytes]] = []
        self.challenges: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()
        self.socket.close()

    def ask(self, method: str, url: str = "", **headers: str) -> Reply:
        """Send a request, answering a challenge once; packets that arrive before the reply are kept."""
        reply = self._once(method, url or self.url, headers)
        if reply.status == 401 and self.login and not self.challenges:
            self.challenges = reply.challenges
            reply = self._once(method, url or self.url, headers)
        return reply

    def _once(self, method: str, url: str, headers: dict[str, str]) -> Reply:
        self.cseq += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self.cseq}"]
        lines += [f"Session: {self.session}"] if self.session else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if self.challenges and self.login:
            lines += ["Authorization: " + self._credentials(method, url)]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return self.reply()

    def reply(self) -> Reply:
        while True:
            lead = self.stream.read(1)
            if lead != b"$":
                break
            self._packet()
        first = (lead + self.stream.readline()).decode()
        fields: list[tuple[str, str]] = []
        while line := self.stream.readline().decode().strip():
            name, _, value = line.partition(":")
            fields.append((name.lower(), value.strip()))
        found = dict(fields)
        body = self.stream.read(int(found.get("content-length", 0))).decode()
        self.session = found.get("session", self.session).partition(";")[0]
        challenges = [value for name, value in fields if name == "www-authenticate"]
        return Reply(int(first.split()[1]), found, body, challenges)

    def _packet(self) -> tuple[int, bytes]:
        channel, length = struct.unpack(">BH", self.stream.read(3))
        packet = channel, self.stream.read(length)
        self.packets.append(packet)
        return packet

    def _credentials(self, method: str, url: str) -> str:
        challenge = next(each for each in self.challenges if f"algorithm={self.algorithm}" in each)
        given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        name, password = self.login or ("", "")
        hashed = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[self.algorithm]

        def digest(*parts: str) -> str:
            return hashed(":".join(parts).encode()).hexdigest()

        secret, request = digest(name, given["realm"], password), digest(method, url)
        response = digest(secret, given["nonce"], "00000001", "c0ffee", "auth", request)
        return (
            f'Digest username="{name}", realm="{given["realm"]}", nonce="{given["nonce"]}", uri="{url}", qop=auth, '
            f'nc=00000001, cnonce="c0ffee", response="{response}", algorithm={self.algorithm}'
        )

    def set_up(self, *tracks: str, onvif: bool = True) -> None:
        for track in tracks:
            channel = 2 * len(self.channels)
            required = {"Require": "onvif-replay"} if onvif else {}
            transport = f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}"
            reply = self.ask("SETUP", f"{self.url}/{track}", Transport=transport, **required)
            assert reply.status == 200, reply
            self.channels[channel] = track

    def play(self, span: str, rate: str = "no") -> Reply:
        return self.ask("PLAY", Range=f"clock={span}", Require="onvif-replay", Rate_Control=rate)

    def pull(self) -> list[tuple[int, bytes]]:
        """Everything up to the farewell on all channels."""
        farewells = sum(_says_bye(channel, packet) for channel, packet in self.packets)
        while farewells < len(self.channels):
            assert self.stream.read(1) == b"$"
            farewells += _says_bye(*self._packet())
        return self.packets


def _says_bye(channel: int, packet: bytes) -> bool:
    return channel % 2 == 1 and packet[1] == 203


def units(packets: list[tuple[int, bytes]], channel: int, codec: str) -> list[Unit]:
    """Reassemble the frames of one channel, checking sequence numbers and markers on the way."""
    found: list[Unit] = []
    expected: int | None = None
    complete = True
    for number, packet in packets:
        if number != channel:
            continue
        sequence, stamp = struct.unpack_from(">HI", packet, 2)
        assert expected in (None, sequence)
        expected = (sequence + 1) & 0xFFFF
        at, flags, payload = None, 0, packet[12:]
        if packet[0] & 0x10:
            profile, words, seconds, fraction, flags = struct.unpack_from(">HHIIB", packet, 12)
            assert (profile, words) == (0xABAC, 3)
            at = (seconds - NTP_TO_UNIX) * 1_000_000 + (fraction * 1_000_000 >> 32)
            payload = packet[28:]
        if complete:
            found.append(Unit(at, flags, stamp))
        assert found[-1].stamp == stamp
        _add(found[-1], payload, codec)
        complete = bool(packet[1] & 0x80) or codec == "PCMU"
    assert complete
    return found


def _add(unit: Unit, payload: bytes, codec: str) -> None:
    if codec == "H264" and payload[0] & 31 == 28:
        head, piece, start = bytes([payload[0] & 0xE0 | payload[1] & 31]), payload[2:], payload[1] & 0x80
    elif codec == "H265" and payload[0] >> 1 & 63 == 49:
        head = bytes([payload[0] & 0x81 | (payload[2] & 63) << 1, payload[1]])
        piece, start = payload[3:], payload[2] & 0x80
    else:
        head, piece, start = b"", payload, 1
    if start:
        unit.parts.append(head + piece)
    else:
        unit.parts[-1] += piece
