"""A camera's files as loops of RTP payloads: H.264, H.265, motion JPEG (RFC 2435), G.711 (RFC 3551), AAC (RFC 3640)."""

import base64
import functools
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from device.simulator.packets import (
    MAX_PAYLOAD,
    AccessUnit,
    Loop,
    access_units,
    digest_of,
    frame_digest,
    is_clean,
    nal_type,
    packetise,
)

_G711_PERIOD = timedelta(milliseconds=40)
_AAC_PERIOD = timedelta(milliseconds=64)
_AAC_RATE = 16_000
_AAC_FORMAT = "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408"
"""RFC 3640 3.3.6; the AudioSpecificConfig says AAC LC, 16 kHz, mono."""


@functools.lru_cache(maxsize=16)
def load_video(path: Path, codec: str, period: timedelta) -> Loop:
    """Read a camera's pictures; `codec` is H264, H265 or JPEG."""
    data = path.read_bytes()
    return _jpeg(data, period) if codec == "JPEG" else _annexb(data, codec, period)


@functools.lru_cache(maxsize=8)
def load_audio(path: Path, codec: str) -> Loop:
    """Read a camera's sound; `codec` is PCMU or PCMA (a packet is 40 ms), or AAC (a packet is a frame)."""
    data = path.read_bytes()
    return _aac(data) if codec == "AAC" else _g711(data, codec)


def _annexb(data: bytes, codec: str, period: timedelta) -> Loop:
    units = []
    parameter_sets: dict[int, bytes] = {}
    for nals in access_units(data, codec):
        for nal in nals:
            parameter_sets.setdefault(nal_type(nal, codec), nal)
        payloads = tuple(payload for nal in nals for payload in packetise(nal, codec))
        clean = any(is_clean(nal_type(nal, codec), codec) for nal in nals)
        units.append(AccessUnit(payloads, clean, frame_digest(nals, codec), sum(map(len, nals))))
    payload_type = 96 if codec == "H264" else 98
    return Loop("video", codec, payload_type, 90_000, period, tuple(units), _format_line(parameter_sets, codec))


def _format_line(parameter_sets: dict[int, bytes], codec: str) -> str:
    def coded(kind: int) -> str:
        return base64.b64encode(parameter_sets[kind]).decode()

    if codec == "H264":
        profile = parameter_sets[7][1:4].hex().upper()
        return f"packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={coded(7)},{coded(8)}"
    return f"sprop-vps={coded(32)};sprop-sps={coded(33)};sprop-pps={coded(34)}"


def _g711(data: bytes, codec: str) -> Loop:
    step = 8 * _G711_PERIOD.microseconds // 1000
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    units = tuple(AccessUnit((piece,), True, digest_of(piece), len(piece)) for piece in pieces)
    return Loop("audio", codec, 0 if codec == "PCMU" else 8, 8_000, _G711_PERIOD, units, "")


def _aac(data: bytes) -> Loop:
    """ADTS frames without their headers, each after an AU header (RFC 3640 3.2.1); as many as ten minutes have."""
    units, at = [], 0
    while at + 7 <= len(data):
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        piece = data[at + (7 if data[at + 1] & 1 else 9) : at + size]
        units.append(AccessUnit((struct.pack(">HH", 16, len(piece) << 3) + piece,), True, digest_of(piece), len(piece)))
        at += max(size, 7)
    count = timedelta(minutes=10) // _AAC_PERIOD
    return Loop("audio", "MPEG4-GENERIC", 97, _AAC_RATE, _AAC_PERIOD, tuple(units[:count]), _AAC_FORMAT)


def _jpeg(data: bytes, period: timedelta) -> Loop:
    units = []
    at = data.find(b"\xff\xd8")
    while at >= 0:
        end = data.find(b"\xff\xd8\xff", at + 2)
        units.append(_picture(data[at : end if end >= 0 else len(data)]))
        at = end
    return Loop("video", "JPEG", 26, 90_000, period, tuple(units), "")


def _picture(data: bytes) -> AccessUnit:
    """One JPEG: its segments become RFC 2435's headers, its scan the payload; the digest is that of the scan."""
    tables, width, height, kind, at = b"", 0, 0, 1, 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if data[at + 1] == 0xDB:
            while body:
                tables, body = tables + body[1:65], body[65:]
        elif data[at + 1] == 0xC0:
            height, width = struct.unpack_from(">HH", body, 1)
            kind = 1 if body[7] == 0x22 else 0
        at += 2 + length
    scan = data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    scan = scan[: scan.rindex(b"\xff\xd9")]
    return AccessUnit(tuple(_jpeg_packets(scan, tables, kind, width, height)), True, digest_of(scan), len(scan))


def _jpeg_packets(scan: bytes, tables: bytes, kind: int, width: int, height: int) -> Iterator[bytes]:
    at = 0
    while at < len(scan):
        head = struct.pack(">IBBBB", at, kind, 255, width // 8, height // 8)
        if at == 0:
            head += struct.pack(">BBH", 0, 0, len(tables)) + tables
        piece = scan[at : at + MAX_PAYLOAD - len(head)]
        yield head + piece
        at += len(piece)
