"""RTP and RTCP as recorders send them for replay: packets, whole frames, and the recorder's own time of each frame.

The time comes from the RTP header extension 0xABAC of the ONVIF Streaming Specification (6.3 "RTP header extension"):
an NTP time and the bits C (clean point), E (end of a contiguous section), D (discontinuity), T (terminal frame). What
arrives here is hostile until proven otherwise: every length is checked, and nothing grows without a bound.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

CLEAN, END_OF_SECTION, DISCONTINUITY, TERMINAL = 0x80, 0x40, 0x20, 0x10
ONVIF_PROFILE = 0xABAC
MAX_FRAME_BYTES = 32 * 1024 * 1024
MAX_FRAME_PACKETS = 64 * 1024

_HEADER = struct.Struct(">BBHII")
_EXTENSION = struct.Struct(">HH")
_ONVIF = struct.Struct(">IIB")
_SENDER_REPORT = struct.Struct(">III")
_UNIX_EPOCH = 2208988800
_SOURCES = 16
OPENING = 8
"""So many packets after the first one, a packet from before it may still come: it was overtaken."""


def microseconds(seconds: int, fraction: int) -> int:
    """An NTP timestamp as microseconds since 1970; the era that began in 2036 is understood."""
    if seconds < 0x80000000:
        seconds += 1 << 32
    return (seconds - _UNIX_EPOCH) * 1_000_000 + ((fraction * 1_000_000 + (1 << 31)) >> 32)


def ntp(at: int) -> tuple[int, int]:
    """Microseconds since 1970 as the two halves of an NTP timestamp."""
    seconds, rest = divmod(at, 1_000_000)
    return (seconds + _UNIX_EPOCH) & 0xFFFFFFFF, (rest << 32) // 1_000_000


def signed32(value: int) -> int:
    """The difference of two 32-bit counters as the shorter way round."""
    return ((value + 0x80000000) & 0xFFFFFFFF) - 0x80000000


class Frame:
    """All packets of one RTP timestamp of one track.

    `packets` holds (second header byte, sequence number, payload); `at` is the recorder's time in microseconds since
    1970, None without the extension; `ticks` is the RTP time unwrapped since the connection began; `lost` counts the
    packets that went missing just before or inside it.
    """

    __slots__ = ("at", "flags", "lost", "packets", "rtp_time", "size", "ssrc", "ticks")

    def __init__(self, rtp_time: int, ticks: int, ssrc: int = 0) -> None:
        self.packets: list[tuple[int, int, bytes]] = []
        self.rtp_time = rtp_time
        self.ticks = ticks
        self.ssrc = ssrc
        self.at: int | None = None
        self.flags = 0
        self.lost = 0
        self.size = 0

    @property
    def marked(self) -> bool:
        """The last packet carries the marker bit, so the frame is most likely whole."""
        return bool(self.packets) and self.packets[-1][0] & 0x80 != 0

    @property
    def content(self) -> int:
        """Tells two frames of the same time apart; the same frame sent again has the same.

        Only the last packet counts: recorders put parameter sets before the first frame of each playback.
        """
        return zlib.crc32(self.packets[-1][2]) if self.packets else 0


class Depacketizer:
    """Collects one track's packets of one connection into frames; each whole frame goes to `on_frame`.

    `foreign`: other payload types that came in between, with the time of the frame after which they began.
    A frame counts as whole when the next one begins, or when its marked last packet is terminal (T): some recorders
    set the marker on every slice, so the marker alone proves nothing. Of `sound` each packet is whole frames.
    """

    def __init__(self, payload_type: int, on_frame: Callable[[Frame], None], *, sound: bool = False) -> None:
        self.payload_type = payload_type
        self.sound = sound
        self.on_frame = on_frame
        self.current: Frame | None = None
        self.packets = 0
        self.malformed = 0
        self.foreign: dict[int, int | None] = {}
        self.terminal = False
        self.bye = False
        self._reports: dict[int, tuple[int, int]] = {}
        self._former: dict[int, None] = {}
        self._behind: Frame | None = None
        self._sequence: int | None = None
        self._ssrc: int | None = None
        self._first = self._since = 0
        self._ticks = self._step = 0
        self._rtp_time: int | None = None

    def feed(self, data: bytes, start: int, end: int) -> None:
        """Take the RTP packet in `data[start:end]`; a malformed or foreign one is counted and dropped."""
        if end - start < 12:
            self.malformed += 1
            return
        first, second, sequence, rtp_time, ssrc = _HEADER.unpack_from(data, start)
        body = start + 12 + 4 * (first & 0x0F)
        if first >> 6 != 2 or second & 0x7F != self.payload_type or body > end:
            self.malformed += 1
            if first >> 6 == 2 and body <= end and self.current is not None:
                self.foreign.setdefault(second & 0x7F, self.current.at)
            return
        at: int | None = None
        flags = 0
        if first & 0x10:
            if body + 4 > end:
                self.malformed += 1
                return
            profile, words = _EXTENSION.unpack_from(data, body)
            extension = body + 4
            body = extension + 4 * words
            if body > end:
                self.malformed += 1
                return
            if profile == ONVIF_PROFILE and words >= 3:
                seconds, fraction, flags = _ONVIF.unpack_from(data, extension)
                at = microseconds(seconds, fraction)
        if first & 0x20:
            padding = data[end - 1]
            if not 0 < padding <= end - body:
                self.malformed += 1
                return
            end -= padding
        self.packets += 1
        if ssrc != self._ssrc:
            self._other_source(ssrc)
        lost = self._follow(sequence)
        if lost < 0:
            self._late(second, sequence, rtp_time, data[body:end], at, flags)
            return
        frame = self.current
        if frame is None or frame.rtp_time != rtp_time:
            if lost and frame is not None and frame.packets:
                self._emit_behind()
                self._behind = frame
            else:
                self.flush()
            if self._rtp_time is not None:
                self._step = signed32(rtp_time - self._rtp_time)
            self._ticks += self._step
            self._rtp_time = rtp_time
            frame = self.current = Frame(rtp_time, self._ticks, ssrc)
        if lost:
            frame.lost += lost
        frame.flags |= flags
        if frame.at is None:
            frame.at = at
        if body < end:
            frame.size += end - body
            if frame.size <= MAX_FRAME_BYTES and len(frame.packets) < MAX_FRAME_PACKETS:
                frame.packets.append((second, sequence, data[body:end]))
            else:
                frame.lost += 1
        if flags & TERMINAL:
            self._finish(frame)

    def _finish(self, frame: Frame) -> None:
        """The terminal frame needs no successor, if it is whole."""
        if frame.flags & TERMINAL and (frame.marked or self.sound) and not frame.lost:
            self.flush()
            self.terminal = True

    def _emit_behind(self) -> None:
        frame, self._behind = self._behind, None
        if frame is not None:
            self.on_frame(frame)

    def flush(self) -> None:
        """Hand out the frame at hand as whole."""
        self._emit_behind()
        frame, self.current = self.current, None
        if frame is not None and frame.packets:
            self.on_frame(frame)

    def discard(self) -> Frame | None:
        """Take back the frame at hand, which may be cut off."""
        self._emit_behind()
        frame, self.current = self.current, None
        return frame if frame is not None and frame.packets else None

    def control(self, data: bytes, start: int, end: int) -> None:
        """Take an RTCP compound packet: BYE, and the sender report's pair of NTP and RTP time."""
        while start + 4 <= end:
            kind = data[start + 1]
            length = 4 * ((data[start + 2] << 8 | data[start + 3]) + 1)
            if data[start] >> 6 != 2 or start + length > end:
                self.malformed += 1
                return
            source = int.from_bytes(data[start + 4 : start + 8], "big") if length >= 8 else -1
            if kind == 203:
                self.bye = self.bye or source not in self._former
            elif kind == 200 and length >= 28:
                seconds, fraction, rtp_time = _SENDER_REPORT.unpack_from(data, start + 8)
                self._reports.pop(source, None)
                self._reports[source] = (microseconds(seconds, fraction), rtp_time)
                if len(self._reports) > _SOURCES:
                    del self._reports[next(iter(self._reports))]
            start += length

    @property
    def sender_report(self) -> tuple[int, int] | None:
        """The newest pair of NTP and RTP time of any source."""
        return next(reversed(self._reports.values()), None)

    def report_of(self, frame: Frame) -> tuple[int, int] | None:
        """The newest pair of the frame's own source; while there was only one source, whatever number it gives."""
        return self._reports.get(frame.ssrc) or (None if self._former else self.sender_report)

    def _other_source(self, ssrc: int) -> None:
        """From now on another source speaks (RFC 3550 8): its counters have nothing to do with the former one's."""
        if self._ssrc is not None:
            self.flush()
            self._former[self._ssrc] = None
            if len(self._former) > _SOURCES:
                del self._former[next(iter(self._former))]
        self._former.pop(ssrc, None)
        self._ssrc = ssrc
        self._sequence = self._rtp_time = None

    def _follow(self, sequence: int) -> int:
        """How many packets are missing before this one; -1 when it comes late or twice."""
        previous, self._sequence = self._sequence, sequence
        if previous is None:
            self._first, self._since = sequence, self.packets
            return 0
        missing = (sequence - previous - 1) & 0xFFFF
        if missing < 0x8000:
            return missing
        self._sequence = previous
        return -1

    def _late(self, second: int, sequence: int, rtp_time: int, payload: bytes, at: int | None, flags: int) -> None:
        """Put a packet that was overtaken into its frame: the one at hand, or the one before; drop a repeated one."""
        current = self.current
        opening = 0 < (self._first - sequence) & 0xFFFF < OPENING and self.packets - self._since < OPENING
        if current is None or not payload or not (current.lost or opening):
            return
        frame, behind = current, self._behind
        if rtp_time != current.rtp_time:
            step = signed32(rtp_time - current.rtp_time)
            if step > 0 or (behind is not None and signed32(rtp_time - behind.rtp_time) < 0):
                return
            if behind is None or behind.rtp_time != rtp_time:
                self._emit_behind()
                behind = self._behind = Frame(rtp_time, current.ticks + step, current.ssrc)
            frame = behind
        place = len(frame.packets)
        while place and signed32((frame.packets[place - 1][1] - sequence) << 16) > 0:
            place -= 1
        if place and frame.packets[place - 1][1] == sequence:
            return
        frame.packets.insert(place, (second, sequence, payload))
        frame.size += len(payload)
        frame.flags |= flags
        frame.at = at if frame.at is None else frame.at
        current.lost -= 1 if current.lost else 0
        self._finish(current)


