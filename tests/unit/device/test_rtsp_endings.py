"""However a recorder ends a range, begins it, or numbers its time: the same frames, and a true word about them."""

import asyncio
import contextlib
import datetime as dt
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from device.pull import Outcome, Pull, Source
from device.recorders.base import DeviceError, RecorderBusyError, RecorderRefusedError, RecorderUnreachableError
from device.rtp import CLEAN, TERMINAL, Frame, TrackFormat, ntp
from device.rtsp_messages import Limits
from device.timeline import SECOND

SDP = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:v\r\n"
START = 1_780_000_000 * SECOND
STEP = SECOND // 10
GOP = 10
LIMITS = Limits(connect=2, response=2, stall=0.4)


@dataclass
class Kept:
    """A sink that remembers the frames by their number."""

    failed: DeviceError | None = None
    numbers: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    async def begin(self, tracks: Sequence[TrackFormat], pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Nothing to prepare."""

    def write(self, _: int, frame: Frame, rtp_time: int) -> None:
        self.numbers.append(int.from_bytes(frame.packets[0][2][1:5], "big", signed=True))
        self.times.append(rtp_time)


@dataclass
class Film:
    """A recorder that has ten pictures a second, a key frame each second, and these habits.

    `first` and `last` are the frames that it sends, counted from the start of the span; each connection that plays
    takes the next of `endings`.
    """

    endings: list[str] = field(default_factory=lambda: ["bye"])
    first: int = 0
    last: int = 49
    order: list[int] | None = None
    skip: range = range(0)
    extension: bool = True
    report: bool = False
    range_answer: bool = True
    plays: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, found = request.split(" ")[0], re.search(r"CSeq: (\d+)", request)
                head = f"RTSP/1.0 200 OK\r\nCSeq: {found[1] if found else 0}\r\nSession: 1\r\n"
                body = SDP if method == "DESCRIBE" else ""
                if method == "PLAY":
                    ending = self.endings[min(self.plays, len(self.endings) - 1)]
                    self.plays += 1
                    if ending == "453":
                        writer.write(head.replace("200 OK", "453 Not Enough Bandwidth").encode() + b"\r\n")
                        continue
                    begin = self._asked(request)
                    if self.range_answer:
                        head += f"Range: clock={self._clock(begin)}-\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                if method == "PLAY":
                    writer.write(self._film(begin, ending))
                    await writer.drain()
                    if ending.startswith(("eof", "cut")):
                        break
        writer.close()

    def _asked(self, request: str) -> int:
        """The key frame at or before the range's beginning."""
        found = re.search(r"clock=(\d{8}T\d{6})\.(\d{3})Z", request)
        assert found is not None
        at = dt.datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
        number = (int(at.timestamp()) * SECOND + int(found[2]) * 1000 - START) // STEP
        return max(self.first, number // GOP * GOP) if self.plays > 1 else self.first

    def _clock(self, number: int) -> str:
        at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=START + number * STEP)
        return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z"

    def _film(self, begin: int, ending: str) -> bytes:
        out = b""
        sequence, base = 100, 5000
        numbers = self.order or list(range(begin, self.last + 1))
        if ending.startswith("cut"):
            numbers = numbers[: int(ending[3:])]
        if self.report:
            at = struct.pack(">II", *ntp(START + begin * STEP))
            report = struct.pack(">BBHI", 0x80, 200, 6, 7) + at + struct.pack(">III", base, 0, 0)
            out += b"$\x01" + len(report).to_bytes(2, "big") + report
        for number in numbers:
            if number in self.skip:
                continue
            key = number % GOP == 0
            flags = (CLEAN if key else 0) | (TERMINAL if ending == "terminal" and number == numbers[-1] else 0)
            body = bytes([0x65 if key else 0x41]) + number.to_bytes(4, "big", signed=True)
            stamp = (base + (number - begin) * 9000) & 0xFFFFFFFF
            for half, marker in ((body, 0), (body[:1] + b"rest", 0x80)):
                packet = struct.pack(
                    ">BBHII", 0x90 if self.extension else 0x80, marker | 96, sequence & 0xFFFF, stamp, 7
                )
                if self.extension:
                    packet += struct.pack(">HHIIBBH", 0xABAC, 3, *ntp(START + number * STEP), flags, 0, 0)
                packet += half
                out += b"$\x00" + len(packet).to_bytes(2, "big") + packet
                sequence += 1
        if ending == "bye":
            out += b"$\x01\x00\x08" + struct.pack(">BBHI", 0x81, 203, 1, 7)
        elif ending in ("TEARDOWN", "ANNOUNCE"):
            out += f"{ending} rtsp://x RTSP/1.0\r\nCSeq: 5\r\n\r\n".encode()
        elif ending.startswith("cut"):
            out = out[:-3]
        return out


def pulled(
    film: Film, first: int = 0, last: int = 49, held: list[tuple[int, int]] | None = None
) -> tuple[Outcome, Kept]:
    """The frames from `first` to `last`, as the span asks for them."""

    async def main() -> tuple[Outcome, Kept]:
        kept = Kept()
        server = await asyncio.start_server(film.serve, "127.0.0.1", 0)
        async with server:
            address = f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/film"
            source = Source(address, limits=LIMITS, patience=0.01)
            start, end = START + first * STEP, START + (last + 1) * STEP
            return await Pull(source, start, end, kept, held=held).run(), kept

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("bye", "bye"),
        ("terminal", "terminal"),
        ("TEARDOWN", "teardown"),
        ("ANNOUNCE", "teardown"),
        ("eof", "eof"),
        ("silence", "stall"),
    ],
)
def test_every_ending_of_a_range_gives_the_whole_span(ending: str, reason: str) -> None:
    outcome, kept = pulled(Film([ending]))
    assert kept.numbers == list(range(50))
    assert (outcome.end_reason, outcome.reached_end, outcome.jumps) == (reason, True, [])
    assert outcome.confidence == "high"


