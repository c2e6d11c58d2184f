"""Reads form-js JSON. Everything that the server could not check later is a problem now."""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from engine import expressions
from engine.errors import DefinitionError, Problem
from engine.forms.conditions import parse_condition
from engine.forms.model import DISPLAYS, INPUTS, Field, Form, Option

MAX_BYTES = 1_000_000
MAX_FIELDS = 200
MAX_OPTIONS = 200
MAX_NESTING = 8
LENGTHS = {"textfield": 500, "textarea": 10_000}
RESERVED = frozenset({"by", "at", "signature", "typename", "csrf_token"})
"""Keys that the task's own record or the page uses."""
SUBTYPES = ("date", "datetime")
PROPERTIES = frozenset({"after", "past", "future", "max_hours", "source", "personal", "locked", "from"})
RULES = frozenset(
    {"required", "min", "max", "minLength", "maxLength", "pattern", "patternErrorMessage", "validationType"}
)


def parse(text: str, file: str) -> Form:
    """The form that `text` defines.

    Raises:
        DefinitionError: with every problem, its line and the id of the component.
    """
    reader = _Reader(text, file)
    form = reader.read()
    errors = [problem for problem in reader.problems if problem.severity == "error"]
    if form is None or errors:
        raise DefinitionError(sorted(set(errors)))
    return form


def problems(text: str, file: str) -> list[Problem]:
    """All problems of a form, warnings included."""
    reader = _Reader(text, file)
    reader.read()
    return sorted(set(reader.problems))


