"""The simulated recorder on the network: both its faces on 127.0.0.1, in a thread of its own."""

import asyncio
import contextlib
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from device.recorders.base import Span
from device.simulator import discovery, http, rtsp
from device.simulator.cameras import CAMERAS, SimulatedCamera
from device.simulator.certificate import certificate, server_context
from device.simulator.faults import Faults
from device.simulator.recorder import VIDEO_TRACK, SimulatedRecorder
from device.simulator.timeline import Frame, Section, bounds, instant

HOST = "127.0.0.1"
_HEADER_LIMIT = 64 * 1024

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _true_time() -> datetime:
    return datetime.now(UTC)


class Simulator:
    """An ONVIF Profile G recorder that looks as if it had been running for thirty days.

    Use it as a context manager, or call `start` and `stop`. After `stop` the recorder is unreachable; `start` brings
    it back at the same ports. Without a `username` it asks for none. `clock` is true time (for tests); the recorder's
    own clock is `clock_offset` ahead of it, and all its times, in SOAP, RTSP and RTP, are its own. `secure` gives the
    replay service TLS (RTSPS) with the self-signed `certificate` (PEM). `faults` are what it does wrong; they may be
    replaced at any time, also at `control_url`. With a `library`, a folder of video files, each of these is a camera.
    `discoverable` is where it answers the questions of WS-Discovery: the group, or 127.0.0.1 and a port (0: any).

    Raises:
        MediaError: the footage is not in `folder` yet and cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        rtsp_port: int = 0,
        username: str | None = None,
        password: str | None = None,
        clock_offset: timedelta = timedelta(seconds=37),
        cameras: Sequence[SimulatedCamera] = CAMERAS,
        *,
        clock: Callable[[], datetime] = _true_time,
        max_playbacks: int = 1,
        session_timeout: timedelta = timedelta(seconds=60),
        faults: Faults | None = None,
        secure: bool = False,
        library: Path | None = None,
        discoverable: tuple[str, int] | None = None,
    ) -> None:
        self.port = port
        self.discoverable = discoverable
        self.rtsp_port = rtsp_port
        self.recorder = SimulatedRecorder(
            folder,
            cameras,
            clock=clock,
            clock_offset=clock_offset,
            username=username,
            password=password,
            max_playbacks=max_playbacks,
            session_timeout=session_timeout,
            faults=faults or Faults(),
            library=library,
        )
        self.certificate, self._key = certificate() if secure else (b"", b"")
        self.recorder.secure = secure
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address of the device service, where every ONVIF client begins."""
        return f"http://{HOST}:{self.port}/onvif/device_service"

    @property
    def control_url(self) -> str:
        """Where the faults are shown (GET) and replaced (PUT), as JSON."""
        return f"http://{HOST}:{self.port}/control/faults"

    @property
    def faults(self) -> Faults:
        return self.recorder.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.recorder.suffer(faults)

    @property
    def calls(self) -> Counter[str]:
        """How often each SOAP operation ("tse:FindEvents") and RTSP method ("RTSP PLAY") was asked for."""
        return self.recorder.calls

    @property
    def open_searches(self) -> int:
        """Searches that no EndSearch has ended yet."""
        return len(self.recorder.searches)

    def now(self) -> datetime:
        """What the recorder believes the time is."""
        return self.recorder.now()

    def frames(self, camera: str, span: Span, track: str = VIDEO_TRACK, *, lead_in: bool = False) -> list[Frame]:
        """Exactly the frames that the recorder holds of `span`; see `SimulatedRecorder.frames`."""
        return self.recorder.frames(camera, span, track, lead_in=lead_in)

    def missing(self, camera: str, span: Span) -> list[Span]:
        """The stretches of `span`, on the recorder's clock, that were never recorded."""
        found: list[Section] = self.recorder.recordings[camera].timeline.missing(*bounds(span))
        return [Span(instant(start), instant(end)) for start, end in found]

    def replay_uri(self, camera: str) -> str:
        return self.recorder.replay_address(HOST, camera)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to serve; returns when both ports are open.

        Raises:
            OSError: a port is taken.
        """
        if self._thread:
            raise RuntimeError("the simulator is running already")
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="simulated recorder", daemon=True)
        self._thread.start()
        try:
            started.result()
        except OSError:
            self._thread.join()
            self._thread = None
            raise

    def stop(self) -> None:
        """Cut all connections and close the ports; returns when nothing is left of it."""
        if self._thread and self._loop and self._closing:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
            self._thread = None

    def serve_forever(self, announce: Callable[["Simulator"], None] = lambda _: None) -> None:
        """Serve until the process is told to end (SIGINT, SIGTERM); for the main thread only. `announce` is called when
        that can be told.
        """
        ended = threading.Event()
        before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if not self._thread:
                self.start()
            announce(self)
            ended.wait()
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self, started: "Future[None]") -> None:
        try:
            asyncio.run(self._serve(started))
        except OSError as error:
            started.set_exception(error)

    async def _serve(self, started: "Future[None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        soap_server = await asyncio.start_server(self._accept(self._speak_soap), HOST, self.port, limit=_HEADER_LIMIT)
        context = server_context(self.certificate, self._key) if self.certificate else None
        async with soap_server:
            rtsp_server = await asyncio.start_server(
                self._accept(self._speak_rtsp), HOST, self.rtsp_port, limit=_HEADER_LIMIT, ssl=context
            )
            async with rtsp_server, self._answering():
                self.port = soap_server.sockets[0].getsockname()[1]
                self.rtsp_port = self.recorder.rtsp_port = rtsp_server.sockets[0].getsockname()[1]
                started.set_result(None)
                await self._closing.wait()
                soap_server.close()
                rtsp_server.close()
                # Before leaving the blocks: from Python 3.12 on they wait for the connections.
                for connection in self._connections:
                    connection.cancel()
                await asyncio.gather(*self._connections, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """Answer who looks for recorders."""
        if self.discoverable is None:
            yield
            return
        line = discovery.listening(HOST, self.discoverable)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: discovery.Responder(lambda: self.url), sock=line
        )
        self.discoverable = line.getsockname()
        try:
            yield
        finally:
            transport.close()

    async def _speak_soap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await http.serve(self.recorder, reader, writer)

    async def _speak_rtsp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await rtsp.Connection(self.recorder, reader, writer).serve()

    def _accept(self, speak: Handler) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await speak(reader, writer)
                writer.close()
                await writer.wait_closed()
            except ConnectionError:
                return  # the client has left: that is how most conversations end
            finally:
                writer.transport.abort()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(converse(reader, writer))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        return accepted
