"""Server rendering of form-js definitions: the page works without a script, a script only makes it quicker.

`fields` prepares what templates/components/form.html draws, `read` turns what was posted back into form data, `sheet`
shows data that was submitted. Times are typed on the wall clock of the company and get its offset here; the engine
refuses naive times.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from markupsafe import Markup, escape
from werkzeug.datastructures import MultiDict

from engine import personal
from engine.errors import FieldError
from engine.forms import Field, Form, Option
from web.i18n import ZONE, _, format_date, format_time, local, told

Values = Mapping[str, Any]

TYPED = frozenset({"textfield", "textarea", "number", "datetime"})
"""What people type; of what they choose, a list of few, a mask hides nothing."""

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)")
"""An instant that the process wrote into a text."""


@dataclass(frozen=True)
class Choice:
    value: str
    label: str
    chosen: bool
    place: str = ""
    retention_days: int = 0


@dataclass(frozen=True)
class Shown:
    """One component as the template draws it. `hide` is the condition for the page's script, as JSON."""

    field: Field
    id: str
    label: str
    help: str
    value: Any
    error: str
    hidden: bool
    hide: str
    fixed: str | None
    choices: tuple[Choice, ...]
    columns: int
    markup: Markup
    fields: tuple["Shown", ...]

    @property
    def described_by(self) -> str:
        ids = [f"{self.id}-error"] if self.error else []
        return " ".join([*ids, f"{self.id}-help"] if self.help else ids)

    @property
    def inline(self) -> bool:
        """Whether few and short choices fit on a line."""
        return sum(len(choice.label.encode()) + 12 for choice in self.choices) < 220

    @property
    def by_place(self) -> list[tuple[str, list[Choice]]]:
        found: dict[str, list[Choice]] = {}
        for choice in self.choices:
            found.setdefault(choice.place, []).append(choice)
        return list(found.items())


class Sheet:
    """Everything that drawing a form needs to know; see `fields`."""

    def __init__(
        self,
        form: Form,
        *,
        values: Values,
        errors: Mapping[str, FieldError] | None = None,
        sources: Mapping[str, Sequence[Option]] | None = None,
        labels: Mapping[str, str] | None = None,
        places: Mapping[str, Mapping[str, Any]] | None = None,
        names: Values | None = None,
    ) -> None:
        self.form = form
        self.values = values
        self.errors = dict(errors or {})
        self.sources = sources or {}
        self.labels = labels or {}
        self.places = places or {}
        self.kept = form.initial(names or {})
        self.hidden = form.hidden({**values, **self._locked()})

    def _locked(self) -> dict[str, Any]:
        return {
            field.key: self.kept[field.key] for field in self.form.inputs if field.locked and field.key in self.kept
        }

    def fields(self) -> list[Shown]:
        """The top-level components in order; groups carry their own in `.fields`."""
        return [self._shown(field) for field in self.form.fields]

    def error_list(self) -> list[tuple[str, str, str]]:
        """(id of the input, label, message) for the summary, in the order of the form."""
        found = []
        for field in self.form.inputs:
            if field.key in self.errors:
                error = self.errors[field.key]
                found.append((input_id(field), self.say(field.label), told(error)))
        return found

    def say(self, text: str) -> str:
        return self.labels.get(text, text)

    def _shown(self, field: Field) -> Shown:
        value = self.values.get(field.key) if field.key else None
        fixed = None
        if field.locked and field.key in self.kept:
            fixed = display(field, self.kept[field.key], self.sources, self.labels)
        error = self.errors.get(field.key) if field.key else None
        return Shown(
            field=field,
            id=input_id(field),
            label=self.say(field.label),
            help=self.say(field.description),
            value=_for_input(field, value),
            error=told(error) if error else "",
            # What only its group hides says nothing itself: the script shows the group and would leave it hidden.
            hidden=field.hide is not None and field.id in self.hidden,
            hide=orjson.dumps(field.hide.to_json()).decode() if field.hide else "",
            fixed=fixed,
            choices=tuple(self._choices(field, value)),
            columns=_columns(field),
            markup=markdown(self.say(field.text)) if field.type == "text" else Markup(),
            fields=tuple(self._shown(inner) for inner in field.fields),
        )

    def _choices(self, field: Field, value: Any) -> Iterator[Choice]:
        chosen = {str(item) for item in value} if isinstance(value, list | tuple) else {str(value)}
        for option in field.choices(self.sources):
            known = self.places.get(option.value, {}) if field.source == "cameras" else {}
            yield Choice(
                option.value,
                self.say(option.label),
                option.value in chosen,
                str(known.get("place", "")),
                int(known.get("retention_days", 0)),
            )