def test_a_recorder_that_ignores_the_end_is_stopped() -> None:
    outcome, kept = pulled(Film(["silence"], last=500))
    assert kept.numbers == list(range(50))
    assert (outcome.end_reason, outcome.reached_end) == ("past_end", True)


def test_only_the_group_of_pictures_around_the_start_comes_before_it() -> None:
    _, kept = pulled(Film(first=-200), first=3)
    assert kept.numbers == list(range(50))
    _, kept = pulled(Film(first=-200), first=0)
    assert kept.numbers == list(range(50)), "nothing when the span begins with a key frame"


def test_a_range_that_begins_within_a_group_of_pictures_is_said() -> None:
    outcome, kept = pulled(Film(first=4), first=2)
    assert kept.numbers == list(range(4, 50))
    assert any("cannot be decoded" in warning for warning in outcome.warnings)


def test_pictures_from_beyond_the_end_stay_when_earlier_ones_need_them() -> None:
    reordered = [*range(48), 50, 48, 49, 60, 61, 70]
    _, kept = pulled(Film(order=reordered), last=49)
    assert kept.numbers == [*range(48), 50, 48, 49]


@pytest.mark.parametrize("cut", [1, 2, 7, 10, 11, 49, 50])
def test_a_cut_after_any_frame_changes_nothing(cut: int) -> None:
    outcome, kept = pulled(Film([f"cut{cut}", "bye"]))
    assert kept.numbers == list(range(50))
    assert kept.times == sorted(set(kept.times))
    assert (outcome.jumps, outcome.reached_end, outcome.reconnections) == ([], True, 1)


def test_a_busy_recorder_is_waited_for_after_a_cut() -> None:
    outcome, kept = pulled(Film(["cut20", "453", "453", "bye"]))
    assert kept.numbers == list(range(50))
    assert outcome.reached_end


def test_a_recorder_that_is_busy_at_once_is_busy() -> None:
    with pytest.raises(RecorderBusyError):
        pulled(Film(["453"]))


def test_a_recorder_that_cuts_before_the_first_frame_for_ever_is_unreachable() -> None:
    with pytest.raises(RecorderUnreachableError):
        pulled(Film(["cut0"]))


def test_a_range_that_ends_too_early_is_asked_for_again_and_then_said_to_be_short() -> None:
    outcome, kept = pulled(Film(last=30))
    assert kept.numbers == list(range(31))
    assert (outcome.reached_end, outcome.end_reason) == (False, "bye")
    assert [(jump.start - START, jump.end - START, jump.cause) for jump in outcome.jumps] == [
        (31 * STEP, 50 * STEP, "unknown")
    ]


def test_what_the_index_does_not_hold_is_not_waited_for() -> None:
    film = Film(last=30)
    outcome, _ = pulled(film, held=[(START, START + 31 * STEP)])
    assert outcome.reached_end
    assert [jump.cause for jump in outcome.jumps] == ["not_recorded"]
    assert film.plays == 1


def test_a_hole_that_the_index_does_not_know_is_found() -> None:
    outcome, kept = pulled(Film(skip=range(20, 40)))
    assert kept.numbers == [*range(20), *range(40, 50)]
    assert [jump.cause for jump in outcome.jumps] == ["unknown"]


@pytest.mark.parametrize(("report", "confidence"), [(True, "medium"), (False, "low")])
def test_without_the_extension_the_times_are_less_certain(report: bool, confidence: str) -> None:
    outcome, kept = pulled(Film(first=0, extension=False, report=report))
    assert kept.numbers == list(range(50))
    assert outcome.confidence == confidence
    assert outcome.main is not None
    assert (outcome.main.first, outcome.main.last) == (START, START + 49 * STEP)


def test_without_the_extension_a_cut_is_taken_up_again_all_the_same() -> None:
    outcome, kept = pulled(Film(["cut25", "bye"], extension=False))
    assert kept.numbers == list(range(50))
    assert outcome.confidence == "low"


def test_garbage_in_the_middle_is_a_broken_connection() -> None:
    class Garbled(Film):
        def _film(self, begin: int, ending: str) -> bytes:
            whole = super()._film(begin, ending)
            return whole if self.plays > 1 else whole[: len(whole) // 2] + bytes(500)

    _, kept = pulled(Garbled())
    assert kept.numbers == list(range(50))


def test_garbage_from_the_beginning_is_refused() -> None:
    class Garbled(Film):
        def _film(self, *_: object) -> bytes:
            return bytes(500)

    with pytest.raises((RecorderRefusedError, RecorderUnreachableError)):
        pulled(Garbled())