@dataclass(frozen=True)
class TrackFormat:
    """One media section of the recorder's SDP, reduced to what a player needs; `control` is its absolute address."""

    kind: str
    codec: str
    clock: int
    payload_type: int
    channels: int
    parameters: str
    control: str

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.codec}"


def is_key(frame: Frame, codec: str) -> bool:
    """Decoding can begin at this frame: the recorder marks it as a clean point, or its NAL units show it."""
    if frame.flags & CLEAN:
        return True
    if codec == "H264":
        return any(_h264_type(payload) in (5, 7) for _, _, payload in frame.packets)
    if codec == "H265":
        return any(_is_h265_key(_h265_type(payload)) for _, _, payload in frame.packets)
    return True


def _h264_type(payload: bytes) -> int:
    kind = payload[0] & 31
    if kind in (28, 29):
        return payload[1] & 31 if len(payload) > 1 else 0
    if kind == 24:
        return payload[3] & 31 if len(payload) > 3 else 0
    return kind


def _h265_type(payload: bytes) -> int:
    kind = payload[0] >> 1 & 63
    if kind == 49:
        return payload[2] & 63 if len(payload) > 2 else 0
    if kind == 48:
        return payload[4] >> 1 & 63 if len(payload) > 4 else 0
    return kind


def _is_h265_key(kind: int) -> bool:
    return 16 <= kind <= 21 or 32 <= kind <= 34
