"""RTP and RTCP: times and frames out of packets, whatever order they come in and however broken they are."""

import random
import struct
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from device.rtp import CLEAN, MAX_FRAME_BYTES, TERMINAL, Depacketizer, Frame, is_key, microseconds, ntp, signed32

AT = 1_780_000_000_080_000


@dataclass
class Sender:
    """Writes packets of one track as a recorder does."""

    sequence: int = 65_530
    ssrc: int = 7
    sent: list[bytes] = field(default_factory=list)

    def packet(
        self,
        stamp: int,
        payload: bytes = b"\x41data",
        *,
        at: int | None = AT,
        flags: int = 0,
        marker: bool = True,
        padding: int = 0,
    ) -> bytes:
        first = 0x80 | (0x10 if at is not None else 0) | (0x20 if padding else 0)
        head = struct.pack(">BBHII", first, 0x80 * marker | 96, self.sequence & 0xFFFF, stamp & 0xFFFFFFFF, self.ssrc)
        self.sequence += 1
        if at is not None:
            head += struct.pack(">HHIIBBH", 0xABAC, 3, *ntp(at), flags, 0, 0)
        tail = bytes(padding - 1) + bytes([padding]) if padding else b""
        self.sent.append(head + payload + tail)
        return self.sent[-1]


def collected(*packets: bytes) -> tuple[Depacketizer, list[Frame]]:
    found: list[Frame] = []
    line = Depacketizer(96, found.append)
    for packet in packets:
        line.feed(b"junk" + packet + b"junk", 4, 4 + len(packet))
    line.flush()
    return line, found


def payloads(frame: Frame) -> list[bytes]:
    return [payload for _, _, payload in frame.packets]


def test_packets_of_one_time_are_one_frame_with_the_recorders_time() -> None:
    sender = Sender()
    line, frames = collected(
        sender.packet(1000, b"\x65a", flags=CLEAN, marker=False), sender.packet(1000, b"b"), sender.packet(8200, b"c")
    )
    assert [payloads(frame) for frame in frames] == [[b"\x65a", b"b"], [b"c"]]
    assert frames[0].at == AT
    assert (frames[0].ticks, frames[1].ticks) == (0, 7200)
    assert (line.packets, line.malformed) == (3, 0)


def test_a_frame_is_whole_only_when_the_next_one_begins() -> None:
    """Some recorders set the marker on every slice."""
    sender, found = Sender(), list[Frame]()
    line = Depacketizer(96, found.append)
    for packet in (sender.packet(1000, b"a"), sender.packet(1000, b"b")):
        line.feed(packet, 0, len(packet))
    assert found == []
    assert line.discard() is not None


def test_the_terminal_frame_needs_no_successor() -> None:
    sender, found = Sender(), list[Frame]()
    line = Depacketizer(96, found.append)
    for packet in (sender.packet(1, marker=False, flags=TERMINAL), sender.packet(1, b"end", flags=TERMINAL)):
        line.feed(packet, 0, len(packet))
    assert line.terminal
    assert payloads(found[0])[-1] == b"end"


def test_sequence_numbers_wrap_without_loss_and_missing_ones_are_counted() -> None:
    sender = Sender(sequence=65_534)
    packets = [sender.packet(stamp * 100) for stamp in range(6)]
    _, frames = collected(*packets)
    assert sum(frame.lost for frame in frames) == 0
    _, frames = collected(*packets[:2], *packets[4:])
    assert [frame.lost for frame in frames] == [0, 0, 2, 0]


def test_overtaken_packets_find_their_place_and_repeated_ones_are_dropped() -> None:
    sender = Sender()
    a, b, c = (sender.packet(1, bytes([number]), marker=False) for number in (1, 2, 3))
    _, frames = collected(a, c, b, b, c)
    assert payloads(frames[0]) == [b"\x01", b"\x02", b"\x03"]
    assert frames[0].lost == 0


def test_a_new_source_is_no_loss() -> None:
    sender = Sender()
    first = sender.packet(1)
    other = Sender(sequence=9, ssrc=8)
    _, frames = collected(first, other.packet(5))
    assert [frame.lost for frame in frames] == [0, 0]


