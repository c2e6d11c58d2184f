"""What the simulated vendor recorders hold: two minutes of H.264, a picture each tenth of a second, a key frame each
second, shown again and again; the same instant always shows the same picture."""

import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from device import media

RATE = 10
SECONDS = 120
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Picture:
    """One access unit and its instant on the recorder's own count of UTC."""

    at: datetime
    key: bool
    units: tuple[bytes, ...]

    @property
    def annexb(self) -> bytes:
        return b"".join(b"\0\0\0\1" + unit for unit in self.units)


@lru_cache
def loop() -> list[tuple[bytes, ...]]:
    """The access units of the two minutes."""
    command = [media.ffmpeg_path(), "-v", "error", "-nostdin", "-f", "lavfi"]
    command += ["-i", f"testsrc2=s=96x64:r={RATE}:d={SECONDS}", "-c:v", "libx264", "-preset", "ultrafast"]
    command += ["-threads", "1", "-bf", "0", "-pix_fmt", "yuv420p", "-f", "h264"]
    command += ["-x264-params", f"keyint={RATE}:min-keyint={RATE}:scenecut=0:slices=1:repeat-headers=1", "-"]
    stream = subprocess.run(command, capture_output=True, check=True).stdout
    found: list[tuple[bytes, ...]] = []
    waiting: list[bytes] = []
    for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
        waiting.append(unit)
        if unit[0] & 31 in (1, 5):
            found.append(tuple(waiting))
            waiting = []
    assert len(found) == RATE * SECONDS
    return found


def pictures(start: datetime, end: datetime) -> list[Picture]:
    """The pictures of a stretch that begins on a whole second."""
    first = int((start - EPOCH).total_seconds() * RATE)
    count = int((end - start).total_seconds() * RATE)
    units = loop()
    return [
        Picture(start + timedelta(seconds=number / RATE), number % RATE == 0, units[(first + number) % len(units)])
        for number in range(count)
    ]


def packets(picture: Picture, stamp: int, sequence: int, ssrc: int) -> Iterator[bytes]:
    """RFC 6184: single units and FU-A fragments, the marker on the last."""
    payloads: list[bytes] = []
    for unit in picture.units:
        if len(unit) <= 1200:
            payloads.append(unit)
            continue
        pieces = [unit[place : place + 1200] for place in range(1, len(unit), 1200)]
        for number, piece in enumerate(pieces):
            bits = (0x80 if number == 0 else 0) | (0x40 if number == len(pieces) - 1 else 0)
            payloads.append(bytes([unit[0] & 0xE0 | 28, bits | unit[0] & 31]) + piece)
    for number, payload in enumerate(payloads):
        marker = 0x80 if number == len(payloads) - 1 else 0
        yield struct.pack(">BBHII", 0x80, marker | 96, (sequence + number) & 0xFFFF, stamp, ssrc) + payload
