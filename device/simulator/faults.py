"""What the simulated recorder does wrong, on demand: the habits of real recorders that clients must live with.

A `Faults` is one whole set; it is given at the start (`--fault`), or replaced while the recorder runs, at its control
address (`control.py`). All times are on the recorder's clock.
"""

import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal, Self, get_args

Ending = Literal["sound", "bye", "late_bye", "terminal", "past_end", "announce", "teardown", "eof", "silence"]
"""How a replay ends. `sound`: T bit, then BYE, as the standard has it. `bye`: BYE alone; `late_bye`: the same after
0.6 s. `terminal`: the T bit alone, then silence. `past_end`: the end of the range is ignored. `announce`,
`teardown`: a request from the recorder. `eof`: the connection is closed. `silence`: nothing at all.
"""
ENDINGS: tuple[str, ...] = get_args(Ending)

_MISHAP = re.compile(r"(cut|stall):(\d{1,12})|busy|sound")


class UnknownFaultError(Exception):
    """There is no such fault, or its value makes no sense."""


@dataclass(frozen=True)
class Faults:
    """The faults at work; without any argument there are none.

    `plays` says what happens to the first, second, … PLAY: `cut:N` closes the connection after N bytes of the replay,
    `stall:N` falls silent there, `busy` answers 453, `sound` does nothing; all further ones are sound.
    `loss`, `reorder` and `duplicate` are shares (0 to 1) of the RTP packets, drawn with `seed`.
    """

    plays: tuple[str, ...] = ()
    ending: Ending = "sound"
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    seed: int = 1
    no_extension: bool = False
    """The RTP packets carry no 0xABAC extension, whatever the client requires."""
    no_reports: bool = False
    """No RTCP sender reports."""
    no_section_bits: bool = False
    """The bits E and T are never set."""
    counters_wrap: bool = False
    """Sequence numbers and RTP times begin just before they wrap."""
    sources: float = 0.0
    """A new SSRC, with new sequence numbers, after each so many seconds of footage."""
    gaps: tuple[str, ...] = ()
    """Stretches that were never recorded, as "BEGIN/END" (ISO 8601), widened to whole groups of pictures."""
    clock_offset: float = 0.0
    """Seconds that the recorder's clock is ahead, besides its usual offset."""
    clock_drift: float = 0.0
    """Parts per million by which the recorder's clock runs fast since it was started."""
    time_zone: float = 0.0
    """Hours that the recorder takes local time for UTC: all its times are so far ahead."""
    clock_step_at: str = ""
    """The clock was set when it showed this (ISO 8601) …"""
    clock_step: float = 0.0
    """… by so many seconds: DST, or an NTP correction in the middle of the footage."""
    soap_faults: tuple[str, ...] = ()
    """Operations ("tse:FindEvents") that are answered with a fault; "*" stands for all."""
    slow_soap: float = 0.0
    """Seconds before each SOAP answer."""
    login_loop: bool = False
    """Whatever the credentials are: 401 with a fresh challenge, for SOAP and RTSP."""
    nat: str = ""
    """The host that XAddr and replay addresses name: the recorder's own, behind NAT."""
    midnight_24: bool = False
    """Times at midnight are written 24:00:00Z of the day before."""

    def __post_init__(self) -> None:
        for mishap in self.plays:
            if not _MISHAP.fullmatch(mishap):
                raise UnknownFaultError(f"plays: {mishap!r} is none of cut:BYTES, stall:BYTES, busy, sound")
        if self.ending not in ENDINGS:
            raise UnknownFaultError(f"ending: {self.ending!r} is none of {', '.join(ENDINGS)}")
        for name in ("loss", "reorder", "duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise UnknownFaultError(f"{name} is a share between 0 and 1")
        for name in ("slow_soap", "sources"):
            if not 0 <= getattr(self, name) <= 86_400:
                raise UnknownFaultError(f"{name} is a number of seconds of at most a day")
        for name in ("clock_offset", "clock_step", "clock_drift", "time_zone"):
            if not abs(getattr(self, name)) <= 1e7:
                raise UnknownFaultError(f"{name} is too much")
        if self.nat and not re.fullmatch(r"[A-Za-z0-9.\-]{1,253}", self.nat):
            raise UnknownFaultError(f"nat: {self.nat!r} is no host name")
        if self.clock_step_at:
            _instant(self.clock_step_at)
        for begins, ends in self.unrecorded:
            if begins >= ends:
                raise UnknownFaultError("gaps: a stretch ends after it begins")

    # --- from outside

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Raises UnknownFaultError: an unknown name, or a value of the wrong kind."""
        kinds = typing.get_type_hints(cls)
        found: dict[str, Any] = {}
        for name, value in given.items():
            if name not in kinds:
                raise UnknownFaultError(f"there is no fault {name!r}: use one of {', '.join(kinds)}")
            found[name] = _typed(name, kinds[name], value)
        return cls(**found)

    @classmethod
    def parse(cls, items: Iterable[str]) -> Self:
        """From the command line: `name=value`, or `name` alone for a switch; lists are comma-separated.

        Raises UnknownFaultError.
        """
        kinds = typing.get_type_hints(cls)
        given: dict[str, Any] = {}
        for item in items:
            name, equals, text = item.partition("=")
            name = name.strip().replace("-", "_")
            kind = kinds.get(name)
            if isinstance(kind, types.GenericAlias):
                given[name] = [part.strip() for part in text.split(",") if part.strip()]
            elif kind is bool:
                given[name] = text.lower() in ("", "1", "true", "yes") if equals else True
            elif kind in (int, float):
                try:
                    given[name] = float(text)
                except ValueError as error:
                    raise UnknownFaultError(f"{name}: {text!r} is no number") from error
            else:
                given[name] = text
        return cls.from_json(given)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def names() -> list[str]:
        return [each.name for each in fields(Faults)]

    @property
    def unrecorded(self) -> list[tuple[int, int]]:
        """The gaps in microseconds since 1970, in order."""
        found = []
        for each in self.gaps:
            begins, slash, ends = each.partition("/")
            if not slash:
                raise UnknownFaultError(f"gaps: {each!r} is no BEGIN/END")
            found.append((_instant(begins), _instant(ends)))
        return sorted(found)

    # --- the clock that was set

    @property
    def step(self) -> tuple[int, int] | None:
        """When the clock was set, and by how much, in microseconds; None when it never was."""
        if not self.clock_step_at or not self.clock_step:
            return None
        return _instant(self.clock_step_at), round(self.clock_step * 1_000_000)

    def shown(self, count: int) -> int:
        """What the recorder's clock showed at an instant of the footage."""
        step = self.step
        return count + step[1] if step is not None and count >= step[0] else count

    def filmed(self, start: int, end: int) -> tuple[int, int]:
        """The footage of a range as the clock showed it: from its first frame to its last, also of an hour that came
        twice; empty (start = end) when the clock jumped over the range.
        """
        step = self.step
        if step is None:
            return start, end
        at, by = step
        begins = start if start < at else max(at, start - by)
        ends = end - by if end - by > at else min(end, at)
        return begins, max(begins, ends)


def _typed(name: str, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.GenericAlias):
        if isinstance(value, list | tuple) and len(value) <= 1000 and all(isinstance(each, str) for each in value):
            return tuple(value)
    elif kind is bool:
        if isinstance(value, bool):
            return value
    elif kind is int or kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return kind(value)
    elif isinstance(value, str):
        return value
    raise UnknownFaultError(f"{name}: {value!r} is of the wrong kind")


def _instant(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UnknownFaultError(f"{text!r} is no ISO 8601 time") from error
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return int(at.timestamp() * 1_000_000)
