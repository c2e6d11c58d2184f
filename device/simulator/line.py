"""The wire of one replay, and what goes wrong on it: packets lost, overtaken, doubled; the connection cut or silent."""

import asyncio
import random
from typing import Self

from device.simulator.faults import Faults


class LineEndedError(Exception):
    """The connection was cut on purpose."""


class Line:
    """Takes interleaved packets and hands them to the client, as bad as `faults` want it. `mishap` is of this PLAY."""

    def __init__(self, writer: asyncio.StreamWriter, faults: Faults, mishap: str) -> None:
        self._writer = writer
        self._faults = faults
        kind, _, after = mishap.partition(":")
        self._kind = kind if after else ""
        self._room = int(after or 0)
        self._chance = random.Random(faults.seed)
        self._overtaken = b""
        self._mangles = bool(faults.loss or faults.reorder or faults.duplicate)
        self.dropped = 0

    @classmethod
    def sound(cls, writer: asyncio.StreamWriter) -> Self:
        return cls(writer, Faults(), "sound")

    def mangled(self, packets: bytes) -> bytes:
        """Whole interleaved RTP packets, less the lost ones, some doubled, some behind their successor."""
        if not self._mangles:
            return packets
        faults, chance, out, at = self._faults, self._chance, bytearray(), 0
        while at < len(packets):
            end = at + 4 + int.from_bytes(packets[at + 2 : at + 4], "big")
            packet, at = packets[at:end], end
            if chance.random() < faults.loss:
                self.dropped += 1
                continue
            if not self._overtaken and chance.random() < faults.reorder:
                self._overtaken = packet
                continue
            out += packet
            if chance.random() < faults.duplicate:
                out += packet
            out += self._overtaken
            self._overtaken = b""
        return bytes(out)

    def rest(self) -> bytes:
        """The packet that still waits to be overtaken."""
        rest, self._overtaken = self._overtaken, b""
        return rest

    def hand_over(self, batch: bytes | bytearray) -> None:
        """Give the batch to the connection, up to where it breaks; `settle` then lets it break."""
        if self._kind:
            batch = batch[: self._room] if self._kind == "cut" else self._whole(batch)
            self._room -= len(batch)
        if batch:
            self._writer.write(batch)

    def _whole(self, batch: bytes | bytearray) -> bytes | bytearray:
        """As many whole packets as there is room for; behind them there is none: a stalled recorder still answers."""
        at = 0
        while at < len(batch):
            end = at + 4 + int.from_bytes(batch[at + 2 : at + 4], "big")
            if end > self._room:
                self._room = at
                break
            at = end
        return batch[:at]

    async def settle(self) -> None:
        """Wait until the client has taken most of what was handed over.

        Raises:
            LineEndedError: this is where the connection was to be cut. A stall never returns.
        """
        if self._kind and self._room <= 0:
            if self._kind == "stall":
                await asyncio.Event().wait()
            raise LineEndedError
        await self._writer.drain()
        # drain() returns at once while there is room: give the requests on this connection their turn.
        await asyncio.sleep(0)

    def close(self) -> None:
        """Close the connection behind what was handed over."""
        self._writer.close()

    def ask(self, method: str, url: str) -> None:
        """Send the client a request of the recorder's own."""
        self._writer.write(f"{method} {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
