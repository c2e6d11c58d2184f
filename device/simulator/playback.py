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

from device.simulator.faults import Faults
from device.simulator.line import Line, LineEndedError
from device.simulator.packets import AccessUnit, Loop
from device.simulator.recorder import SimulatedRecorder
from device.simulator.timeline import Section, Timeline, ntp, units

_CLEAN, _END, _DISCONTINUITY, _TERMINAL = 0x80, 0x40, 0x20, 0x10
_PLAIN = struct.Struct(">cBHBBHII")
_EXTENDED = struct.Struct(">cBHBBHIIHHQBBH")
_REPORT = struct.Struct(">cBHBBHIQIII")
_BYE = struct.Struct(">cBHBBHI")
_BATCH = 64 * 1024
_REPORT_EVERY = 5_000_000
"""Microseconds of footage between two sender reports."""
_NEARLY_WRAPPED = 0xFFFF0000
_LATE = 0.6
"""Seconds of silence before a late BYE."""


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
    faults: Faults = field(default_factory=Faults)
    since: int = 0

    def begin(self, count: int, faults: Faults) -> None:
        """A replay begins at that instant, with these faults."""
        self.faults, self.since = faults, count
        if faults.counters_wrap:
            self.sequence = 0xFFF0
            self.offset = (_NEARLY_WRAPPED - count * self.loop.clock_rate // 1_000_000) & 0xFFFFFFFF

    def changes(self, count: int) -> bool:
        """Go on as another source, if it is time for that (RFC 3550 8: a new SSRC, with counters of its own)."""
        if not self.faults.sources or count - self.since < self.faults.sources * 1_000_000:
            return False
        self.since = count
        self.ssrc = (self.ssrc + 0x1234567) & 0xFFFFFFFF
        self.sequence, self.offset = random.getrandbits(16), random.getrandbits(32)
        return True

    def timestamp(self, count: int) -> int:
        """The RTP time stamp of an instant: it runs with the recorder's clock, also across gaps."""
        return (count * self.loop.clock_rate // 1_000_000 + self.offset) & 0xFFFFFFFF

    def packed(self, count: int, unit: AccessUnit, flags: int | None, cseq: int) -> bytes:
        """The unit as interleaved RTP packets; without `flags` there is no extension."""
        stamp = self.timestamp(count)
        when = ntp(self.faults.shown(count))
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
            b"$", self.control, 28, 0x80, 200, 6, self.ssrc, ntp(self.faults.shown(count)), self.timestamp(count),
            self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF,
        )  # fmt: skip

    def farewell(self) -> bytes:
        return _BYE.pack(b"$", self.control, 8, 0x81, 203, 1, self.ssrc)


@dataclass
class Position:
    """Where a replay stands: the instant that a PLAY without a range goes on from."""

    count: int


def _flagged(
    stream: Stream, sections: list[Section], timeline: Timeline, first: bool, faults: Faults
) -> Iterator[tuple[int, int, AccessUnit, int]]:
    """(instant, order among tracks, unit, extension bits) of one track."""
    discontinuity = 0 if first else _DISCONTINUITY
    bits = not faults.no_section_bits
    for number, section in enumerate(sections):
        pending: tuple[int, AccessUnit] | None = None
        for count, unit in units(stream.loop, section):
            if pending:
                yield pending[0], stream.channel, pending[1], discontinuity | (_CLEAN if pending[1].clean else 0)
                discontinuity = 0
            pending = count, unit
        if pending:
            flags = discontinuity | (_CLEAN if pending[1].clean else 0)
            if bits and not timeline.continues(section[1]):
                flags |= _END
            if bits and number == len(sections) - 1 and faults.ending in ("sound", "terminal"):
                flags |= _TERMINAL
            yield pending[0], stream.channel, pending[1], flags
        discontinuity = _DISCONTINUITY


async def replay(
    line: Line,
    recorder: SimulatedRecorder,
    url: str,
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
    faults = streams[0].faults
    by_channel = {stream.channel: stream for stream in streams}
    merged = heapq.merge(
        *(_flagged(stream, sections, timeline, first, faults) for stream in streams), key=lambda each: each[:2]
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
                    line.hand_over(batch)
                    batch = bytearray()
                    await line.settle()
                    await asyncio.sleep(wait)
            stream = by_channel[channel]
            changed = stream.changes(count)
            if not faults.no_reports and (changed or not stream.packets or count - stream.reported >= _REPORT_EVERY):
                batch += stream.report(count)
            batch += line.mangled(stream.packed(count, unit, flags if extension else None, cseq))
            position.count = count + 1
            if len(batch) >= _BATCH:
                line.hand_over(batch)
                batch = bytearray()
                await line.settle()
        line.hand_over(batch + line.rest())
        batch = bytearray()
        await line.settle()
        await _end(line, url, streams, sections[-1][1], faults)
    except LineEndedError:
        line.close()
    finally:
        line.hand_over(batch)
        recorder.dropped += line.dropped


async def _end(line: Line, url: str, streams: list[Stream], count: int, faults: Faults) -> None:
    """Take leave as the faults want it; without any, with a BYE on each track."""
    match faults.ending:
        case "announce" | "teardown":
            line.ask(faults.ending.upper(), url)
        case "eof":
            line.close()
        case "sound" | "bye" | "late_bye":
            if faults.ending == "late_bye":
                await asyncio.sleep(_LATE)
            reports = b"" if faults.no_reports else b"".join(stream.report(count) for stream in streams)
            line.hand_over(reports + b"".join(stream.farewell() for stream in streams))
            await line.settle()
