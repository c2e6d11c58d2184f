"""An RTSP server that sends bytes recorded beforehand, as fast as they are taken, or at RATE bytes a second.

`python -m tests.bench.prerecorded FILE [RATE]`. FILE is Annex B H.264 of ten seconds, 25 pictures a second. It is made
into interleaved RTP packets with the ONVIF extension once, and repeated with later times (patched into the same buffer)
until as many bytes were sent as the address asks for, `rtsp://127.0.0.1:PORT/BYTES`: so neither a simulator nor a disk
is measured, and any length costs no memory. It takes little of the processor, which the measured ones share with it.
"""

import re
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np

from device.rtp import ntp
from device.simulator.packets import access_units, is_clean, nal_type, packetise

PERIOD = 40_000
TICKS = 3600
START = 1_780_000_000_000_000
SDP = "v=0\r\ns=x\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n{format}a=control:video\r\n"
_PIECE = 1 << 20
_PACKET = struct.Struct(">cBHBBHIIHHIIBBH")


class Prerecorded:
    """The packets in one buffer, and where the counters in it are."""

    def __init__(self, data: bytes) -> None:
        self.buffer = bytearray()
        self.places: list[tuple[int, int]] = []
        self.frames = 0
        for nals in access_units(data, "H264"):
            payloads = [payload for nal in nals for payload in packetise(nal, "H264")]
            clean = any(is_clean(nal_type(nal, "H264"), "H264") for nal in nals)
            for number, payload in enumerate(payloads):
                self.places.append((len(self.buffer), self.frames))
                marker = 0x80 if number == len(payloads) - 1 else 0
                flags = 0x80 if clean else 0
                head = (b"$", 0, 28 + len(payload), 0x90, marker | 96, 0, 0, 7, 0xABAC, 3, 0, 0, flags, 0, 0)
                self.buffer += _PACKET.pack(*head) + payload
            self.frames += 1
        self.rewind()

    def rewind(self) -> None:
        self._sequence = self._round = 0

    def next_round(self) -> bytearray:
        """The buffer with the counters of the next ten seconds."""
        places, frames = np.array(self.places).T
        first = self._round * self.frames
        sequence = np.arange(self._sequence, self._sequence + len(places)) & 0xFFFF
        instants = np.array([ntp(START + (first + number) * PERIOD) for number in range(self.frames)])
        bytes_ = np.frombuffer(self.buffer, np.uint8)
        for offset, width, values in (
            (6, 2, sequence),
            (8, 4, (first + frames) * TICKS & 0xFFFFFFFF),
            (20, 4, instants[frames, 0]),
            (24, 4, instants[frames, 1]),
        ):
            written = values.astype(f">u{width}").view(np.uint8).reshape(-1, width)
            bytes_[places[:, None] + np.arange(offset, offset + width)] = written
        self._sequence, self._round = int(sequence[-1]) + 1 & 0xFFFF, self._round + 1
        return self.buffer


def serve(connection: socket.socket, recorded: Prerecorded, rate: int) -> None:
    """Answer one client until it has got what it asked for."""
    reader = connection.makefile("rb")
    wanted = 0
    while line := reader.readline().decode():
        method, address = line.split(" ")[:2]
        headers = []
        while header := reader.readline().decode().strip():
            headers.append(header)
        sequence = next(each.split(":")[1] for each in headers if each.lower().startswith("cseq"))
        head = f"RTSP/1.0 200 OK\r\nCSeq: {sequence.strip()}\r\nSession: 1\r\n"
        body = ""
        if method == "DESCRIBE":
            found = re.search(r"/(\d+)$", address)
            wanted = int(found[1]) if found else 0
            body = SDP.format(format="a=fmtp:96 packetization-mode=1\r\n")
        elif method == "SETUP":
            head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        if method == "TEARDOWN":
            return
        if method == "PLAY":
            recorded.rewind()
            sent, began = 0, time.monotonic()
            while sent < wanted:
                round_ = memoryview(recorded.next_round())
                for at in range(0, len(round_), _PIECE):
                    connection.sendall(round_[at : at + _PIECE])
                    ahead = (sent + at) / rate - (time.monotonic() - began) if rate else 0.0
                    if ahead > 0:
                        time.sleep(ahead)
                sent += len(round_)
                round_.release()
            connection.sendall(
                struct.pack(">cBHBBHI4s", b"$", 1, 12, 0x81, 203, 2, 7, b"\x03end")
            )  # ffmpeg wants 12 bytes


def main() -> None:
    recorded = Prerecorded(Path(sys.argv[1]).read_bytes())
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], len(recorded.buffer), recorded.frames, flush=True)
    while True:
        connection, _ = server.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with connection:
            try:
                serve(connection, recorded, rate)
            except ConnectionError:
                continue


if __name__ == "__main__":
    main()
