"""Forms: the definition is form-js JSON; the server accepts exactly what it says."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DefinitionError, InvalidFormError
from engine.forms import Form, Option, parse, problems

NOW = datetime(2026, 2, 1, 4, tzinfo=UTC)


def form(*components: Mapping[str, Any]) -> Form:
    return parse(json.dumps({"type": "default", "components": components}), "test.form")


def field(kind: str, key: str = "it", **rest: Any) -> dict[str, Any]:
    return {"type": kind, "key": key, "id": f"field_{key}", "label": "标签", **rest}


def clean(definition: Form, data: Mapping[str, Any], **sources: list[Option]) -> dict[str, Any]:
    return definition.validate(data, sources=sources, now=NOW)


def refused(definition: Form, data: Mapping[str, Any], **sources: list[Option]) -> dict[str, str]:
    with pytest.raises(InvalidFormError) as caught:
        clean(definition, data, **sources)
    return {key: str(error) for key, error in caught.value.fields.items()}


SPAN = form(
    field("datetime", "start_at", subtype="datetime", validate={"required": True}, properties={"past": "true"}),
    field(
        "datetime",
        "end_at",
        subtype="datetime",
        validate={"required": True},
        properties={"after": "start_at", "past": "true", "max_hours": "max_span_hours"},
    ),
)
LIMIT = {"max_span_hours": [Option("24", "24")]}


def test_fields_that_the_form_does_not_define_are_dropped() -> None:
    assert clean(form(field("textfield")), {"it": " a ", "approved": True}) == {"it": "a"}


def test_an_empty_field_has_a_value_that_expressions_can_read() -> None:
    definition = form(
        field("textfield", "a"), field("number", "b"), field("checkbox", "c"), field("taglist", "d", valuesKey="people")
    )
    assert clean(definition, {}) == {"a": None, "b": None, "c": False, "d": []}


def test_every_wrong_field_is_named_at_once() -> None:
    required = {"required": True}
    definition = form(
        field("textfield", "a", validate=required),
        field("checkbox", "b", validate=required),
        field("taglist", "c", validate=required, valuesKey="people"),
        field("number", "d"),
        field("datetime", "e"),
    )
    assert refused(definition, {"a": "  ", "b": False, "c": [], "d": "many", "e": "2026-02-30"}) == {
        "a": "This field is required.",
        "b": "Please tick this box to confirm.",
        "c": "This field is required.",
        "d": "Please enter a number.",
        "e": "This is not a date.",
    }


@pytest.mark.parametrize(
    ("component", "value", "message"),
    [
        (field("textfield"), 3, "Please enter text."),
        (field("textfield"), ["a"], "Please enter text."),
        (field("textfield"), "a\nb", "Please enter one line only."),
        (field("textfield"), "a\x00b", "The text contains characters that cannot be stored."),
        (field("textarea"), "\ud800", "The text contains characters that cannot be stored."),
        (field("textfield"), "x" * 501, "At most 500 characters."),
        (field("textarea"), "x" * 10_001, "At most 10000 characters."),
        (field("textfield", validate={"minLength": 2}), "a", "At least 2 characters."),
        (field("textfield", validate={"maxLength": 2}), "中文字", "At most 2 characters."),
        (field("textfield", validate={"pattern": "^[A-Z]{2}\\d+$"}), "ab1", "This does not have the expected form."),
        (field("textfield", validate={"validationType": "email"}), "a@b", "This is not an e-mail address."),
        (field("textfield", validate={"validationType": "phone"}), "call me", "This is not a telephone number."),
        (field("number"), True, "Please enter a number."),
        (field("number"), "NaN", "Please enter a number."),
        (field("number"), "1e999999", "Please enter a number."),
        (field("number"), [1], "Please enter a number."),
        (field("number", validate={"min": 1}), 0, "At least 1."),
        (field("number", validate={"max": 1.5}), 2, "At most 1.5."),
        (field("number", decimalDigits=1), "1.25", "At most 1 decimal places."),
        (field("number", increment="0.5"), "0.7", "Must be a multiple of 0.5."),
        (field("checkbox"), "perhaps", "This is either ticked or not."),
        (field("checkbox"), 1, "This is either ticked or not."),
        (field("radio", values=[{"value": "yes", "label": "是"}]), "no", "Please choose from the list."),
        (field("radio", values=[{"value": "yes", "label": "是"}]), ["yes"], "Please choose from the list."),
        (field("select", valuesKey="nothing"), "a", "Please choose from the list."),
        (field("checklist", values=[{"value": "yes", "label": "是"}]), ["yes", "no"], "no is not in the list."),
        (field("taglist", valuesKey="people"), [{}], "Please choose from the list."),
        (field("taglist", valuesKey="people"), {"a": 1}, "Please choose from the list."),
        (field("taglist", valuesKey="people"), ["a"] * 201, "At most 200 entries."),
        (field("datetime"), "2026-2-1", "This is not a date."),
        (field("datetime"), "9999-12-31", "This is not a date."),
        (field("datetime"), 20260201, "This is not a date."),
        (field("datetime", properties={"past": "true"}), "2026-02-02", "This must not lie in the future."),
        (field("datetime", properties={"future": "true"}), "2026-01-31", "This must not lie in the past."),
        (field("datetime", subtype="datetime"), "2026-02-01T10:00", "The time lacks its offset from UTC."),
        (field("datetime", subtype="datetime"), "noon", "This is not a date and time."),
        (
            field("datetime", subtype="datetime", properties={"past": "true"}),
            "2026-02-01T12:00:01+08:00",
            "This must not lie in the future.",
        ),
    ],
)
def test_a_value_outside_the_rules_is_refused_with_a_reason(
    component: Mapping[str, Any], value: object, message: str
) -> None:
    assert refused(form(component), {"it": value}) == {"it": message}


@pytest.mark.parametrize(
    ("component", "value", "stored"),
    [
        (field("textarea"), "a\r\nb ", "a\nb"),
        (field("textfield", validate={"pattern": "^[A-Z]{2}\\d+$"}), "AB12", "AB12"),
        (field("textfield", validate={"validationType": "email"}), "a@b.cn", "a@b.cn"),
        (field("textfield", validate={"validationType": "phone"}), "+86 755 1234567", "+86 755 1234567"),
        (field("number"), "12", 12),
        (field("number"), "0.50", 0.5),
        (field("number", decimalDigits=0), 3.0, 3),
        (field("number", increment="0.1"), 0.3, 0.3),
        (field("checkbox"), "on", True),
        (field("checklist", values=[{"value": "a", "label": "甲"}]), ["a", "a"], ["a"]),
        (field("checklist", values=[{"value": "a", "label": "甲"}]), "a", ["a"]),
        (field("taglist", valuesKey="people"), ["li"], ["li"]),
        (field("datetime", properties={"past": "true"}), "2026-02-01", "2026-02-01"),
        (field("datetime", subtype="datetime"), "2026-02-01T10:00+08:00", "2026-02-01T10:00:00+08:00"),
    ],
)
def test_a_value_within_the_rules_is_stored_in_one_form(
    component: Mapping[str, Any], value: object, stored: object
) -> None:
    found = clean(form(component), {"it": value}, people=[Option("li", "李")])["it"]
    assert found == stored
    assert type(found) is type(stored)


def test_today_is_the_day_in_shanghai() -> None:
    late = datetime(2026, 1, 31, 20, tzinfo=UTC)
    definition = form(field("datetime", properties={"past": "true", "future": "true"}))
    assert definition.validate({"it": "2026-02-01"}, sources={}, now=late) == {"it": "2026-02-01"}


@pytest.mark.parametrize(
    ("start", "end", "errors"),
    [
        ("2026-01-31T10:00+08:00", "2026-01-31T11:00+08:00", {}),
        ("2026-01-31T10:00+08:00", "2026-01-31T03:00+00:00", {}),
        ("2026-01-31T10:00+08:00", "2026-01-31T10:00+08:00", {"end_at": "The end must be later than the start."}),
        ("2026-01-31T10:00+08:00", "2026-01-31T01:00+00:00", {"end_at": "The end must be later than the start."}),
        ("2026-01-30T10:00+08:00", "2026-01-31T10:01+08:00", {"end_at": "The span is longer than 24 hours."}),
        ("2026-02-01T10:00+08:00", "2026-02-01T13:00+08:00", {"end_at": "This must not lie in the future."}),
        (
            "",
            "2026-02-01T13:00",
            {"start_at": "This field is required.", "end_at": "The time lacks its offset from UTC."},
        ),
    ],
)
def test_a_span_is_ordered_past_and_within_the_limit(start: str, end: str, errors: dict[str, str]) -> None:
    data = {"start_at": start, "end_at": end}
    if errors:
        assert refused(SPAN, data, **LIMIT) == errors
    else:
        assert set(clean(SPAN, data, **LIMIT)) == {"start_at", "end_at"}


def test_a_limit_may_be_written_into_the_form_and_an_unknown_limit_lets_nothing_pass() -> None:
    start = field("datetime", "start", subtype="datetime")
    data = {"start": "2026-01-31T10:00Z", "end": "2026-01-31T11:30Z"}

    def ending(limit: str) -> Form:
        return form(
            start, field("datetime", "end", subtype="datetime", properties={"after": "start", "max_hours": limit})
        )

    assert clean(ending("1.5"), data)
    assert refused(ending("1"), data) == {"end": "The span is longer than 1 hours."}
    assert refused(ending("misspelt"), data) == {"end": "The span is longer than 0 hours."}


KIND = field("select", "kind", values=[{"value": kind, "label": kind} for kind in ("internal", "police", "insurer")])


def test_a_hidden_field_is_neither_required_nor_kept() -> None:
    definition = form(
        KIND, field("textfield", "unit", validate={"required": True}, conditional={"hide": '=kind != "police"'})
    )
    assert clean(definition, {"kind": "internal", "unit": "smuggled"}) == {"kind": "internal"}
    assert clean(definition, {}) == {"kind": None}
    assert refused(definition, {"kind": "police"}) == {"unit": "This field is required."}


def test_a_group_hides_what_is_in_it() -> None:
    inside = field("textfield", "unit", validate={"required": True})
    definition = form(
        KIND,
        {
            "type": "group",
            "id": "g",
            "label": "外单位",
            "conditional": {"hide": '=kind = "internal"'},
            "components": [inside],
        },
    )
    group = definition.fields[1]
    assert not definition.visible(group, {"kind": "internal"})
    assert not definition.visible(group.fields[0], {"kind": "internal"})
    assert definition.visible(group.fields[0], {"kind": "police"})
    assert clean(definition, {"kind": "internal"}) == {"kind": "internal"}
    assert [field.key for field in definition.inputs] == ["kind", "unit"]


def test_a_hidden_field_counts_as_empty_in_other_conditions() -> None:
    definition = form(
        KIND,
        field("textfield", "unit", conditional={"hide": '=kind = "internal"'}),
        field("textfield", "officer", conditional={"hide": '=unit != "court"'}),
    )
    assert clean(definition, {"kind": "police", "unit": "court", "officer": "Li"})["officer"] == "Li"
    assert clean(definition, {"kind": "internal", "unit": "court", "officer": "Li"}) == {"kind": "internal"}


@pytest.mark.parametrize(
    ("rule", "data", "hidden"),
    [
        ('=kind = "police"', {"kind": "police"}, True),
        ('=kind="police" or kind = "insurer" ', {"kind": "insurer"}, True),
        ('= kind != "police" and kind != "insurer"', {"kind": "insurer"}, False),
        ('=kind = "police" or kind = "insurer" and secret = true', {"kind": "insurer", "secret": "on"}, True),
        ("=secret = true", {"secret": "true"}, True),
        ("=secret = false", {}, True),
        ("=secret != true", {"secret": True}, False),
        ("=count = 3", {"count": "3"}, True),
        ("=kind = null", {}, True),
        ('=kind = "internal"', {"kind": ["internal"]}, False),
    ],
)
def test_the_condition_language(rule: str, data: dict[str, Any], hidden: bool) -> None:
    definition = form(
        KIND, field("checkbox", "secret"), field("number", "count"), field("textfield", conditional={"hide": rule})
    )
    it = definition.field("it")
    assert it is not None
    assert definition.visible(it, data) is not hidden


def test_a_condition_can_be_handed_to_the_page() -> None:
    it = form(KIND, field("textfield", conditional={"hide": '=kind = "police" and kind != "x"'})).fields[1]
    assert it.hide is not None
    assert it.hide.to_json() == [[["kind", True, "police"], ["kind", False, "x"]]]


def test_a_field_is_filled_from_the_process_and_a_locked_one_stays_so() -> None:
    definition = form(
        field("textfield", "purpose", properties={"from": "application.purpose", "locked": "true"}),
        field("textfield", "place", defaultValue="gate", properties={"from": "application.place"}),
        field("textfield", "system", defaultValue="A", disabled=True),
    )
    names = {"application": {"purpose": "incident"}}
    assert definition.initial(names) == {"purpose": "incident", "place": "gate", "system": "A"}
    sent = {"purpose": "other", "place": "hall", "system": "B"}
    assert definition.validate(sent, sources={}, now=NOW, names=names) == {
        "purpose": "incident",
        "place": "hall",
        "system": "A",
    }
    assert definition.validate(sent, sources={}, now=NOW)["purpose"] == "other"


def test_personal_fields_are_marked() -> None:
    definition = form(field("textfield", "a", properties={"personal": "true"}), field("textfield", "b"))
    assert [field.key for field in definition.inputs if field.personal] == ["a"]


def test_a_nested_and_a_displayed_component_keep_their_order() -> None:
    definition = form(
        {"type": "text", "text": "## 说明"},
        {"type": "group", "label": "一", "components": [field("textfield", "a"), {"type": "separator"}]},
        field("textfield", "b"),
    )
    assert [part.type for part in definition.walk()] == ["text", "group", "textfield", "separator", "textfield"]
    assert definition.fields[0].text == "## 说明"


BROKEN = {
    "form-type": field("filepicker"),
    "form-key": {"type": "textfield", "label": "无", "id": "x"},
    "form-duplicate-key": {"type": "group", "components": [field("textfield", id="1"), field("number", id="2")]},
    "form-duplicate-id": {
        "type": "group",
        "components": [field("textfield", "a", id="1"), field("number", "b", id="1")],
    },
    "form-feel": field("textfield", label="=if x then y"),
    "form-condition": field("textfield", conditional={"hide": "=a > 3"}),
    "form-path": {"type": "group", "path": "address", "components": []},
    "form-options": field("select"),
    "form-subtype": field("datetime", subtype="time"),
    "form-after": field("datetime", properties={"after": "nothing"}),
    "form-expression": field("textfield", properties={"from": "lambda: 1"}),
    "form-pattern": field("textfield", validate={"pattern": "(a+)+$"}),
    "form-rule": field("textfield", validate={"required": "yes"}),
    "form-property": field("textfield", properties={"past": "maybe"}),
    "form-default": field("textfield", defaultValue={"a": 1}),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_form_that_cannot_be_checked_is_refused(rule: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        form(BROKEN[rule])
    assert {problem.rule for problem in caught.value.problems} == {rule}


@pytest.mark.parametrize(
    "component",
    [
        field("textfield", "by"),
        field("textfield", "a.b"),
        field("textfield", "__class__"),
        field("textfield", "ﬁeld"),
        field("textfield", conditional={"hide": "=nothing = 1"}),
        field("textfield", conditional={"hide": "=it = 1"}),
        field("textfield", conditional={"hide": '=(a = "1")'}),
        field("textfield", conditional={"hide": "=contains(a, 1)"}),
        field("textfield", conditional={"show": '=a = "1"'}),
        field("textfield", validate={"minLength": 9, "maxLength": 3}),
        field("textfield", validate={"maxLength": 10**9}),
        field("textfield", validate={"secret": True}),
        field("textfield", validate={"validationType": "url"}),
        field("textfield", validate=[1]),
        field("textfield", properties={"past": "true"}),
        field("textfield", properties={"locked": True}),
        field("number", validate={"min": 3, "max": 1}),
        field("number", validate={"min": "=x"}),
        field("number", increment="0"),
        field("number", decimalDigits=-1),
        field("select", values=[]),
        field("select", values=[{"value": True, "label": "是"}]),
        field("select", values=[{"value": "a"}, {"value": "a"}]),
        field("select", values=[{"value": "a"}], valuesKey="b"),
        field("select", valuesExpression="=x"),
        field("datetime", properties={"max_hours": "3"}),
        field("datetime", subtype=[]),
        {"type": "group", "components": "none"},
        "text",
    ],
)
def test_other_defects_are_refused_too(component: Any) -> None:
    with pytest.raises(DefinitionError):
        form(component)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"components": 1}', '{"components": [], "components": []}', '{"components": [NaN]}', "[" * 100_000,
     '{"components": [' + '{"type": "group", "components": [' * 50 + "]}" * 50 + "]}", " " * 1_000_001,
     '{"type": "other", "components": []}'],
)  # fmt: skip
def test_what_is_not_a_form_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError):
        parse(text, "test.form")


def test_a_problem_has_its_line_and_its_field() -> None:
    text = json.dumps({"components": [field("textfield", "a"), field("iframe", "b")]}, indent=1)
    (problem,) = problems(text, "forms/test.form")
    assert text.splitlines()[problem.line - 1].strip() in ('"key": "b",', '"id": "b",')
    assert str(problem).startswith(f"forms/test.form:{problem.line}: b: form-type: ")
    assert problems('{\n"components": [,]}', "x.form")[0].line == 2


def test_buttons_and_unknown_properties_are_warnings() -> None:
    text = json.dumps(
        {"components": [{"type": "button", "label": "提交"}, field("textfield", properties={"colour": "x"})]}
    )
    assert [(problem.rule, problem.severity) for problem in problems(text, "f")] == [
        ("form-button", "warning"),
        ("form-property", "warning"),
    ]
    assert [field.key for field in parse(text, "f").inputs] == ["it"]


@pytest.mark.parametrize(
    "pattern",
    ["(a*)*b", "(a|a)*b", "(a|aa)+$", "((a))+", "(?:a?){30}a{30}", "a*a*a*a*a*b", "a?a?a?a?a?a?a?a?a?a?", "(a)\\1",
     "(?P<x>a)(?P=x)", "[", "x" * 201, 3],
)  # fmt: skip
def test_a_pattern_that_could_run_for_hours_is_refused(pattern: object) -> None:
    with pytest.raises(DefinitionError, match="1 problem"):
        form(field("textfield", validate={"pattern": pattern}))


@pytest.mark.parametrize(
    "pattern", ["^\\d{17}[\\dXx]$", "^(?:13|15|18)\\d{9}$", "^[A-Z]+-\\d+-\\d+$", "^.{3,9}$", "[)*+]"]
)
def test_an_ordinary_pattern_is_accepted_and_quick(pattern: str) -> None:
    definition = form(field("textfield", validate={"pattern": pattern}))
    started = time.monotonic()
    for text in ("a" * 199, "A-" * 99, "1" * 199):
        with pytest.raises(InvalidFormError):
            clean(definition, {"it": text + "§"})
    assert time.monotonic() - started < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
EVERYTHING = form(
    field("textfield", "a"), field("textarea", "b"), field("number", "c"), field("checkbox", "d"), KIND,
    field("taglist", "e", valuesKey="people"), field("datetime", "f"), field("datetime", "g", subtype="datetime"),
    field("datetime", "h", subtype="datetime", properties={"after": "g", "max_hours": "3"}),
    field("radio", "i", values=[{"value": "x"}], conditional={"hide": '=kind = "police" or d = true'}),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h", "i", "kind", "zz"]), JSON))
@settings(deadline=None)
def test_any_json_is_clean_or_refused_and_clean_data_stays_as_it_is(data: dict[str, Any]) -> None:
    try:
        found = clean(EVERYTHING, data)
    except InvalidFormError:
        return
    assert "zz" not in found
    json.dumps(found, allow_nan=False).encode()
    assert clean(EVERYTHING, found) == found


@given(st.dictionaries(st.sampled_from(["components", "type", "id"]), JSON) | JSON)
@settings(deadline=None)
def test_any_json_is_a_form_or_refused(document: Any) -> None:
    found = problems(json.dumps(document), "test.form")
    assert all(problem.line >= 1 and problem.message for problem in found)


@given(st.lists(st.dictionaries(
    st.sampled_from(["type", "key", "id", "label", "values", "validate", "properties", "conditional", "defaultValue",
                     "components", "increment", "decimalDigits", "subtype", "valuesKey"]),
    JSON | st.sampled_from(["textfield", "number", "select", "datetime", "group", "a", "b"]),
)))  # fmt: skip
@settings(deadline=None)
def test_any_components_are_a_form_or_refused(components: list[Any]) -> None:
    found = problems(json.dumps({"components": components}), "test.form")
    assert all(problem.line >= 1 and problem.message for problem in found)
