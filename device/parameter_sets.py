"""The size of the picture as its own stream tells it: sequence parameter sets, and the header of RTP's motion JPEG.

ITU-T H.264 7.3.2.1.1, H.265 7.3.2.2 and 7.3.3, RFC 2435 3.1. Whatever cannot be read is no size: it may be hostile.
"""

from functools import lru_cache

from device.rtp import Frame

Size = tuple[int, int]
MOST = 16_384
_CHROMA_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


def size_in(frame: Frame, codec: str) -> Size | None:
    """Width and height that the frame itself names; None when it names none."""
    if codec == "JPEG":
        payload = frame.packets[0][2] if frame.packets else b""
        return (payload[6] * 8, payload[7] * 8) if len(payload) > 7 and payload[6] and payload[7] else None
    if codec not in ("H264", "H265"):
        return None
    for _, _, payload in frame.packets[:8]:
        for unit in _units(payload, codec):
            if codec == "H264" and unit[0] & 31 == 7:
                return h264_size(unit)
            if codec == "H265" and unit[0] >> 1 & 63 == 33:
                return h265_size(unit)
    return None


def _units(payload: bytes, codec: str) -> list[bytes]:
    """The NAL units of a packet that is no fragment: one, or an aggregation (RFC 6184 5.7.1, RFC 7798 4.4.2)."""
    head = 1 if codec == "H264" else 2
    kind = payload[0] & 31 if codec == "H264" else payload[0] >> 1 & 63
    if len(payload) <= head or kind != (24 if codec == "H264" else 48):
        return [payload] if len(payload) > head else []
    found: list[bytes] = []
    at = head
    while at + 2 < len(payload) and len(found) < 16:
        size = int.from_bytes(payload[at : at + 2], "big")
        if size > head:
            found.append(payload[at + 2 : at + 2 + size])
        at += 2 + size
    return [unit for unit in found if len(unit) > head]


class _Bits:
    """A bit reader over a NAL unit without its emulation prevention bytes; IndexError at its end."""

    def __init__(self, unit: bytes) -> None:
        self._data = unit.replace(b"\x00\x00\x03", b"\x00\x00")
        self._at = 0

    def skip(self, count: int) -> None:
        self._at += count

    def take(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def ue(self) -> int:
        """Exp-Golomb, unsigned (9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 31:
                raise IndexError
        return (1 << zeros) - 1 + self.take(zeros)

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


@lru_cache(maxsize=64)
def h264_size(unit: bytes) -> Size | None:
    """From a sequence parameter set, cropped as it is shown."""
    try:
        return _h264(_Bits(unit[:256]))
    except IndexError:
        return None


def _h264(bits: _Bits) -> Size | None:
    bits.skip(8)
    profile = bits.take(8)
    bits.skip(16)
    bits.ue()
    chroma = 1
    if profile in _CHROMA_PROFILES:
        chroma = bits.ue()
        if chroma == 3:
            bits.skip(1)
        bits.ue()
        bits.ue()
        bits.skip(1)
        if bits.take(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.skip(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    bits.skip(1)
    width, units = 16 * (bits.ue() + 1), bits.ue() + 1
    frames_only = bits.take(1)
    height = 16 * units * (2 - frames_only)
    if not frames_only:
        bits.skip(1)
    bits.skip(1)
    if bits.take(1):
        across = 1 if chroma in (0, 3) else 2
        down = (2 if chroma == 1 else 1) * (2 - frames_only)
        width -= across * (bits.ue() + bits.ue())
        height -= down * (bits.ue() + bits.ue())
    return _plausible(width, height)


def _skip_scaling_list(bits: _Bits, count: int) -> None:
    last = following = 8
    for _ in range(count):
        if following:
            following = (last + bits.se()) & 255
        last = following or last


@lru_cache(maxsize=64)
def h265_size(unit: bytes) -> Size | None:
    """From a sequence parameter set, cropped as it is shown."""
    try:
        return _h265(_Bits(unit[:256]))
    except IndexError:
        return None


def _h265(bits: _Bits) -> Size | None:
    bits.skip(16 + 4)
    layers = bits.take(3)
    bits.skip(1 + 88 + 8)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.skip(2 * (8 - layers))
    for profile, level in present:
        bits.skip(88 * profile + 8 * level)
    bits.ue()
    chroma = bits.ue()
    if chroma == 3:
        bits.skip(1)
    width, height = bits.ue(), bits.ue()
    if bits.take(1):
        across, down = (2, 2) if chroma == 1 else (2, 1) if chroma == 2 else (1, 1)
        width -= across * (bits.ue() + bits.ue())
        height -= down * (bits.ue() + bits.ue())
    return _plausible(width, height)


def _plausible(width: int, height: int) -> Size | None:
    return (width, height) if 0 < width <= MOST and 0 < height <= MOST else None
