"""Times in expressions: ISO 8601 text with an offset; durations as ISO 8601 (`P1D`, `PT12H`)."""

import calendar
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.errors import N_
from engine.expressions.values import Refusal

_AT: ContextVar[datetime | None] = ContextVar("time of the step", default=None)

_DURATION = re.compile(
    r"(?P<sign>-)?P(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,5})M)?(?:(?P<weeks>\d{1,5})W)?(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?:(?P<hours>\d{1,7})H)?(?:(?P<minutes>\d{1,8})M)?(?:(?P<seconds>\d{1,9}(?:\.\d{1,6})?)S)?)?",
    re.ASCII,
)


@contextmanager
def at(instant: datetime) -> Iterator[None]:
    """Evaluate what happens inside at `instant`, which `now()` then gives. The kernel sets the time of the input.

    Raises:
        ValueError: `instant` has no timezone.
    """
    if instant.tzinfo is None:
        raise ValueError("expressions know aware times only")
    token = _AT.set(instant.astimezone(UTC))
    try:
        yield
    finally:
        _AT.reset(token)


def now() -> str:
    """The time of the step, in UTC. Not the wall clock: a re-execution must see the same."""
    instant = _AT.get()
    if instant is None:
        raise Refusal(N_("now() is known only inside a step (line %(line)s, column %(column)s)."))
    return instant.isoformat()


def moment(value: Any) -> datetime:
    """The instant that an ISO 8601 text with an offset names."""
    if type(value) is str and len(value) <= 40:
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            parsed = None
        if parsed is not None and parsed.tzinfo is not None:
            return parsed
    raise Refusal(
        N_("%(value)s is not a time with an offset (line %(line)s, column %(column)s)."), value=repr(value)[:60]
    )


def parse_time(value: Any) -> str:
    """The same instant in UTC, so that times compare as text."""
    return _iso(moment(value), to_utc=True)


def hours_between(start: Any, end: Any) -> float:
    """Hours from `start` to `end`; negative when `end` is earlier."""
    return (moment(end) - moment(start)) / timedelta(hours=1)


def before(first: Any, second: Any) -> bool:
    """Whether `first` is earlier than `second`, whatever their offsets."""
    return moment(first) < moment(second)


def add_time(value: Any, duration: Any) -> str:
    """`value` moved by an ISO 8601 duration, in the same offset. A month ends no later than its last day."""
    start = moment(value)
    months, rest = split_duration(duration)
    try:
        total = start.year * 12 + start.month - 1 + months
        year, month = divmod(total, 12)
        day = min(start.day, calendar.monthrange(year, month + 1)[1])
        return _iso(start.replace(year=year, month=month + 1, day=day) + rest)
    except (ValueError, OverflowError, calendar.IllegalMonthError):
        raise Refusal(N_("The time is out of range (line %(line)s, column %(column)s).")) from None


def split_duration(value: Any) -> tuple[int, timedelta]:
    """The calendar months and the fixed time of an ISO 8601 duration."""
    found = _DURATION.fullmatch(value) if type(value) is str and len(value) <= 60 else None
    if found is None or not any(found[name] for name in found.groupdict() if name != "sign") or value.endswith("T"):
        raise Refusal(
            N_("%(value)s is not a duration like P1D or PT12H (line %(line)s, column %(column)s)."),
            value=repr(value)[:60],
        )
    part = {name: float(text or 0) for name, text in found.groupdict().items() if name != "sign"}
    months = int(part["years"]) * 12 + int(part["months"])
    rest = timedelta(
        weeks=part["weeks"],
        days=part["days"],
        hours=part["hours"],
        minutes=part["minutes"],
        seconds=part["seconds"],
    )
    return (-months, -rest) if found["sign"] else (months, rest)


def _iso(instant: datetime, *, to_utc: bool = False) -> str:
    try:
        return (instant.astimezone(UTC) if to_utc else instant).isoformat()
    except OverflowError:
        raise Refusal(N_("The time is out of range (line %(line)s, column %(column)s).")) from None