def input_id(field: Field) -> str:
    return f"field-{field.key or field.id}"


def _columns(field: Field) -> int:
    """Of 16: short inputs share a line, everything else has its own."""
    if field.type in {"number", "datetime", "select", "textfield"}:
        return 8
    return 16


def _for_input(field: Field, value: Any) -> Any:
    if field.type != "datetime" or not isinstance(value, str) or not value:
        return value
    try:
        if field.subtype == "date":
            return value[:10]
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo is None else local(moment)).strftime("%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return value  # shown as typed, beside the error


def read(form: Form, posted: MultiDict[str, str]) -> dict[str, Any]:
    """Form data from a posted page: what the form defines and nothing else, times with offset, not yet checked."""
    data: dict[str, Any] = {}
    for field in form.inputs:
        if field.is_list:
            data[field.key] = posted.getlist(field.key)
        elif field.type == "checkbox":
            data[field.key] = field.key in posted
        elif field.key in posted:
            value = posted[field.key]
            data[field.key] = with_offset(value) if field.type == "datetime" and field.subtype != "date" else value
    return data


def with_offset(value: str) -> str:
    """`2026-02-01T10:00` as typed into a page → the same wall clock with the company's offset."""
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return value
    return value if moment.tzinfo else moment.replace(tzinfo=ZONE).isoformat()


def display(
    field: Field,
    value: Any,
    sources: Mapping[str, Sequence[Option]] | None = None,
    labels: Mapping[str, str] | None = None,
    *,
    masked: bool = True,
) -> str:
    """A submitted value as people read it: labels of choices, local times, the numbers in personal data masked."""
    if value is None or value == "" or value == []:
        return ""
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if field.personal and masked and field.type in TYPED:
        return str(personal.masked(str(value)))
    if field.type == "datetime" or (isinstance(value, str) and INSTANT.fullmatch(value)):
        try:
            return format_date(value) if field.subtype == "date" else format_time(value, seconds=True)
        except ValueError:
            return str(value)
    known = {option.value: option.label for option in field.choices(sources or {})}
    if isinstance(value, list):
        return _(", ").join(_label(known, str(item), labels) for item in value)
    return _label(known, str(value), labels)


def _label(known: Mapping[str, str], value: str, labels: Mapping[str, str] | None) -> str:
    text = known.get(value, value)
    return (labels or {}).get(text, text)


def sheet(
    form: Form,
    data: Values,
    sources: Mapping[str, Sequence[Option]] | None = None,
    labels: Mapping[str, str] | None = None,
    *,
    masked: bool = True,
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Submitted data as sections of (title, [(label, value)]); hidden and empty fields are left out."""
    names = labels or {}
    hidden = form.hidden(data)
    loose: list[tuple[str, str]] = []
    sections: list[tuple[str, list[tuple[str, str]]]] = [("", loose)]

    def add(fields: Sequence[Field], lines: list[tuple[str, str]]) -> None:
        for field in fields:
            if field.id in hidden:
                continue
            if field.type == "group":
                inner: list[tuple[str, str]] = []
                sections.append((names.get(field.label, field.label), inner))
                add(field.fields, inner)
            elif field.is_input and (text := display(field, data.get(field.key), sources, labels, masked=masked)):
                lines.append((names.get(field.label, field.label), text))

    add(form.fields, loose)
    return [section for section in sections if section[1]]


def markdown(text: str) -> Markup:
    """The little Markdown that forms use: paragraphs, lists, headings, bold, code. Everything else is text."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        if all(re.match(r"\s*[-*] ", line) for line in lines) and lines:
            items = Markup("").join(Markup("<li>{}</li>").format(_inline(line.lstrip()[2:])) for line in lines)
            blocks.append(Markup("<ul>{}</ul>").format(items))
        elif heading := re.match(r"(#{1,4}) +(.*)", block):
            blocks.append(Markup("<h3>{}</h3>").format(_inline(heading[2])))
        elif block.strip():
            blocks.append(Markup("<p>{}</p>").format(Markup("<br>").join(_inline(line) for line in lines)))
    return Markup("").join(blocks)


def _inline(text: str) -> Markup:
    safe = str(escape(text))
    safe = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return Markup(safe)  # noqa: S704 - escaped above; only the tags written here are added
