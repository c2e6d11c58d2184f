"""Just enough HTTP/1.1 for SOAP: POST with a length, kept-alive connections, digest challenges."""

import asyncio
import re

from device.simulator import control, device_answers, recording_answers, search, soap
from device.simulator.recorder import SimulatedRecorder

_MAX_BODY = 1024 * 1024
_IDLE_SECONDS = 60
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    500: "Internal Server Error",
}
SERVICES = (device_answers, recording_answers, search)
"""Importing them registers their operations."""


_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?")


def is_count(text: str) -> bool:
    """Whether a header's text is a plain number of a length that is worth reading."""
    return text.isascii() and text.isdigit() and len(text) < 12


async def serve(recorder: SimulatedRecorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection until the client leaves or is silent for a minute."""
    try:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                keep = await _serve_one(recorder, reader, writer)
            if not keep:
                return
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
        return


async def _serve_one(recorder: SimulatedRecorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    method, _, rest = first.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    length = headers.get("content-length", "0" if path == control.PATH and method == "GET" else "")
    if not is_count(length):
        await _send(writer, 405 if method != "POST" else 411)
        return False
    if int(length) > _MAX_BODY:
        await _send(writer, 413)
        return False
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(length))
    if path == control.PATH:
        status, content = control.answer(recorder, method, body)
        await _send(writer, status, content, kind="application/json", keep=True)
        return True
    if method != "POST":
        await _send(writer, 405)
        return False
    if path.removeprefix("/onvif/") not in device_answers.PATHS.values():
        await _send(writer, 404)
        return False
    host = headers.get("host", "")
    host = host if _HOST.fullmatch(host) else "127.0.0.1"
    if recorder.faults.slow_soap:
        await asyncio.sleep(recorder.faults.slow_soap)
    status, content, challenge = soap.answer(recorder, body, host, headers.get("authorization", ""))
    await _send(writer, status, content, recorder.gatekeeper.challenges() if challenge else [], keep=True)
    return headers.get("connection", "").lower() != "close"


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    content: bytes = b"",
    challenges: list[str] | None = None,
    *,
    kind: str = "application/soap+xml; charset=utf-8",
    keep: bool = False,
) -> None:
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"Content-Length: {len(content)}"]
    lines += [f"Content-Type: {kind}"] if content else []
    lines += [f"WWW-Authenticate: {challenge}" for challenge in challenges or ()]
    lines += [] if keep else ["Connection: close"]
    lines += ["Allow: POST"] if status == 405 else []
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + content)
    await writer.drain()
