"""What one field accepts. Clause P2 (span, not in the future, not longer than the limit) is checked here."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from engine.errors import N_, FieldError

if TYPE_CHECKING:
    from engine.forms.model import Field, Option

MAX_CHOICES = 200
MAX_NUMBER = Decimal(10) ** 15
ZONE = ZoneInfo("Asia/Shanghai")
"""Where a date without a time is meant; the procedure's only place."""

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(?:\.[^@\s.]+)+")
_PHONE = re.compile(r"\+?[0-9][0-9 ()-]{4,24}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029\ud800-\udfff]")


class RefusedValue(Exception):
    """Never leaves this package: `Form.validate` collects the errors of all fields."""

    def __init__(self, template: str, params: Mapping[str, Any] | None = None) -> None:
        self.error = FieldError(template, params or {})
        super().__init__(template)


def clean(field: "Field", value: Any, choices: Sequence["Option"], now: datetime) -> Any:
    """`value` in the one form that is stored. Raises RefusedValue."""
    if isinstance(value, str):
        value = _text(value)
    if field.type == "checkbox":
        return _checkbox(field, value)
    if value is None or value in ("", []):
        if field.required:
            raise RefusedValue(N_("This field is required."))
        return [] if field.is_list else None
    match field.type:
        case "textfield" | "textarea":
            return _text_field(field, value)
        case "number":
            return _number(field, value)
        case "radio" | "select":
            return _choice(value, choices)
        case "checklist" | "taglist":
            return _choices(value, choices)
        case _:
            return _time(field, value, now)


def _text(value: str) -> str:
    value = value.replace("\r\n", "\n").replace("\r", "\n").strip()
    if _CONTROL.search(value):
        raise RefusedValue(N_("The text contains characters that cannot be stored."))
    return value


def ticked(value: Any) -> bool | None:
    """A checkbox as a page or a program sends it; None when it is neither ticked nor not."""
    if value is True or value in ("true", "on"):
        return True
    return False if value is False or value in (None, "", "false") else None


def _checkbox(field: "Field", value: Any) -> bool:
    tick = ticked(value)
    if tick is None:
        raise RefusedValue(N_("This is either ticked or not."))
    if field.required and not tick:
        raise RefusedValue(N_("Please tick this box to confirm."))
    return tick


def _text_field(field: "Field", value: Any) -> str:
    if not isinstance(value, str):
        raise RefusedValue(N_("Please enter text."))
    if field.type == "textfield" and "\n" in value:
        raise RefusedValue(N_("Please enter one line only."))
    if len(value) < field.min_length:
        raise RefusedValue(N_("At least %(limit)s characters."), {"limit": field.min_length})
    if len(value) > field.max_length:
        raise RefusedValue(N_("At most %(limit)s characters."), {"limit": field.max_length})
    if field.kind == "email" and not _EMAIL.fullmatch(value):
        raise RefusedValue(N_("This is not an e-mail address."))
    if field.kind == "phone" and not _PHONE.fullmatch(value):
        raise RefusedValue(N_("This is not a telephone number."))
    if field.pattern and not re.search(field.pattern, value):
        raise RefusedValue(N_("This does not have the expected form."))
    return value


def _number(field: "Field", value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)[:41]) > 40:
        raise RefusedValue(N_("Please enter a number."))
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise RefusedValue(N_("Please enter a number.")) from None
    if not number.is_finite() or abs(number) > MAX_NUMBER:
        raise RefusedValue(N_("Please enter a number."))
    exponent = number.normalize().as_tuple().exponent
    places = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    if field.decimals is not None and places > field.decimals:
        raise RefusedValue(N_("At most %(limit)s decimal places."), {"limit": field.decimals})
    if places > 15:
        raise RefusedValue(N_("At most %(limit)s decimal places."), {"limit": 15})
    if field.minimum is not None and number < field.minimum:
        raise RefusedValue(N_("At least %(limit)s."), {"limit": str(field.minimum)})
    if field.maximum is not None and number > field.maximum:
        raise RefusedValue(N_("At most %(limit)s."), {"limit": str(field.maximum)})
    if field.increment is not None and number % field.increment:
        raise RefusedValue(N_("Must be a multiple of %(step)s."), {"step": str(field.increment)})
    return int(number) if number == number.to_integral_value() else float(number)


def _choice(value: Any, choices: Sequence["Option"]) -> str:
    if not isinstance(value, str) or all(option.value != value for option in choices):
        raise RefusedValue(N_("Please choose from the list."))
    return value


def _choices(value: Any, choices: Sequence["Option"]) -> list[str]:
    many = [value] if isinstance(value, str) else value
    if not isinstance(many, list):
        raise RefusedValue(N_("Please choose from the list."))
    if len(many) > MAX_CHOICES:
        raise RefusedValue(N_("At most %(limit)s entries."), {"limit": MAX_CHOICES})
    if any(not isinstance(item, str) for item in many):
        raise RefusedValue(N_("Please choose from the list."))
    allowed = {option.value for option in choices}
    unknown = next((item for item in many if item not in allowed), None)
    if unknown is not None:
        raise RefusedValue(N_("%(value)s is not in the list."), {"value": unknown[:60]})
    return list(dict.fromkeys(many))


def _time(field: "Field", value: Any, now: datetime) -> str:
    if field.subtype == "date":
        day = _date(value)
        today = now.astimezone(ZONE).date()
        if field.past and day > today:
            raise RefusedValue(N_("This must not lie in the future."))
        if field.future and day < today:
            raise RefusedValue(N_("This must not lie in the past."))
        return day.isoformat()
    moment = _moment(value)
    if field.past and moment > now:
        raise RefusedValue(N_("This must not lie in the future."))
    if field.future and moment < now:
        raise RefusedValue(N_("This must not lie in the past."))
    return moment.isoformat()


def _date(value: Any) -> date:
    try:
        found = date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else None
    except ValueError:
        found = None
    if found is None or not 1900 <= found.year <= 2999:
        raise RefusedValue(N_("This is not a date."))
    return found


def _moment(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) and len(value) <= 40 else None
    except ValueError:
        found = None
    if found is None or not 1900 <= found.year <= 2999:
        raise RefusedValue(N_("This is not a date and time."))
    if found.tzinfo is None:
        raise RefusedValue(N_("The time lacks its offset from UTC."))
    return found


def span_error(field: "Field", start: str, end: str, limit: float | None) -> FieldError | None:
    """Why `end` cannot be the end of a span from `start`; both are clean values of the same subtype."""
    if field.subtype == "date":
        length: timedelta = date.fromisoformat(end) - date.fromisoformat(start)
        if length < timedelta(0):
            return FieldError(N_("The end must be later than the start."), {})
    else:
        length = datetime.fromisoformat(end).astimezone(UTC) - datetime.fromisoformat(start).astimezone(UTC)
        if length <= timedelta(0):
            return FieldError(N_("The end must be later than the start."), {})
    if limit is not None and length > timedelta(hours=limit):
        return FieldError(N_("The span is longer than %(hours)s hours."), {"hours": f"{limit:g}"})
    return None