def test_rtp_time_wraps() -> None:
    sender = Sender()
    _, frames = collected(sender.packet(0xFFFFFFFF), sender.packet(7199))
    assert frames[1].ticks - frames[0].ticks == 7200


def test_padding_is_taken_off() -> None:
    _, frames = collected(Sender().packet(1, b"abc", padding=4))
    assert payloads(frames[0]) == [b"abc"]


def test_packets_that_lie_about_their_lengths_are_counted_and_dropped() -> None:
    good = Sender().packet(1)
    cut = [good[:length] for length in range(len(good) - 5)]
    liar = bytearray(good)
    liar[14:16] = b"\xff\xff"
    foreign = bytes([good[0], 0x80 | 97]) + good[2:]
    line, frames = collected(*cut, bytes(liar), foreign, Sender().packet(1, padding=200)[:-1] + b"\xff")
    assert frames == []
    assert line.malformed == len(cut) + 3


def test_an_endless_frame_does_not_fill_the_memory() -> None:
    sender, found = Sender(), list[Frame]()
    line = Depacketizer(96, found.append)
    payload = bytes(60_000)
    for _ in range(MAX_FRAME_BYTES // len(payload) + 20):
        packet = sender.packet(1, payload, at=None)
        line.feed(packet, 0, len(packet))
        sender.sent.clear()
    assert line.current is not None
    assert sum(len(part) for part in payloads(line.current)) <= MAX_FRAME_BYTES
    assert line.current.lost > 0


def test_bye_and_sender_reports_are_understood() -> None:
    line = Depacketizer(96, lambda _: None)
    report = struct.pack(">BBHIIIIII", 0x80, 200, 6, 7, *ntp(AT), 1234, 0, 0)
    compound = report + struct.pack(">BBHI", 0x81, 203, 1, 7)
    line.control(compound, 0, len(compound))
    assert line.bye
    assert line.sender_report is not None
    assert abs(line.sender_report[0] - AT) <= 1
    assert line.sender_report[1] == 1234


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_the_parsers(data: bytes) -> None:
    line = Depacketizer(96, lambda _: None)
    line.feed(data, 0, len(data))
    line.control(data, 0, len(data))
    line.flush()


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_mutated_packets_never_give_more_bytes_than_came(stamps: list[int], chance: random.Random) -> None:
    sender, frames = Sender(), list[Frame]()
    line = Depacketizer(96, frames.append)
    total = 0
    for stamp in stamps:
        packet = bytearray(sender.packet(stamp, bytes([0x41] * chance.randrange(0, 40))))
        for _ in range(chance.randrange(0, 4)):
            packet[chance.randrange(len(packet))] = chance.randrange(256)
        total += len(packet)
        line.feed(bytes(packet), 0, len(packet))
    line.flush()
    assert sum(len(part) for frame in frames for part in payloads(frame)) <= total


@settings(deadline=None)
@given(st.integers(0, 4_100_000_000_000_000))
def test_ntp_times_survive_the_round_trip(at: int) -> None:
    assert abs(microseconds(*ntp(at)) - at) <= 1


def test_ntp_times_after_february_2036_are_understood() -> None:
    in_2040 = 2_208_988_800_000_000
    assert abs(microseconds(*ntp(in_2040)) - in_2040) <= 1


def test_differences_of_counters_go_the_shorter_way() -> None:
    assert (signed32(5), signed32(0xFFFFFFFF), signed32(-5)) == (5, -1, -5)


def test_key_frames_are_known_by_their_nal_units() -> None:
    def frame(*parts: bytes) -> Frame:
        made = Frame(0, 0)
        made.packets = [(96, number, part) for number, part in enumerate(parts)]
        return made

    assert is_key(frame(b"\x67sps", b"\x65idr"), "H264")
    assert is_key(frame(b"\x7c\x85idr"), "H264"), "an IDR in fragments (FU-A)"
    assert not is_key(frame(b"\x41p"), "H264")
    assert not is_key(frame(b"\x7c"), "H264"), "too short to tell"
    assert is_key(frame(b"\x40\x01vps"), "H265")
    assert is_key(frame(b"\x62\x01\x93idr"), "H265"), "an IDR in fragments (FU)"
    assert not is_key(frame(b"\x02\x01p"), "H265")
    assert is_key(frame(b"\x00"), "PCMU")
