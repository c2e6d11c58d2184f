"""The loopback relay: who may listen, what ffmpeg is told, and that nothing of a failed copy stays."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from device import media
from device.recorders.base import DeviceError
from device.relay import Relay, describe
from device.rtp import Frame, TrackFormat
from device.timeline import RTP_ORIGIN

SOUND = TrackFormat("audio", "PCMU", 8000, 0, 1, "", "rtsp://recorder/a")
PICTURE = TrackFormat("video", "H264", 90_000, 96, 1, "packetization-mode=1", "rtsp://recorder/v")


def nothing() -> None:
    """No back-pressure to pass on."""


def spoken(number: int, lost: int = 0) -> Frame:
    frame = Frame(number * 320, number * 320)
    frame.packets = [(0, number, bytes([number % 251]) * 320)]
    frame.lost = lost
    return frame


def test_ffmpeg_is_told_only_checked_values() -> None:
    text = describe([PICTURE, SOUND])
    assert "recorder" not in text
    assert text.splitlines()[6:9] == [
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        "a=fmtp:96 packetization-mode=1",
    ]
    assert "a=rtpmap:0 PCMU/8000/1" in text


def test_every_payload_arrives_in_the_file_at_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        relay = Relay(tmp_path / "sound.mkv")
        await relay.begin([SOUND], nothing, nothing)
        for number in range(500):
            late = 8000 * 60 if number >= 250 else 0
            relay.write(0, spoken(number), RTP_ORIGIN + number * 320 + late)
        await relay.finish()

    asyncio.run(main())
    contents = media.probe(tmp_path / "sound.mkv")
    assert [packet.size for packet in contents.packets] == [320] * 500
    assert contents.packets[249].pts == pytest.approx(249 * 0.04, abs=0.002)
    assert contents.packets[250].pts == pytest.approx(250 * 0.04 + 60, abs=0.002)
    assert contents.complaints == []


def test_a_stranger_at_the_loopback_port_gets_nothing(tmp_path: Path) -> None:
    async def main() -> bytes:
        relay = Relay(tmp_path / "sound.mkv")
        await relay.begin([SOUND], nothing, nothing)
        assert relay._server is not None
        port = relay._server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"DESCRIBE rtsp://127.0.0.1/guess RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        try:
            answer = await asyncio.wait_for(reader.read(), 5)
        except ConnectionError:
            answer = b""
        writer.close()
        await relay.abort()
        return answer

    assert asyncio.run(main()) == b""


def test_an_aborted_relay_leaves_no_ffmpeg_and_no_port(tmp_path: Path) -> None:
    async def main() -> tuple[int | None, int]:
        relay = Relay(tmp_path / "sound.mkv")
        await relay.begin([SOUND], nothing, nothing)
        assert relay._server is not None
        assert relay._process is not None
        port = relay._server.sockets[0].getsockname()[1]
        relay.write(0, spoken(1), RTP_ORIGIN)
        await relay.abort()
        return relay._process.returncode, port

    status, port = asyncio.run(main())
    assert status is not None
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), 1):  # noqa: PT011 - any refusal will do
        pass


def test_ffmpeg_that_dies_on_the_way_is_an_error(tmp_path: Path) -> None:
    async def main() -> None:
        relay = Relay(tmp_path / "sound.mkv")
        await relay.begin([SOUND], nothing, nothing)
        assert relay._process is not None
        relay._process.kill()
        await relay._process.wait()
        async with asyncio.timeout(5):
            while relay.failed is None:
                await asyncio.sleep(0)
        assert "ffmpeg stopped" in str(relay.failed)
        relay.write(0, spoken(1), RTP_ORIGIN)
        await relay.abort()

    asyncio.run(main())


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    async def main() -> None:
        relay = Relay(tmp_path / "no such folder" / "sound.mkv")
        await relay.begin([SOUND], nothing, nothing)
        for number in range(500):
            relay.write(0, spoken(number), RTP_ORIGIN + number * 320)
        try:
            with pytest.raises(DeviceError):
                await relay.finish()
        finally:
            await relay.abort()

    asyncio.run(main())


def test_a_slow_ffmpeg_holds_the_recorder_back_and_lets_it_go_on(tmp_path: Path) -> None:
    calls: list[str] = []

    async def main() -> None:
        relay = Relay(tmp_path / "sound.mkv")
        await relay.begin([SOUND], lambda: calls.append("pause"), lambda: calls.append("resume"))
        assert relay._process is not None
        relay._process.send_signal(signal.SIGSTOP)
        for number in range(60_000):
            relay.write(0, spoken(number), RTP_ORIGIN + number * 320)
        assert calls == ["pause"]
        relay._process.send_signal(signal.SIGCONT)
        await relay.finish()

    asyncio.run(main())
    assert calls[:2] == ["pause", "resume"]
    assert len(media.probe(tmp_path / "sound.mkv").packets) == 60_000
