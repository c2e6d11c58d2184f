"""An RTSP client for ONVIF replay (ONVIF Streaming Specification 6, RFC 2326): one connection, one playback.

Interleaved TCP only, so that nothing is lost on the way. The session asks for an absolute range without rate control
and hands every packet to `on_packet`. Everything that the recorder sends is bounded and checked; what cannot be
understood ends the session with an error of `device.recorders.base`.
"""

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from device.digest import Challenge, DigestLogin
from device.recorders.base import N_, RecorderBusyError, RecorderRefusedError, RecorderUnreachableError
from device.rtp import TrackFormat
from device.rtsp_messages import MAX_BODY, Limits, Login, Response, clock_range, parse_sdp, range_start, without_login

MAX_HEADER = 64 * 1024
MAX_EARLY = 16 * 1024 * 1024

PacketCallback = Callable[[int, bytes, int, int], None]
"""(interleaved channel, data, start, end): the packet is data[start:end], valid during the call."""


class ReplaySession(asyncio.Protocol):
    """A playback on one connection. Use `open`, then `play`; `ended` tells why it is over; always `close`.

    `ended` is a future with the reason as seen on the wire: `bye` is for the owner to detect; here `teardown`
    (the recorder took leave), `eof`, `cut`, `stall`. It holds an exception when what came was not RTSP. `owing`: more
    was read than the bandwidth allows, and the line is held until that is made good.
    """

    def __init__(self, url: str, login: Login, limits: Limits, on_packet: PacketCallback) -> None:
        self.url = without_login(url)
        self.limits = limits
        self.on_packet = on_packet
        self.tracks: list[TrackFormat] = []
        self.onvif = True
        self.range_start: int | None = None
        self.rtp_times: dict[str, int] = {}
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.bytes = 0
        self._login = login
        self._digest: DigestLogin | None = None
        self._basic = False
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Response]] = {}
        self._sequence = 0
        self._session = ""
        self._session_timeout = 60.0
        self._aggregate = self.url
        self._playing = False
        self._early: list[tuple[int, bytes]] = []
        self._early_bytes = 0
        self._rest = b""
        self._heard = time.monotonic()
        self._paused = False
        self.owing = False
        self._ping = "GET_PARAMETER"
        self._ping_sequence = 0
        self._watch: asyncio.Task[None] | None = None
        self._lost = False

    @classmethod
    async def open(
        cls, url: str, login: Login, limits: Limits, on_packet: PacketCallback, tls: ssl.SSLContext | None = None
    ) -> "ReplaySession":
        """Connect, sign in, and set up every audio and video track.

        Raises:
            RecorderUnreachableError: no connection, or no answer in time.
            RecorderRefusedError: wrong password, unknown recording, nothing playable, or an answer that is not RTSP.
            RecorderBusyError: the recorder allows no further playback.
        """
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise RecorderRefusedError(N_("The replay address is not valid: %(error)s."), error=str(error)) from error
        if parts.scheme not in ("rtsp", "rtsps") or not host:
            raise RecorderRefusedError(N_("The replay address must begin with rtsp:// or rtsps:// and name a host."))
        secure = parts.scheme == "rtsps"
        session = cls(url, login, limits, on_packet)
        context = (tls or ssl.create_default_context()) if secure else None
        port = port or (322 if secure else 554)
        try:
            async with asyncio.timeout(limits.connect):
                await asyncio.get_running_loop().create_connection(lambda: session, host, port, ssl=context)
        except ssl.SSLCertVerificationError as error:
            raise RecorderRefusedError(
                N_(
                    "The certificate of the recorder at %(host)s:%(port)s is not trusted (%(reason)s):"
                    " give its own certificate, or that of its authority."
                ),
                host=host,
                port=port,
                reason=error.verify_message,
            ) from error
        except (OSError, TimeoutError) as error:
            raise RecorderUnreachableError(
                N_("No connection to the recorder's replay service at %(host)s:%(port)s: %(reason)s."),
                host=host,
                port=port,
                reason=str(error) or "timed out",
            ) from error
        try:
            await session._set_up()
        except BaseException:
            await session.close()
            raise
        return session

    async def play(self, start: datetime, end: datetime) -> None:
        """Ask for the range as fast as it comes. Packets flow to `on_packet` from now on."""
        headers = [("Range", clock_range(start, end))]
        if self.onvif:
            headers += [("Require", "onvif-replay"), ("Rate-Control", "no")]
        answer = await self._request("PLAY", self._aggregate, headers)
        self.range_start = range_start(answer.header("range"))
        for entry in answer.header("rtp-info").split(","):
            address = re.search(r"url=\"?([^;\"]+)", entry)
            first = re.search(r"rtptime=(\d{1,10})", entry)
            if address is not None and first is not None:
                self.rtp_times[address[1].strip()] = int(first[1]) & 0xFFFFFFFF
        early, self._early = self._early, []
        self._playing = True
        self._heard = time.monotonic()
        self._watch = asyncio.create_task(self._keep())
        for channel, packet in early:
            self.on_packet(channel, packet, 0, len(packet))

    def pause_reading(self) -> None:
        """Stop taking data from the recorder; TCP makes it wait."""
        self._paused = True
        self._hold()

    def resume_reading(self) -> None:
        self._paused = False
        self._heard = time.monotonic()
        self._hold()

    def _owe(self, size: int) -> None:
        """Count what was read against the recorder's bandwidth; what is owed is waited for with the line held."""
        bucket = self.limits.bucket
        pause = bucket.take(size) if bucket is not None else 0.0
        if pause > 0 and not self.owing:
            self.owing = True
            self._hold()
            asyncio.get_running_loop().call_later(pause, self._paid)

    def _paid(self) -> None:
        self.owing = False
        self._heard = time.monotonic()
        self._hold()

    def _hold(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._paused or self.owing:
            transport.pause_reading()
        else:
            transport.resume_reading()

    @property
    def silence(self) -> float:
        """Seconds since the recorder last sent anything while it could."""
        return 0.0 if self.owing else time.monotonic() - self._heard

    async def close(self) -> None:
        """Take leave and close the connection; never raises for what the recorder does."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        transport = self._transport
        if transport is None:
            return
        if self._session and not transport.is_closing():
            self._send("TEARDOWN", self._aggregate, [])
            self._paused = False
        self._finish("closed")
        transport.close()
        deadline = time.monotonic() + 0.5
        while not self._lost and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        if not self._lost:
            transport.abort()

    # --- requests

    async def _set_up(self) -> None:
        answer = await self._request("DESCRIBE", self.url, [("Accept", "application/sdp")])
        base = answer.header("content-base") or answer.header("content-location") or self.url
        base = without_login(base) if re.match(r"(?i)rtsps?://", base) else self.url
        head = re.split(r"(?m)^m=", answer.body, maxsplit=1)[0]
        whole = re.search(r"(?mi)^a=control:(rtsps?://[\x21-\x7e]{1,1024})", head)
        self._aggregate = whole[1] if whole is not None else base
        tracks = parse_sdp(answer.body, base)
        if not tracks:
            raise RecorderRefusedError(N_("The recorder offers neither video nor audio that can be copied."))
        for track in tracks:
            channel = 2 * len(self.tracks)
            transport = ("Transport", f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}")
            try:
                await self._request("SETUP", track.control, [transport, *self._require()])
            except OptionNotSupportedError:
                self.onvif = False
                await self._request("SETUP", track.control, [transport])
            self.tracks.append(track)

    def _require(self) -> list[tuple[str, str]]:
        return [("Require", "onvif-replay")] if self.onvif else []

    async def _request(self, method: str, uri: str, headers: Sequence[tuple[str, str]]) -> Response:
        answer = await self._ask(method, uri, headers)
        attempts = 0
        while answer.status == 401 and attempts < 2 and self._prepare_login(answer, again=attempts > 0):
            attempts += 1
            answer = await self._ask(method, uri, headers)
        session = answer.header("session")
        if session:
            self._session = re.sub(r"[^\x21-\x7e]", "", session.split(";")[0])[:200]
            limit = re.search(r"timeout=(\d{1,6})", session)
            self._session_timeout = float(limit[1]) if limit else 60.0
        status = answer.status
        if status == 200:
            return answer
        if status == 401 or status == 403:
            raise RecorderRefusedError(
                N_("The recorder does not accept the user name or password for replay.")
                if self._login.username
                else N_("The recorder asks for a user name and a password for replay.")
            )
        if status == 453 or status == 503:
            raise RecorderBusyError(
                N_("The recorder allows no further playback now: wait until another one has ended.")
            )
        if status == 551:
            raise OptionNotSupportedError(N_("The recorder does not know ONVIF replay (551)."))
        if status == 404:
            raise RecorderRefusedError(N_("The recorder knows no such recording (404): check the recording token."))
        if status == 457:
            raise RecorderRefusedError(N_("The recorder says that the range is not valid (457)."))
        raise RecorderRefusedError(
            N_("The recorder answered %(method)s with %(status)s %(reason)s."),
            method=method,
            status=status,
            reason=answer.reason,
        )

    async def _ask(self, method: str, uri: str, headers: Sequence[tuple[str, str]]) -> Response:
        if self.ended.done():
            raise RecorderUnreachableError(N_("The recorder closed the replay connection."))
        waiting: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        sequence = self._send(method, uri, headers)
        self._waiting[sequence] = waiting
        try:
            async with asyncio.timeout(self.limits.response):
                return await waiting
        except TimeoutError as error:
            raise RecorderUnreachableError(
                N_("The recorder did not answer %(method)s in time."), method=method
            ) from error
        finally:
            self._waiting.pop(sequence, None)

    def _send(self, method: str, uri: str, headers: Sequence[tuple[str, str]]) -> int:
        self._sequence += 1
        lines = [f"{method} {uri} RTSP/1.0", f"CSeq: {self._sequence}", "User-Agent: diaoqu"]
        if self._session:
            lines.append(f"Session: {self._session}")
        if self._digest is not None:
            lines.append("Authorization: " + self._digest.header(method, uri))
        elif self._basic:
            lines.append("Authorization: " + DigestLogin.basic(self._login.username, self._login.password))
        lines += [f"{name}: {value}" for name, value in headers]
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace"))
        return self._sequence

    def _prepare_login(self, answer: Response, *, again: bool) -> bool:
        """Choose the strongest challenge; False when there is nothing (more) to try."""
        if not self._login.username:
            return False
        offers = [value for name, value in answer.headers if name == "www-authenticate"]
        challenge = Challenge.strongest(offers)
        if challenge is not None:
            if again and not challenge.stale:
                return False
            self._digest = DigestLogin(challenge, self._login.username, self._login.password)
            return True
        if any(offer.lower().startswith("basic") for offer in offers) and not again:
            if not self._login.allow_basic:
                raise RecorderRefusedError(
                    N_(
                        "The recorder accepts only Basic authentication, which sends the password in clear:"
                        " switch digest on in the recorder, or allow Basic for it."
                    )
                )
            self._basic = True
            return True
        return False

    # --- the wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._finish("eof" if exc is None else "cut")
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(RecorderUnreachableError(N_("The recorder closed the replay connection.")))

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        if not self._playing:
            self._heard = time.monotonic()
        self.bytes += len(data)
        self._owe(len(data))
        try:
            self._parse(self._rest + data if self._rest else data)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong must end the playback, not vanish in the loop
            self._fail(error)

    def _parse(self, data: bytes) -> None:
        position, size, footage = 0, len(data), False
        while size - position >= 4:
            if data[position] == 0x24:
                start = position + 4
                end = start + (data[position + 2] << 8 | data[position + 3])
                if end > size:
                    break
                if self._playing:
                    footage = footage or not data[position + 1] & 1
                    self.on_packet(data[position + 1], data, start, end)
                else:
                    self._keep_early(data[position + 1], data[start:end])
                position = end
                continue
            if data[position : position + 2] == b"\r\n":
                position += 2
                continue
            end = self._message(data, position)
            if end < 0:
                break
            position = end
        self._rest = data[position:]
        if footage or self._rest[:1] == b"$":  # answers to our own keep-alive are no footage
            self._heard = time.monotonic()

    def _keep_early(self, channel: int, packet: bytes) -> None:
        self._early.append((channel, packet))
        self._early_bytes += len(packet) + 64
        if self._early_bytes > MAX_EARLY:
            raise RecorderRefusedError(N_("The recorder sends footage before it was asked to."))

    def _message(self, data: bytes, start: int) -> int:
        """Read one RTSP message; the position after it, or -1 when it has not wholly arrived."""
        first = data[start]
        if not 0x41 <= first <= 0x5A:
            raise RecorderRefusedError(N_("The recorder sent something that is not RTSP."))
        stop = data.find(b"\r\n\r\n", start, start + MAX_HEADER)
        if stop < 0:
            if len(data) - start >= MAX_HEADER:
                raise RecorderRefusedError(N_("The recorder sent an RTSP header that is too long."))
            return -1
        lines = data[start:stop].decode("utf-8", "replace").split("\r\n")
        headers = []
        for line in lines[1:]:
            name, separator, value = line.partition(":")
            if separator:
                headers.append((name.strip().lower(), value.strip()))
        length = next((value for name, value in headers if name == "content-length"), "0")
        if not re.fullmatch(r"\d{1,7}", length) or int(length) > MAX_BODY:
            raise RecorderRefusedError(N_("The recorder sent an RTSP message that is too long."))
        end = stop + 4 + int(length)
        if end > len(data):
            return -1
        status = re.match(r"RTSP/1\.\d (\d{3}) ?(.{0,80})", lines[0])
        if status is not None:
            body = data[stop + 4 : end].decode("utf-8", "replace")
            reason = "".join(letter for letter in status[2] if letter.isprintable())
            self._answered(Response(int(status[1]), reason, tuple(headers), body))
        else:
            self._asked(lines[0].split(" ")[0], dict(headers).get("cseq", "0"))
        return end

    def _answered(self, answer: Response) -> None:
        sequence = answer.header("cseq")
        number = int(sequence) if re.fullmatch(r"\d{1,9}", sequence) else -1
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
        elif number == self._ping_sequence and answer.status in (405, 501):
            self._ping = "OPTIONS"

    def _asked(self, method: str, sequence: str) -> None:
        """The recorder asks something of us: on ANNOUNCE and TEARDOWN the range is over."""
        if self._transport is not None and not self._transport.is_closing():
            safe = sequence if re.fullmatch(r"\d{1,9}", sequence) else "0"
            self._transport.write(f"RTSP/1.0 200 OK\r\nCSeq: {safe}\r\n\r\n".encode())
        if method in ("ANNOUNCE", "TEARDOWN"):
            self._finish("teardown")

    async def _keep(self) -> None:
        """Keep the session alive and notice silence."""
        interval = max(1.0, self._session_timeout / 2)
        pinged = time.monotonic()
        while not self.ended.done():
            await asyncio.sleep(min(0.2, self.limits.stall / 4))
            now = time.monotonic()
            if not self._paused and not self.owing and now - self._heard > self.limits.stall:
                self._finish("stall")
            elif now - pinged > interval:
                pinged = now
                self._ping_sequence = self._send(self._ping, self._aggregate, [])

    def _finish(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    def _fail(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)


class OptionNotSupportedError(RecorderRefusedError):
    """The recorder answers 551: it does not know `Require: onvif-replay`."""
