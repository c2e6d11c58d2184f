"""A parsed form and its fields."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as default_of
from datetime import datetime
from decimal import Decimal
from typing import Any

from engine import expressions
from engine.errors import ExpressionError, FieldError, InvalidFormError
from engine.forms import validation
from engine.forms.conditions import Condition

INPUTS = frozenset(
    {"textfield", "textarea", "number", "checkbox", "checklist", "radio", "select", "taglist", "datetime"}
)
DISPLAYS = frozenset({"text", "group", "separator", "spacer"})


@dataclass(frozen=True)
class Option:
    """One choice. `value` is what is stored, `label` what is shown."""

    value: str
    label: str


@dataclass(frozen=True)
class Field:
    """One component of a form; those that take input have a `key`.

    From form-js: `type`, `label`, `description`, `text` (of a text component, Markdown), `subtype` (of a datetime:
    "date" or "datetime"), `default`, `options`, and the rules `required` … `increment`.
    From custom properties: `source` names the list of options that the caller supplies; `after` the field that must be
    earlier, `max_hours` the longest span from there (hours, or the name of a source that holds them); `past` and
    `future` bound a time by the present; `personal` data is stored encrypted; a `locked` field keeps the value that
    `prefill` (an expression over the process data) already has.
    """

    id: str
    type: str
    key: str = ""
    label: str = ""
    description: str = ""
    text: str = ""
    subtype: str = ""
    fields: tuple["Field", ...] = ()
    options: tuple[Option, ...] = ()
    source: str = ""
    default: Any = None
    required: bool = False
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    min_length: int = 0
    max_length: int = 500
    pattern: str = ""
    kind: str = ""
    decimals: int | None = None
    increment: Decimal | None = None
    after: str = ""
    max_hours: str = ""
    past: bool = False
    future: bool = False
    personal: bool = False
    locked: bool = False
    prefill: str = ""
    hide: Condition | None = None
    properties: Mapping[str, str] = default_of(default_factory=dict)

    @property
    def is_input(self) -> bool:
        return self.type in INPUTS

    @property
    def is_list(self) -> bool:
        return self.type in ("checklist", "taglist")

    def choices(self, sources: Mapping[str, Sequence[Option]]) -> Sequence[Option]:
        """The options to offer: its own, or those of its source (none when the caller knows no such source)."""
        return sources.get(self.source, ()) if self.source else self.options


@dataclass(frozen=True)
class Form:
    """`fields` are the top-level components in order (a group has its own); `inputs` are all that take input."""

    id: str
    file: str
    fields: tuple[Field, ...]

    @property
    def inputs(self) -> tuple[Field, ...]:
        return tuple(field for field in self.walk() if field.is_input)

    def walk(self) -> Iterator[Field]:
        """Every component, a group before its content."""
        pending = list(reversed(self.fields))
        while pending:
            found = pending.pop()
            yield found
            pending.extend(reversed(found.fields))

    def _checkboxes(self) -> Iterator[Field]:
        return (field for field in self.walk() if field.type == "checkbox")

    def field(self, key: str) -> Field | None:
        return next((field for field in self.inputs if field.key == key), None)

    def visible(self, field: Field, data: Mapping[str, Any]) -> bool:
        """Whether `field` is shown for `data`: neither it nor a group around it is hidden.

        A hidden field counts as empty in the conditions of the others.
        """
        return field.id not in self.hidden(data)

    def hidden(self, data: Mapping[str, Any]) -> frozenset[str]:
        """The ids of all components that `data` hides."""
        hidden: frozenset[str] = frozenset()
        data = {**data, **{field.key: validation.ticked(data.get(field.key)) for field in self._checkboxes()}}
        keys = {field.id: field.key for field in self.walk() if field.key}
        # Hiding a field may show another one; settles after as many rounds as fields depend on one another.
        for _ in range(len(keys) + 1):
            gone = {keys[identity] for identity in hidden if identity in keys}
            shown = {key: value for key, value in data.items() if key not in gone}
            found = frozenset(_hidden(self.fields, shown, outer=False))
            if found == hidden:
                break
            hidden = found
        return hidden

    def initial(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """What the empty form shows: defaults, and the values of the `from` expressions that `names` can answer."""
        values = {field.key: _initial(field, names) for field in self.inputs}
        return {key: value for key, value in values.items() if value is not None}

    def validate(
        self,
        data: Mapping[str, Any],
        *,
        sources: Mapping[str, Sequence[Option]],
        now: datetime,
        names: Mapping[str, Any] | None = None,
        opened: Callable[[Any], Any] = lambda value: value,
    ) -> dict[str, Any]:
        """The clean values of all visible fields; what the form does not define or does not show is dropped.

        An empty field becomes None, an empty list [], an unticked checkbox False. Times stay ISO 8601 with their
        offset. A locked field that already has a value in `names` keeps that one, whatever `data` says; personal data
        lies there encrypted, and `opened` decrypts it.

        Raises:
            InvalidFormError: lists every field that is wrong (P2: span, past, limit).
        """
        given = dict(data)
        for field in self.inputs:
            kept = _initial(field, names or {}, default=not field.prefill) if field.locked else None
            if kept is not None:
                given[field.key] = opened(kept) if field.personal else kept
        hidden = self.hidden(given)
        clean: dict[str, Any] = {}
        errors: dict[str, FieldError] = {}
        for field in self.inputs:
            if field.id in hidden:
                continue
            try:
                clean[field.key] = validation.clean(field, given.get(field.key), field.choices(sources), now)
            except validation.RefusedValue as refused:
                errors[field.key] = refused.error
        for field in self.inputs:
            if field.after and clean.get(field.key) and clean.get(field.after):
                error = validation.span_error(
                    field, clean[field.after], clean[field.key], _limit(field, sources, names or {})
                )
                if error is not None:
                    errors[field.key] = error
        if errors:
            raise InvalidFormError(errors)
        return clean


def _initial(field: Field, names: Mapping[str, Any], *, default: bool = True) -> Any:
    if field.prefill:
        try:
            found = expressions.evaluate(field.prefill, names)
        except ExpressionError:
            found = None  # what it reads does not exist yet; deployment has checked the expression itself
        if found is not None:
            return found
    return field.default if default else None


def _hidden(fields: Sequence[Field], data: Mapping[str, Any], *, outer: bool) -> Iterator[str]:
    for field in fields:
        gone = outer or (field.hide is not None and field.hide.holds(data))
        if gone:
            yield field.id
        yield from _hidden(field.fields, data, outer=gone)


def _limit(field: Field, sources: Mapping[str, Sequence[Option]], names: Mapping[str, Any]) -> float | None:
    """The longest span in hours; None when there is no limit."""
    if not field.max_hours:
        return None
    found: Any = field.max_hours
    if field.max_hours in sources:
        found = next((option.value for option in sources[field.max_hours]), None)
    elif field.max_hours in names:
        found = names[field.max_hours]
    try:
        return float(found)
    except (TypeError, ValueError):
        # A limit that cannot be found out must not mean "no limit".
        return 0.0
