"""Reads form-js JSON. Everything that the server could not check later is a problem now."""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from engine import expressions
from engine.errors import N_, DefinitionError, Problem, Sentence
from engine.forms.conditions import parse_condition
from engine.forms.model import DISPLAYS, INPUTS, Field, Form, Option
from engine.forms.patterns import pattern_problem

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

    def add(
        self,
        element: str,
        rule: str,
        template: str,
        /,
        *,
        severity: str = "error",
        at: int | None = None,
        **params: Any,
    ) -> None:
        told = Sentence(template, params)
        self.problems.append(Problem(self.file, at or self.line(element), element, rule, told, severity))

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
            self.add("", "form-size", N_("the form is larger than %(limit)s bytes"), limit=MAX_BYTES)
            return None
        try:
            document = json.loads(self.text, object_pairs_hook=_unique, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            self.add("", "form-json", N_("not JSON: %(error)s"), error=error.msg, at=error.lineno)
            return None
        except _DuplicateName as error:
            self.add("", "form-json", N_("an object has the name “%(name)s” twice"), name=str(error))
            return None
        except (ValueError, RecursionError):
            self.add("", "form-json", N_("not JSON: nested too deeply or with a number that JSON does not know"))
            return None
        if not isinstance(document, dict) or not isinstance(document.get("components"), list):
            self.add("", "form-json", N_("a form is an object with a list “components”"))
            return None
        if document.get("type", "default") != "default":
            self.add("", "form-json", N_("the type of a form is “default”"))
        return document

    def components(self, found: Any, *, depth: int) -> Iterator[Field]:
        if not isinstance(found, list) or depth > MAX_NESTING:
            self.add("", "form-json", N_("“components” must be a list, in at most %(limit)s levels"), limit=MAX_NESTING)
            return
        for component in found:
            self.count += 1
            if self.count > MAX_FIELDS:
                self.add("", "form-size", N_("a form has at most %(limit)s components"), limit=MAX_FIELDS)
                return
            if not isinstance(component, dict):
                self.add("", "form-json", N_("a component must be an object"))
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
            self.add(name, "form-button", N_("buttons are drawn by the page; this one is left out"), severity="warning")
            return None
        if not isinstance(kind, str) or kind not in INPUTS | DISPLAYS:
            self.add(name, "form-type", N_("a component of type “%(type)s” is not supported"), type=kind)
            return None
        identity = str(identity or key or f"component_{self.count}")
        if identity in self.ids:
            self.add(name, "form-duplicate-id", N_("two components have the id “%(id)s”"), id=identity)
            identity = f"{identity}_{self.count}"
        self.ids.add(identity)
        self.feel(name, component)
        if kind not in INPUTS:
            if component.get("path"):
                self.add(name, "form-path", N_("a group must not have a path: fields are stored side by side"))
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
            self.add(name, "form-key", N_("a key is letters, digits and underscores, and begins with a letter"))
        elif unicodedata.normalize("NFKC", key) != key:
            self.add(
                name,
                "form-key",
                N_("the key “%(key)s” cannot be used in expressions: write it in plain characters"),
                key=key,
            )
        elif key in RESERVED:
            self.add(name, "form-key", N_("the key “%(key)s” is used by the record of the task"), key=key)
        elif key in self.keys:
            self.add(name, "form-duplicate-key", N_("two fields have the key “%(key)s”"), key=key)
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
                    self.add(
                        name,
                        "form-feel",
                        N_("“%(part)s” is a FEEL expression; only conditional.hide may be one"),
                        part=part,
                    )

    def condition(self, name: str, component: Mapping[str, Any]) -> Any:
        conditional = component.get("conditional")
        if conditional is None:
            return None
        if not isinstance(conditional, dict) or set(conditional) - {"hide"}:
            self.add(name, "form-condition", N_("“conditional” knows “hide” only"))
            return None
        rule = conditional.get("hide")
        if not rule:
            return None
        found = parse_condition(rule) if isinstance(rule, str) else None
        if found is None:
            self.add(
                name,
                "form-condition",
                N_('“%(text)s” is not understood: write =key = "value" or !=, joined by and, or'),
                text=str(rule)[:80],
            )
        return found

    def input(self, name: str, identity: str, kind: str, key: str, component: dict[str, Any]) -> Field:
        rules = self.mapping(name, component, "validate")
        properties = self.mapping(name, component, "properties")
        for rule in sorted(set(rules) - RULES):
            self.add(name, "form-rule", N_("the rule “%(rule)s” is not known"), rule=rule)
        for prop in sorted(set(properties) - PROPERTIES):
            self.add(
                name, "form-property", N_("the property “%(property)s” is not known"), property=prop, severity="warning"
            )
        for prop in sorted(prop for prop in properties if not isinstance(properties[prop], str)):
            self.add(name, "form-property", N_("the property “%(property)s” must be text"), property=prop)
        given = {prop: value for prop, value in properties.items() if isinstance(value, str)}
        pattern = self.pattern(name, rules.get("pattern"))
        longest = 200 if pattern else LENGTHS.get(kind, 0)
        if not _string(component, "label"):
            self.add(name, "form-label", N_("a field without label cannot be understood"), severity="warning")
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
            self.add(name, "form-json", N_("“%(name)s” must be an object"), name=where)
            return {}
        return found

    def subtype(self, name: str, kind: str, component: Mapping[str, Any]) -> str:
        if kind != "datetime":
            return ""
        found = component.get("subtype", "date")
        if found not in SUBTYPES:
            self.add(
                name,
                "form-subtype",
                N_("the subtype of a datetime is date or datetime, not “%(subtype)s”"),
                subtype=found,
            )
            return "date"
        return str(found)

    def options(self, name: str, kind: str, component: Mapping[str, Any]) -> tuple[Option, ...]:
        if kind not in ("radio", "select", "checklist", "taglist"):
            return ()
        values = component.get("values")
        properties = component.get("properties")
        source = component.get("valuesKey") or (isinstance(properties, dict) and properties.get("source"))
        if (values is None) == (not source):
            self.add(name, "form-options", N_("needs its options in “values”, or a source (valuesKey), not both"))
        if values is None:
            return ()
        if not isinstance(values, list) or not 1 <= len(values) <= MAX_OPTIONS:
            self.add(name, "form-options", N_("“values” is a list of 1 to %(limit)s options"), limit=MAX_OPTIONS)
            return ()
        found: list[Option] = []
        for entry in values:
            value = entry.get("value") if isinstance(entry, dict) else None
            if not isinstance(value, str) or not value or not isinstance(entry.get("label", ""), str):
                self.add(name, "form-options", N_("an option has a text as value and a text as label"))
            elif any(option.value == value for option in found):
                self.add(name, "form-options", N_("two options have the value “%(value)s”"), value=value)
            else:
                found.append(Option(value, entry.get("label") or value))
        return tuple(found)

    def default(self, name: str, value: Any) -> Any:
        if isinstance(value, dict) or (isinstance(value, list) and any(not isinstance(item, str) for item in value)):
            self.add(name, "form-default", N_("a default is a text, a number, true, false or a list of texts"))
            return None
        return value

    def flag(self, name: str, what: str, value: Any) -> bool:
        if not isinstance(value, bool):
            self.add(name, "form-rule", N_("“%(name)s” is true or false"), name=what)
            return False
        return value

    def truth(self, name: str, properties: Mapping[str, str], what: str) -> bool:
        value = properties.get(what, "false")
        if value not in ("true", "false"):
            self.add(name, "form-property", N_("the property “%(name)s” is true or false"), name=what)
        return value == "true"

    def decimal(self, name: str, what: str, value: Any) -> Decimal | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            self.add(name, "form-rule", N_("“%(name)s” is not a number"), name=what)
            return None
        text = str(value)
        if not re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", text, re.ASCII):
            self.add(name, "form-rule", N_("“%(name)s” is not a number"), name=what)
            return None
        return Decimal(text)

    def increment(self, name: str, value: Any) -> Decimal | None:
        found = self.decimal(name, "increment", value)
        if found is not None and found <= 0:
            self.add(name, "form-rule", N_("“increment” is greater than 0"))
            return None
        return found

    def whole(self, name: str, what: str, value: Any, default: int, most: int) -> Any:
        """A whole number from 0 to `most`; -1 as default stands for None."""
        if value is None:
            return None if default < 0 else default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self.add(name, "form-rule", N_("“%(name)s” is a whole number from 0 to %(limit)s"), name=what, limit=most)
            return None if default < 0 else default
        return value

    def validation_type(self, name: str, value: Any) -> str:
        if value in (None, "", "custom"):
            return ""
        if value not in ("email", "phone"):
            self.add(name, "form-rule", N_("the validation type “%(value)s” is not known"), value=value)
            return ""
        return str(value)

    def pattern(self, name: str, value: Any) -> str:
        if value in (None, ""):
            return ""
        problem = pattern_problem(value)
        if problem is not None:
            self.add(name, "form-pattern", problem.template, **problem.params)
            return ""
        return str(value)

    def prefill(self, name: str, text: str) -> str:
        if text:
            for _, _, message in expressions.check(text):
                self.add(name, "form-expression", N_("from: %(message)s"), message=message)
        return text

    def references(self, form: Form) -> None:
        fields = {field.key: field for field in form.inputs}
        for field in form.walk():
            name = field.key or field.id
            for key in sorted((field.hide.keys if field.hide else frozenset()) - set(fields)):
                self.add(
                    name, "form-condition", N_("the condition names the field “%(key)s”, which does not exist"), key=key
                )
            for key in sorted(key for key in (field.hide.keys if field.hide else ()) if key in fields):
                if fields[key].personal:
                    self.add(
                        name, "form-personal", N_("the condition names “%(key)s”, which is stored encrypted"), key=key
                    )
            if field.hide and field.key in field.hide.keys:
                self.add(name, "form-condition", N_("a field cannot depend on itself"))
            if field.after:
                other = fields.get(field.after)
                if other is None:
                    self.add(
                        name,
                        "form-after",
                        N_("“after” names the field “%(key)s”, which does not exist"),
                        key=field.after,
                    )
                elif other is field or other.type != "datetime" or other.subtype != field.subtype:
                    self.add(name, "form-after", N_("“after” names another field with the same kind of time"))
            if field.max_hours and not field.after:
                self.add(name, "form-after", N_("“max_hours” needs “after”"))
            if (field.past or field.future or field.after) and field.type != "datetime":
                self.add(name, "form-after", N_("“after”, “past” and “future” belong to a datetime"))
            if field.min_length > field.max_length:
                self.add(name, "form-rule", N_("“minLength” is greater than “maxLength”"))
            if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
                self.add(name, "form-rule", N_("“min” is greater than “max”"))


def _string(component: Mapping[str, Any], name: str) -> str:
    found = component.get(name)
    return found if isinstance(found, str) else ""
