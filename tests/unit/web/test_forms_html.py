"""Every kind of field, drawn on the server and read back."""

import json
import re
from pathlib import Path

import pytest
from flask import Flask, render_template_string
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from engine.errors import FieldError
from engine.forms import Form, Option, parse
from web.forms_html import Sheet, display, markdown, read, sheet, with_offset

SOURCES = {"departments": [Option("legal", "Legal")], "cameras": [Option("gate", "Gate"), Option("lobby", "Lobby")]}
PLACES = {"gate": {"place": "East", "retention_days": 30}, "lobby": {"place": "Offices", "retention_days": 7}}


@pytest.fixture
def form() -> Form:
    return parse(Path(__file__).with_name("every_field.form").read_text(), "every_field.form")


def draw(site: Flask, shown: Sheet) -> str:
    template = (
        '{% import "components/form.html" as forms with context %}'
        "{{ forms.error_summary(sheet) }}{{ forms.form_fields(sheet) }}"
    )
    with site.test_request_context("/?lang=en"):
        return render_template_string(template, sheet=shown)


def test_each_input_has_a_label_and_its_value(site: Flask, form: Form) -> None:
    values = {
        "name": 'A "quoted" <name>',
        "reason": "because",
        "copies": 2,
        "sure": True,
        "parts": ["b"],
        "kind": "out",
        "unit": "legal",
        "cameras": ["lobby"],
        "begin": "2026-02-01T02:00:30+00:00",
        "day": "2026-02-03",
        "guest": "police",
    }
    page = draw(site, Sheet(form, values=values, sources=SOURCES, places=PLACES, names={"case": {"number": "N-1"}}))
    assert 'value="A &#34;quoted&#34; &lt;name&gt;"' in page
    assert ">because</textarea>" in page
    assert re.search(r'name="copies" value="2"', page)
    assert re.search(r'name="sure" value="true" checked', page)
    assert re.search(r'name="parts" value="b" checked', page)
    assert re.search(r'name="kind" value="out" checked', page)
    assert '<option value="legal" selected>Legal' in page
    assert re.search(r'name="cameras" value="lobby" checked data-retention="7"', page)
    assert 'value="2026-02-01T10:00:30"' in page, "the wall clock of the company"
    assert 'type="date"' in page
    assert re.search(r"<output[^>]*>N-1</output>", page)
    assert 'name="number"' not in page, "a locked field cannot be posted"
    assert "<strong>this</strong>" in page
    assert "<li>one</li>" in page
    assert "<script" not in page
    for identity in re.findall(r'<label for="([^"]+)"', page):
        assert f'id="{identity}"' in page


def test_errors_are_tied_to_their_fields_and_summed_up(site: Flask, form: Form) -> None:
    errors = {
        "name": FieldError("This field is required.", {}),
        "reason": FieldError("At most %(limit)s.", {"limit": 9}),
    }
    page = draw(site, Sheet(form, values={}, errors=errors, sources=SOURCES))
    field = re.search(r'<input[^>]*name="name"[^>]*>', page)
    assert field
    assert 'aria-invalid="true"' in field[0]
    assert 'aria-required="true"' in field[0]
    assert 'aria-describedby="field-name-error field-name-help"' in field[0]
    assert '<a href="#field-name">姓名</a>' in page
    assert "At most 9." in page


def test_a_condition_is_drawn_for_those_without_a_script_and_given_to_the_script(site: Flask, form: Form) -> None:
    closed = draw(site, Sheet(form, values={"kind": "in"}, sources=SOURCES))
    opened = draw(site, Sheet(form, values={"kind": "out"}, sources=SOURCES))
    pattern = r'<div class="field[^>]*data-key="guest"[^>]*>'
    assert " hidden " in re.search(pattern, closed)[0]  # type: ignore[index]
    assert " hidden " not in re.search(pattern, opened)[0]  # type: ignore[index]
    rule = re.search(r"data-hide='([^']+)'[^>]*data-key=\"guest\"", closed)
    assert rule
    assert json.loads(rule[1].replace("&#34;", '"')) == [[["kind", False, "out"]]]


def test_labels_are_said_in_the_readers_language(site: Flask, form: Form) -> None:
    page = draw(site, Sheet(form, values={}, sources=SOURCES, labels={"姓名": "Name", "甲": "First"}))
    assert ">Name<" in page
    assert "<span>First</span>" in page


def test_what_is_posted_becomes_form_data(form: Form) -> None:
    typed = {"name": "Li", "begin": "2026-02-01T10:00", "day": "2026-02-03", "csrf_token": "x", "approved": "1"}
    posted = MultiDict([*typed.items(), ("parts", "a"), ("parts", "b")])
    assert read(form, posted) == {
        "name": "Li",
        "sure": False,
        "parts": ["a", "b"],
        "cameras": [],
        "begin": "2026-02-01T10:00:00+08:00",
        "day": "2026-02-03",
    }


@pytest.mark.parametrize("text", ["", "nonsense", "2026-13-01T10:00", "2026-02-01T10:00:00Z"])
def test_a_time_that_is_none_or_has_an_offset_stays_as_typed(text: str) -> None:
    assert with_offset(text) == text


def test_submitted_data_is_shown_without_what_is_hidden_and_with_numbers_masked(site: Flask, form: Form) -> None:
    data = {
        "name": "Li",
        "paper": "310101199001011234",
        "kind": "in",
        "guest": "nobody",
        "sure": True,
        "parts": ["a", "b"],
    }
    with site.test_request_context("/?lang=en"):
        sections = sheet(form, data, SOURCES, {"谁": "Who"})
    assert sections[1] == ("Who", [("姓名", "Li"), ("证件号码", "310***********1234")])
    assert ("确认", "Yes") in sections[0][1]
    assert ("部分", "甲, 乙") in sections[0][1]
    assert "nobody" not in str(sections)


def test_names_marked_personal_stay_readable(form: Form) -> None:
    paper = form.field("paper")
    assert paper is not None
    assert display(paper, "李申请") == "李申请"
    assert display(paper, "+8613800000001") == "+861******0001"


@given(st.text())
def test_markdown_never_lets_markup_through(text: str) -> None:
    allowed = {"p", "/p", "ul", "/ul", "li", "/li", "h3", "/h3", "br", "strong", "/strong", "code", "/code"}
    assert set(re.findall(r"<([^>]*)>", str(markdown(text)))) <= allowed
