"""A loopback RTSP server with one listener, ffmpeg, which writes what the recorder sent into a container unchanged.

ffmpeg never sees the recorder, its address or its credentials: it plays a session description that is written here from
checked values, at an address with a random path. NAL units and sound pass byte for byte; the RTP headers are written
anew, so that container time follows the recorder's timeline and continues across reconnections. The container is
Matroska, whose clusters stay readable when the writing breaks off.
"""

import asyncio
import contextlib
import errno
import os
import re
import secrets
import signal
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from device import media
from device.fragments import joined
from device.recorders.base import N_, DeviceError, DiskFullError
from device.rtp import Frame, TrackFormat
from device.timeline import RTP_ORIGIN

HIGH_WATER = 8 * 1024 * 1024
LOW_WATER = 1024 * 1024
START_SECONDS = 20.0
FINISH_SECONDS = 120.0
MAX_STDERR = 64 * 1024
SSRC = 0x64715141

_INTERLEAVED = struct.Struct(">BBHBBHII")


class Relay:
    """Writes frames to `target` through ffmpeg. `begin`, then `write`, then `finish`; `abort` instead when it failed.

    Implements device.pull.Sink: `pause` is called when more than 8 MB wait for ffmpeg, `resume` below 1 MB.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.failed: DeviceError | None = None
        self.errors: list[str] = []
        self._tracks: Sequence[TrackFormat] = ()
        self._server: asyncio.Server | None = None
        self._listener: _Listener | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._sequences: list[int] = []
        self._finishing = False

    async def begin(self, tracks: Sequence[TrackFormat], pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Start the server and ffmpeg, and wait until it plays.

        Raises:
            DeviceError: ffmpeg is missing or does not start.
        """
        self._tracks = tracks
        self._sequences = [0] * len(tracks)
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        path = f"/{secrets.token_urlsafe(16)}"
        listener = self._listener = _Listener(path, describe(tracks), ready, pause, resume)
        self._server = await loop.create_server(lambda: listener.accept(), "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        command = media.relay_command(f"rtsp://127.0.0.1:{port}{path}", self.target)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise DeviceError(N_("ffmpeg could not be started: %(error)s."), error=str(error)) from error
        self._watch = asyncio.create_task(self._drain())
        await asyncio.wait({ready, self._watch}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise self.failed or DeviceError(
                N_("ffmpeg did not begin to read: %(errors)s"), errors=" ".join(self.errors[-3:])
            )

    def write(self, track: int, frame: Frame, rtp_time: int) -> None:
        """Pass one frame on, with the RTP time that the container shall show. Gaps in the sequence stay gaps."""
        listener = self._listener
        if listener is None or listener.transport is None or track not in listener.channels:
            return
        if listener.transport.is_closing():
            return
        channel = listener.channels[track]
        sequence = self._sequences[track] + min(frame.lost, 1000)
        parts: list[bytes] = []
        packets = frame.packets if frame.lost else joined(frame.packets, self._tracks[track].codec)
        for second, _, payload in packets:
            sequence = (sequence + 1) & 0xFFFF
            parts.append(
                _INTERLEAVED.pack(0x24, channel, 12 + len(payload), 0x80, second, sequence, rtp_time, SSRC + track)
            )
            parts.append(payload)
        self._sequences[track] = sequence
        listener.transport.write(b"".join(parts))

    async def finish(self) -> None:
        """Say good-bye to ffmpeg and wait until the file is written.

        Raises:
            DiskFullError: the last bytes did not fit.
            DeviceError: ffmpeg failed.
        """
        self._finishing = True
        listener, process = self._listener, self._process
        if listener is None or process is None or self._watch is None:
            raise DeviceError(N_("The relay was not started."))
        if listener.transport is not None:
            for track, channel in sorted(listener.channels.items()):
                # with a reason, since ffmpeg overlooks RTCP packets of less than twelve bytes
                goodbye = struct.pack(">BBHI", 0x81, 203, 2, SSRC + track) + b"\x03end"
                listener.transport.write(b"$" + bytes([channel | 1]) + len(goodbye).to_bytes(2, "big") + goodbye)
        done, _ = await asyncio.wait({self._watch}, timeout=FINISH_SECONDS)
        if not done:
            raise DeviceError(N_("ffmpeg did not finish writing the file."))
        await self._close()
        if self.failed is not None:
            raise self.failed

    async def abort(self) -> None:
        """Stop at once; what was written is the caller's to remove."""
        self._finishing = True
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if self._watch is not None:
            await asyncio.wait({self._watch})
        await self._close()

    async def _close(self) -> None:
        if self._listener is not None and self._listener.transport is not None:
            self._listener.transport.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        await asyncio.sleep(0)

    async def _drain(self) -> None:
        """Collect what ffmpeg complains about until it ends, and judge its end."""
        process = self._process
        assert process is not None
        assert process.stderr is not None
        size = 0
        while line := await process.stderr.readline():
            size += len(line)
            if size < MAX_STDERR:
                self.errors.append(line.decode("utf-8", "replace").strip())
        status = await process.wait()
        text = "\n".join(self.errors)
        full = any(os.strerror(number) in text for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT))
        if full or status == -signal.SIGXFSZ:
            self.failed = DiskFullError(
                N_("There is no room left for the footage in %(folder)s."), folder=str(self.target.parent)
            )
        elif status != 0 or not self._finishing:
            self.failed = DeviceError(
                N_("ffmpeg stopped with status %(status)s: %(errors)s"),
                status=status,
                errors=" ".join(self.errors[-3:])[:500],
            )
        if self.failed is not None and self._listener is not None:
            self._listener.let_go()


def describe(tracks: Sequence[TrackFormat]) -> str:
    """A session description of the tracks, from checked values only."""
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", "a=control:*"]
    for index, track in enumerate(tracks):
        channels = f"/{track.channels}" if track.kind == "audio" else ""
        lines.append(f"m={track.kind} 0 RTP/AVP {track.payload_type}")
        lines.append(f"a=rtpmap:{track.payload_type} {track.codec}/{track.clock}{channels}")
        if track.parameters:
            lines.append(f"a=fmtp:{track.payload_type} {track.parameters}")
        lines.append(f"a=control:t{index}")
    return "\r\n".join(lines) + "\r\n"


class _Listener(asyncio.Protocol):
    """Answers ffmpeg's requests. Only the first connection that names the random path is served."""

    def __init__(
        self,
        path: str,
        description: str,
        ready: asyncio.Future[None],
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self.path, self.description, self.ready = path, description, ready
        self.pause, self.resume = pause, resume
        self.transport: asyncio.Transport | None = None
        self.channels: dict[int, int] = {}
        self._paused = False

    def accept(self) -> asyncio.Protocol:
        return _Conversation(self)

    def let_go(self) -> None:
        """ffmpeg is gone: whoever waits for room must not wait for ever."""
        self.transport = None
        if self._paused:
            self.pressure(on=False)

    def pressure(self, *, on: bool) -> None:
        self._paused = on
        if on:
            self.pause()
        else:
            self.resume()


class _Conversation(asyncio.Protocol):
    """One connection to the loopback server."""

    def __init__(self, listener: _Listener) -> None:
        self.listener = listener
        self.transport: asyncio.Transport | None = None
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - ffmpeg may leave as it likes
        if self.listener.transport is self.transport:
            self.listener.let_go()

    def pause_writing(self) -> None:
        self.listener.pressure(on=True)

    def resume_writing(self) -> None:
        self.listener.pressure(on=False)

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while self.waiting:
            if self.waiting[0] == 0x24:  # receiver reports
                if len(self.waiting) < 4:
                    return
                size = 4 + int.from_bytes(self.waiting[2:4], "big")
                if len(self.waiting) < size:
                    return
                self.waiting = self.waiting[size:]
                continue
            stop = self.waiting.find(b"\r\n\r\n")
            if stop < 0:
                return
            request, self.waiting = self.waiting[:stop].decode("latin-1"), self.waiting[stop + 4 :]
            self._answer(request)

    def _answer(self, request: str) -> None:
        listener, transport = self.listener, self.transport
        assert transport is not None
        method, _, rest = request.partition(" ")
        address = rest.split(" ")[0]
        sequence = re.search(r"(?i)cseq:\s*(\d+)", request)
        head = f"RTSP/1.0 200 OK\r\nCSeq: {sequence[1] if sequence else 0}\r\nSession: 1\r\n"
        if listener.path not in address or listener.transport not in (None, transport):
            transport.abort()
            return
        if method == "OPTIONS":
            head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = listener.description
            base = address.rstrip("/")
            head += f"Content-Type: application/sdp\r\nContent-Base: {base}/\r\nContent-Length: {len(body)}\r\n\r\n"
            transport.write((head + body).encode("latin-1"))
            return
        elif method == "SETUP":
            track = re.search(r"/t(\d+)$", address)
            channels = re.search(r"interleaved=(\d+)-(\d+)", request)
            if track is not None and channels is not None:
                listener.channels[int(track[1])] = int(channels[1])
                head += f"Transport: RTP/AVP/TCP;unicast;interleaved={channels[1]}-{channels[2]}\r\n"
        elif method == "PLAY":
            # the same first RTP time for every track keeps sound and picture together (RFC 2326 12.33)
            info = ",".join(
                f"url={address.rstrip('/')}/t{track};seq=1;rtptime={RTP_ORIGIN}" for track in sorted(listener.channels)
            )
            head += f"Range: npt=0-\r\nRTP-Info: {info}\r\n"
            listener.transport = transport
        transport.write((head + "\r\n").encode("latin-1"))
        if method == "PLAY" and not listener.ready.done():
            listener.ready.set_result(None)
        elif method == "TEARDOWN":
            transport.close()
