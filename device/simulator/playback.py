"""One replay on its way to a client: RTP with the ONVIF replay extension, RTCP sender reports, and the farewell.

ONVIF Streaming Specification 6.3: the extension 0xABAC carries the NTP time of the access unit on the recorder's clock
and the bits C (clean point), E (end of a section of footage), D (discontinuity before it), T (last of the track).
"""

import asyncio
import heapq
import random
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from device.simulator.packets import AccessUnit, Loop
from device.simulator.timeline import Section, Timeline, ntp, units

_CLEAN, _END, _DISCONTINUITY, _TERMINAL = 0x80, 0x40, 0x20, 0x10
_PLAIN = struct.Struct(">cBHBBHII")
_EXTENDED = struct.Struct(">cBHBBHIIHHQBBH")
_REPORT = struct.Struct(">cBHBBHIQIII")
_BYE = struct.Struct(">cBHBBHI")
_BATCH = 64 * 1024
_REPORT_EVERY = 5_000_000
"""Microseconds of footage between two sender reports."""


@dataclass
class Stream:
    """A track that a client has set up: its interleaved channels and its RTP counters."""

    token: str
    loop: Loop
    channel: int
    control: int
    ssrc: int = field(default_factory=lambda: random.getrandbits(32))
    sequence: int = field(default_factory=lambda: random.getrandbits(16))
    offset: int = field(default_factory=lambda: random.getrandbits(32))
    packets: int = 0
    octets: int = 0
    reported: int = 0

    def timestamp(self, count: int) -> int:
        """The RTP time stamp of an instant: it runs with the recorder's clock, also across gaps."""
        return (count * self.loop.clock_rate // 1_000_000 + self.offset) & 0xFFFFFFFF

    def packed(self, count: int, unit: AccessUnit, flags: int | None, cseq: int) -> bytes:
        """The unit as interleaved RTP packets; without `flags` there is no extension."""
        stamp = self.timestamp(count)
        when = ntp(count)
        parts: list[bytes] = []
        final = len(unit.payloads) - 1
        for number, payload in enumerate(unit.payloads):
            marker = 0x80 if number == final and self.loop.kind == "video" else 0
            kind = marker | self.loop.payload_type
            if flags is None:
                head = _PLAIN.pack(b"$", self.channel, 12 + len(payload), 0x80, kind, self.sequence, stamp, self.ssrc)
            else:
                head = _EXTENDED.pack(
                    b"$", self.channel, 28 + len(payload), 0x90, kind, self.sequence, stamp, self.ssrc,
                    0xABAC, 3, when, flags, cseq & 0xFF, 0,
                )  # fmt: skip
            self.sequence = (self.sequence + 1) & 0xFFFF
            parts += (head, payload)
        self.packets += len(unit.payloads)
        self.octets += unit.size
        return b"".join(parts)

    def report(self, count: int) -> bytes:
        """A sender report (RFC 3550 6.4.1) that ties the RTP clock to the recorder's."""
        self.reported = count
        return _REPORT.pack(
            b"$", self.control, 28, 0x80, 200, 6, self.ssrc, ntp(count), self.timestamp(count),
            self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF,
        )  # fmt: skip

    def farewell(self) -> bytes:
        return _BYE.pack(b"$", self.control, 8, 0x81, 203, 1, self.ssrc)


@dataclass
class Position:
    """Where a replay stands: the instant that a PLAY without a range goes on from."""

    count: int


def _flagged(
    stream: Stream, sections: list[Section], timeline: Timeline, first: bool
) -> Iterator[tuple[int, int, AccessUnit, int]]:
    """(instant, order among tracks, unit, extension bits) of one track."""
    discontinuity = 0 if first else _DISCONTINUITY
    for number, section in enumerate(sections):
        pending: tuple[int, AccessUnit] | None = None
        for count, unit in units(stream.loop, section):
            if pending:
                yield pending[0], stream.channel, pending[1], discontinuity | (_CLEAN if pending[1].clean else 0)
                discontinuity = 0
            pending = count, unit
        if pending:
            flags = discontinuity | (_CLEAN if pending[1].clean else 0)
            if not timeline.continues(section[1]):
                flags |= _END
            if number == len(sections) - 1:
                flags |= _TERMINAL
            yield pending[0], stream.channel, pending[1], flags
        discontinuity = _DISCONTINUITY


async def replay(
    writer: asyncio.StreamWriter,
    streams: list[Stream],
    sections: list[Section],
    timeline: Timeline,
    *,
    extension: bool,
    paced: bool,
    first: bool,
    cseq: int,
    position: Position,
) -> None:
    """Send the sections and say goodbye: as fast as the client reads, or `paced` in real time (gaps take no time).

    Unless this is the `first` replay of the session, its first units carry the D bit. When it is cancelled, whole
    packets have been sent, and `position` is behind the last of them.
    """
    by_channel = {stream.channel: stream for stream in streams}
    merged = heapq.merge(
        *(_flagged(stream, sections, timeline, first) for stream in streams), key=lambda each: each[:2]
    )
    began, skipped, section = time.monotonic(), 0, 0
    batch = bytearray()
    try:
        for count, channel, unit, flags in merged:
            if paced:
                while count >= sections[section][1]:
                    section += 1
                    skipped += sections[section][0] - sections[section - 1][1]
                wait = began + (count - sections[0][0] - skipped) / 1_000_000 - time.monotonic()
                if wait > 0:
                    batch = _hand_over(writer, batch)
                    await writer.drain()
                    await asyncio.sleep(wait)
            stream = by_channel[channel]
            if not stream.packets or count - stream.reported >= _REPORT_EVERY:
                batch += stream.report(count)
            batch += stream.packed(count, unit, flags if extension else None, cseq)
            position.count = count + 1
            if len(batch) >= _BATCH:
                batch = _hand_over(writer, batch)
                await writer.drain()
                # drain() returns at once while there is room: give the requests on this connection their turn.
                await asyncio.sleep(0)
        for stream in streams:
            batch += stream.report(sections[-1][1]) + stream.farewell()
    finally:
        _hand_over(writer, batch)
    await writer.drain()


def _hand_over(writer: asyncio.StreamWriter, batch: bytearray) -> bytearray:
    if batch:
        writer.write(batch)
    return bytearray()
