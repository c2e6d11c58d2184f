"""Elementary streams to access units and RTP payloads: H.264 (RFC 6184) and H.265 (RFC 7798); `loops.py` reads files.

A loop is read once and kept as payloads, ready to be sent; what differs between two replays (sequence number, time
stamp, the ONVIF extension) is only the header in front of them.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

MAX_PAYLOAD = 1388
"""Bytes of RTP payload per packet: what is left of an Ethernet frame after IP, TCP, interleaving and RTP headers."""

_START_CODE = b"\x00\x00\x00\x01"


@dataclass(frozen=True, eq=False)
class AccessUnit:
    """One frame as its RTP payloads. `clean` marks a random access point; `digest` is that of `frame_digest`."""

    payloads: tuple[bytes, ...]
    clean: bool
    digest: str
    size: int


@dataclass(frozen=True, eq=False)
class Loop:
    """One track's ten minutes. `format_line` is the `a=fmtp` of the SDP, without its payload type, or empty."""

    kind: str
    codec: str
    payload_type: int
    clock_rate: int
    period: timedelta
    units: tuple[AccessUnit, ...]
    format_line: str


def nal_units(data: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B stream, without start codes and the zeros around them."""
    at = data.find(b"\x00\x00\x01")
    while at >= 0:
        begin = at + 3
        at = data.find(b"\x00\x00\x01", begin)
        nal = (data[begin:at] if at >= 0 else data[begin:]).rstrip(b"\x00")
        if nal:
            yield nal


def access_units(data: bytes, codec: str) -> Iterator[list[bytes]]:
    """Group an Annex B stream into frames: parameter sets and SEI belong to the picture that follows them."""
    unit: list[bytes] = []
    has_picture = False
    for nal in nal_units(data):
        picture = _is_picture(nal_type(nal, codec), codec)
        begins = not picture or _is_first_slice(nal, codec)
        if has_picture and begins:
            yield unit
            unit, has_picture = [], False
        unit.append(nal)
        has_picture = has_picture or picture
    if has_picture:
        yield unit


def frame_digest(nals: Sequence[bytes], codec: str) -> str:
    """`sha256:<hex>` over the frame's picture data: its VCL NAL units, each after a four-byte start code.

    Parameter sets, SEI and delimiters do not count: containers move them about without touching the picture.
    """
    return digest_of(b"".join(_START_CODE + nal for nal in nals if _is_picture(nal_type(nal, codec), codec)))


def annexb_digests(data: bytes, codec: str) -> list[str]:
    """The digest of each frame of an Annex B stream, comparable with those of the recorder's frame list."""
    return [frame_digest(nals, codec) for nals in access_units(data, codec)]


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def nal_type(nal: bytes, codec: str) -> int:
    return nal[0] & 0x1F if codec == "H264" else nal[0] >> 1 & 0x3F


def _is_picture(kind: int, codec: str) -> bool:
    return 1 <= kind <= 5 if codec == "H264" else kind < 32


def is_clean(kind: int, codec: str) -> bool:
    return kind == 5 if codec == "H264" else 16 <= kind <= 23


def _is_first_slice(nal: bytes, codec: str) -> bool:
    """first_mb_in_slice is 0 (ue(v): one set bit), or first_slice_segment_in_pic_flag is set."""
    return bool(nal[1 if codec == "H264" else 2] & 0x80)


def packetise(nal: bytes, codec: str) -> Iterator[bytes]:
    """The NAL unit as it is if it fits, else in fragments (FU-A, RFC 6184 5.8; FU, RFC 7798 4.4.3)."""
    if len(nal) <= MAX_PAYLOAD:
        yield nal
        return
    if codec == "H264":
        lead, kind, body = bytes([nal[0] & 0xE0 | 28]), nal[0] & 0x1F, nal[1:]
    else:
        lead, kind, body = bytes([nal[0] & 0x81 | 49 << 1, nal[1]]), nal[0] >> 1 & 0x3F, nal[2:]
    room = MAX_PAYLOAD - len(lead) - 1
    for at in range(0, len(body), room):
        first = 0x80 if at == 0 else 0
        last = 0x40 if at + room >= len(body) else 0
        yield lead + bytes([first | last | kind]) + body[at : at + room]