class _DuplicateName(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _DuplicateName(name)
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.problems: list[Problem] = []
        self.keys: dict[str, str] = {}
        self.ids: set[str] = set()
        self.count = 0

    def add(self, element: str, rule: str, message: str, *, severity: str = "error", line: int | None = None) -> None:
        self.problems.append(Problem(self.file, line or self.line(element), element, rule, message, severity))

    def line(self, element: str) -> int:
        """The line where the component is named; JSON readers do not tell."""
        if element:
            found = re.search(rf'"(?:id|key)"\s*:\s*{re.escape(json.dumps(element, ensure_ascii=False))}', self.text)
            if found is not None:
                return self.text.count("\n", 0, found.start()) + 1
        return 1

    def read(self) -> Form | None:
        document = self.document()
        if document is None:
            return None
        fields = self.components(document.get("components"), depth=0)
        form = Form(str(document.get("id") or self.file), self.file, tuple(fields))
        self.references(form)
        return form

    def document(self) -> dict[str, Any] | None:
        if len(self.text) > MAX_BYTES:
            self.add("", "form-size", f"the form is larger than {MAX_BYTES} bytes")
            return None
        try:
            document = json.loads(self.text, object_pairs_hook=_unique, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            self.add("", "form-json", f"not JSON: {error.msg}", line=error.lineno)
            return None
        except _DuplicateName as error:
            self.add("", "form-json", f"an object has the name “{error}” twice")
            return None
        except (ValueError, RecursionError):
            self.add("", "form-json", "not JSON: nested too deeply or with a number that JSON does not know")
            return None
        if not isinstance(document, dict) or not isinstance(document.get("components"), list):
            self.add("", "form-json", "a form is an object with a list “components”")
            return None
        if document.get("type", "default") != "default":
            self.add("", "form-json", "the type of a form is “default”")
        return document

    def components(self, found: Any, *, depth: int) -> Iterator[Field]:
        if not isinstance(found, list) or depth > MAX_NESTING:
            self.add("", "form-json", f"“components” must be a list, in at most {MAX_NESTING} levels")
            return
        for component in found:
            self.count += 1
            if self.count > MAX_FIELDS:
                self.add("", "form-size", f"a form has at most {MAX_FIELDS} components")
                return
            if not isinstance(component, dict):
                self.add("", "form-json", "a component must be an object")
                continue
            field = self.component(component, depth)
            if field is not None:
                yield field

    def component(self, component: dict[str, Any], depth: int) -> Field | None:
        kind = component.get("type")
        key = component.get("key") if isinstance(component.get("key"), str) else ""
        identity = component.get("id") if isinstance(component.get("id"), str) else ""
        name = str(key or identity or f"component {self.count}")
        if kind == "button":
            self.add(name, "form-button", "buttons are drawn by the page; this one is left out", severity="warning")
            return None
        if not isinstance(kind, str) or kind not in INPUTS | DISPLAYS:
            self.add(name, "form-type", f"a component of type “{kind}” is not supported")
            return None
        identity = str(identity or key or f"component_{self.count}")
        if identity in self.ids:
            self.add(name, "form-duplicate-id", f"two components have the id “{identity}”")
            identity = f"{identity}_{self.count}"
        self.ids.add(identity)
        self.feel(name, component)
        if kind not in INPUTS:
            if component.get("path"):
                self.add(name, "form-path", "a group must not have a path: fields are stored side by side")
            children = self.components(component.get("components"), depth=depth + 1) if kind == "group" else ()
            return Field(
                identity,
                kind,
                label=_string(component, "label"),
                text=_string(component, "text"),
                fields=tuple(children),
                hide=self.condition(name, component),
            )
        self.check_key(name, component.get("key"))
        return self.input(name, identity, kind, str(key), component)

    def check_key(self, name: str, key: Any) -> None:
        if not isinstance(key, str) or not key.isidentifier() or key.startswith("_") or len(key) > 60:
            self.add(name, "form-key", "a key is letters, digits and underscores, and begins with a letter")
        elif unicodedata.normalize("NFKC", key) != key:
            self.add(name, "form-key", f"the key “{key}” cannot be used in expressions: write it in plain characters")
        elif key in RESERVED:
            self.add(name, "form-key", f"the key “{key}” is used by the record of the task")
        elif key in self.keys:
            self.add(name, "form-duplicate-key", f"two fields have the key “{key}”")
        else:
            self.keys[key] = name

    def feel(self, name: str, component: Mapping[str, Any]) -> None:
        """form-js takes any text that begins with “=” for FEEL; only `conditional.hide` is understood here."""
        for where, value in component.items():
            if where in ("components", "conditional", "properties"):
                continue
            inner = value.items() if isinstance(value, dict) else [(where, value)]
            for part, text in inner:
                if isinstance(text, str) and text.lstrip().startswith("="):
                    self.add(name, "form-feel", f"“{part}” is a FEEL expression; only conditional.hide may be one")

    def condition(self, name: str, component: Mapping[str, Any]) -> Any:
        conditional = component.get("conditional")
        if conditional is None:
            return None
        if not isinstance(conditional, dict) or set(conditional) - {"hide"}:
            self.add(name, "form-condition", "“conditional” knows “hide” only")
            return None
        rule = conditional.get("hide")
        if not rule:
            return None
        found = parse_condition(rule) if isinstance(rule, str) else None
        if found is None:
            self.add(
                name,
                "form-condition",
                f'“{str(rule)[:80]}” is not understood: write =key = "value" or !=, joined by and, or',
            )
        return found

    def input(self, name: str, identity: str, kind: str, key: str, component: dict[str, Any]) -> Field:
        rules = self.mapping(name, component, "validate")
        properties = self.mapping(name, component, "properties")
        for rule in sorted(set(rules) - RULES):
            self.add(name, "form-rule", f"the rule “{rule}” is not known")
        for prop in sorted(set(properties) - PROPERTIES):
            self.add(name, "form-property", f"the property “{prop}” is not known", severity="warning")
        for prop in sorted(prop for prop in properties if not isinstance(properties[prop], str)):
            self.add(name, "form-property", f"the property “{prop}” must be text")
        given = {prop: value for prop, value in properties.items() if isinstance(value, str)}
        pattern = self.pattern(name, rules.get("pattern"))
        longest = 200 if pattern else LENGTHS.get(kind, 0)
        if not _string(component, "label"):
            self.add(name, "form-label", "a field without label cannot be understood", severity="warning")
        return Field(
            identity,
            kind,
            key=key,
            label=_string(component, "label"),
            description=_string(component, "description"),
            subtype=self.subtype(name, kind, component),
            options=self.options(name, kind, component),
            source=given.get("source") or _string(component, "valuesKey"),
            default=self.default(name, component.get("defaultValue")),
            required=self.flag(name, "required", rules.get("required", False)),
            minimum=self.decimal(name, "min", rules.get("min")),
            maximum=self.decimal(name, "max", rules.get("max")),
            min_length=self.whole(name, "minLength", rules.get("minLength"), 0, longest),
            max_length=self.whole(name, "maxLength", rules.get("maxLength"), longest, longest),
            pattern=pattern,
            kind=self.validation_type(name, rules.get("validationType")),
            decimals=self.whole(name, "decimalDigits", component.get("decimalDigits"), -1, 15),
            increment=self.increment(name, component.get("increment")),
            after=given.get("after", ""),
            max_hours=given.get("max_hours", ""),
            past=self.truth(name, given, "past"),
            future=self.truth(name, given, "future"),
            personal=self.truth(name, given, "personal"),
            locked=self.truth(name, given, "locked")
            or self.flag(name, "readonly", component.get("readonly", False))
            or self.flag(name, "disabled", component.get("disabled", False)),
            prefill=self.prefill(name, given.get("from", "")),
            hide=self.condition(name, component),
            properties=given,
        )

    def mapping(self, name: str, component: Mapping[str, Any], where: str) -> dict[str, Any]:
        found = component.get(where) or {}
        if not isinstance(found, dict):
            self.add(name, "form-json", f"“{where}” must be an object")
            return {}
        return found

    def subtype(self, name: str, kind: str, component: Mapping[str, Any]) -> str:
        if kind != "datetime":
            return ""
        found = component.get("subtype", "date")
        if found not in SUBTYPES:
            self.add(name, "form-subtype", f"the subtype of a datetime is date or datetime, not “{found}”")
            return "date"
        return str(found)

    def options(self, name: str, kind: str, component: Mapping[str, Any]) -> tuple[Option, ...]:
        if kind not in ("radio", "select", "checklist", "taglist"):
            return ()
        values = component.get("values")
        properties = component.get("properties")
        source = component.get("valuesKey") or (isinstance(properties, dict) and properties.get("source"))
        if (values is None) == (not source):
            self.add(name, "form-options", "needs its options in “values”, or a source (valuesKey), not both")
        if values is None:
            return ()
        if not isinstance(values, list) or not 1 <= len(values) <= MAX_OPTIONS:
            self.add(name, "form-options", f"“values” is a list of 1 to {MAX_OPTIONS} options")
            return ()
        found: list[Option] = []
        for entry in values:
            value = entry.get("value") if isinstance(entry, dict) else None
            if not isinstance(value, str) or not value or not isinstance(entry.get("label", ""), str):
                self.add(name, "form-options", "an option has a text as value and a text as label")
            elif any(option.value == value for option in found):
                self.add(name, "form-options", f"two options have the value “{value}”")
            else:
                found.append(Option(value, entry.get("label") or value))
        return tuple(found)

    def default(self, name: str, value: Any) -> Any:
        if isinstance(value, dict) or (isinstance(value, list) and any(not isinstance(item, str) for item in value)):
            self.add(name, "form-default", "a default is a text, a number, true, false or a list of texts")
            return None
        return value

    def flag(self, name: str, what: str, value: Any) -> bool:
        if not isinstance(value, bool):
            self.add(name, "form-rule", f"“{what}” is true or false")
            return False
        return value

    def truth(self, name: str, properties: Mapping[str, str], what: str) -> bool:
        value = properties.get(what, "false")
        if value not in ("true", "false"):
            self.add(name, "form-property", f"the property “{what}” is true or false")
        return value == "true"

    def decimal(self, name: str, what: str, value: Any) -> Decimal | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            self.add(name, "form-rule", f"“{what}” is not a number")
            return None
        text = str(value)
        if not re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", text, re.ASCII):
            self.add(name, "form-rule", f"“{what}” is not a number")
            return None
        return Decimal(text)

    def increment(self, name: str, value: Any) -> Decimal | None:
        found = self.decimal(name, "increment", value)
        if found is not None and found <= 0:
            self.add(name, "form-rule", "“increment” is greater than 0")
            return None
        return found

    def whole(self, name: str, what: str, value: Any, default: int, most: int) -> Any:
        """A whole number from 0 to `most`; -1 as default stands for None."""
        if value is None:
            return None if default < 0 else default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self.add(name, "form-rule", f"“{what}” is a whole number from 0 to {most}")
            return None if default < 0 else default
        return value

    def validation_type(self, name: str, value: Any) -> str:
        if value in (None, "", "custom"):
            return ""
        if value not in ("email", "phone"):
            self.add(name, "form-rule", f"the validation type “{value}” is not known")
            return ""
        return str(value)

    def pattern(self, name: str, value: Any) -> str:
        if value in (None, ""):
            return ""
        problem = pattern_problem(value)
        if problem:
            self.add(name, "form-pattern", problem)
            return ""
        return str(value)

    def prefill(self, name: str, text: str) -> str:
        if text:
            for _, _, message in expressions.check(text):
                self.add(name, "form-expression", f"from: {message}")
        return text

    def references(self, form: Form) -> None:
        fields = {field.key: field for field in form.inputs}
        for field in form.walk():
            name = field.key or field.id
            for key in sorted((field.hide.keys if field.hide else frozenset()) - set(fields)):
                self.add(name, "form-condition", f"the condition names the field “{key}”, which does not exist")
            for key in sorted(key for key in (field.hide.keys if field.hide else ()) if key in fields):
                if fields[key].personal:
                    self.add(name, "form-personal", f"the condition names “{key}”, which is stored encrypted")
            if field.hide and field.key in field.hide.keys:
                self.add(name, "form-condition", "a field cannot depend on itself")
            if field.after:
                other = fields.get(field.after)
                if other is None:
                    self.add(name, "form-after", f"“after” names the field “{field.after}”, which does not exist")
                elif other is field or other.type != "datetime" or other.subtype != field.subtype:
                    self.add(name, "form-after", "“after” names another field with the same kind of time")
            if field.max_hours and not field.after:
                self.add(name, "form-after", "“max_hours” needs “after”")
            if (field.past or field.future or field.after) and field.type != "datetime":
                self.add(name, "form-after", "“after”, “past” and “future” belong to a datetime")
            if field.min_length > field.max_length:
                self.add(name, "form-rule", "“minLength” is greater than “maxLength”")
            if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
                self.add(name, "form-rule", "“min” is greater than “max”")


def pattern_problem(value: Any) -> str:
    """Why a pattern is refused: what employees type is matched with it, so it must not be able to run for hours."""
    if not isinstance(value, str) or len(value) > 200:
        return "a pattern is a text of at most 200 characters"
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        return f"the pattern is not a regular expression: {error}"
    bare = re.sub(r"\\.", "x", re.sub(r"\[\^?\]?(?:\\.|[^\]\\])*\]", "x", value))
    bare = re.sub(r"\(\?(?:[:=!]|<[=!])", "(", bare)
    if re.search(r"\\[1-9]", value) or "(?" in bare:
        return "the pattern uses a back reference or an extension that is not allowed here"
    if re.search(r"\([^()]*[*+?|{][^()]*\)[*+{]", bare) or re.search(r"\)\)+[*+{]", bare):
        return "the pattern repeats a group that itself repeats or branches: it could run for hours"
    if len(re.findall(r"[*+]|\{\d*,\d*\}", bare)) > 3 or bare.count("?") > 8:
        return "the pattern has more than three repetitions: it could run for hours"
    return ""


def _string(component: Mapping[str, Any], name: str) -> str:
    found = component.get(name)
    return found if isinstance(found, str) else ""
