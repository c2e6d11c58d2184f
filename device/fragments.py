"""Put the fragments of NAL units together again (FU-A, RFC 6184 5.8; FU, RFC 7798 4.4.3).

A recorder cuts a NAL unit into pieces of an Ethernet frame. ffmpeg spends most of its time on reading each of them, so
the relay hands it pieces of up to 60 kB: the NAL units, and so the file, stay the same to the byte.
"""

from collections.abc import Iterator

LARGEST = 60_000
"""Bytes of a piece: an interleaved packet holds 65535 with its headers (RFC 2326 10.12)."""

_BEGIN, _END = 0x80, 0x40

Packets = list[tuple[int, int, bytes]]
"""As in device.rtp.Frame: second header byte, sequence number, payload."""


def joined(packets: Packets, codec: str) -> Packets:
    """The packets of a frame without loss, fragments put together; whatever is not as it must be stays as it is."""
    if codec not in ("H264", "H265") or len(packets) < 2:
        return packets
    found: Packets = []
    run: Packets = []
    for packet in packets:
        payload = packet[2]
        if not _is_fragment(payload, codec):
            found += [*_put_together(run, codec), packet]
            run = []
            continue
        if payload[1 if codec == "H264" else 2] & _BEGIN:
            found += _put_together(run, codec)
            run = []
        run.append(packet)
    return [*found, *_put_together(run, codec)]


def _is_fragment(payload: bytes, codec: str) -> bool:
    if codec == "H264":
        return len(payload) > 2 and payload[0] & 31 == 28
    return len(payload) > 3 and payload[0] >> 1 & 63 == 49


def _put_together(run: Packets, codec: str) -> Iterator[tuple[int, int, bytes]]:
    """One NAL unit's fragments: as the whole unit where it fits, else as fewer fragments."""
    mark = 1 if codec == "H264" else 2
    whole = len(run) > 1 and run[0][2][mark] & _BEGIN and run[-1][2][mark] & _END
    if not whole or any(packet[2][mark] & 63 != run[0][2][mark] & 63 for packet in run):
        yield from run
        return
    lead, kind = run[0][2][:mark], run[0][2][mark] & 63
    bodies = [packet[2][mark + 1 :] for packet in run]
    if sum(map(len, bodies)) <= LARGEST:
        yield run[-1][0], run[-1][1], _head(lead, kind, codec) + b"".join(bodies)
        return
    at, begin = 0, _BEGIN
    while at < len(bodies):
        until, size = at, 0
        while until < len(bodies) and (until == at or size + len(bodies[until]) <= LARGEST):
            size += len(bodies[until])
            until += 1
        end = _END if until == len(bodies) else 0
        second, sequence, _ = run[until - 1]
        yield second, sequence, lead + bytes([begin | end | kind]) + b"".join(bodies[at:until])
        at, begin = until, 0


def _head(lead: bytes, kind: int, codec: str) -> bytes:
    """The header of the NAL unit that was fragmented."""
    if codec == "H264":
        return bytes([lead[0] & 0xE0 | kind & 31])
    return bytes([lead[0] & 0x81 | kind << 1, lead[1]])
