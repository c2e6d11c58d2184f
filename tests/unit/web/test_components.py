"""The coverage timeline, the ways on, times and sizes as people read them."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask, render_template_string

from device import operators as _operators  # noqa: F401 - registers what the diagram's service tasks name
from engine import definitions
from engine.db import Database
from engine.settings import ROOT
from web import i18n, outlook
from web.coverage import timeline

START, END = "2026-02-01T10:00:00+08:00", "2026-02-01T10:20:00+08:00"
BREAK = "2026-02-01T10:05:00+08:00"
CLOCK = {"clock_offset_seconds": 2.34, "clock_uncertainty_seconds": 0.05}
COVERAGE = {
    "status": "partial",
    "overwritten_at": "2026-03-03T10:00:00+08:00",
    "cameras": [
        {"camera": "gate", "name": "Gate", "status": "complete", "recorded": [[START, END]], "gaps": [], **CLOCK},
        {
            "camera": "lobby",
            "name": "<Lobby>",
            "status": "partial",
            "recorded": [[START, BREAK]],
            "gaps": [[BREAK, END, "not_recorded"]],
        },
        {"camera": "garage", "name": "Garage", "status": "none", "recorded": [], "gaps": []},
    ],
}


def test_the_timeline_places_everything_on_one_clock() -> None:
    line = timeline(COVERAGE, START, END, acquired={"gate": [[START, "2026-02-01T10:10:00+08:00"]]})
    assert line is not None
    gate, lobby, garage = line.bars
    assert gate.stretches[0].x == line.frame_x
    assert gate.stretches[0].width == pytest.approx(line.frame_width, abs=0.01)
    assert gate.stretches[1].width == pytest.approx(line.frame_width / 2, abs=0.01)
    recorded, gap = lobby.stretches
    assert recorded.x + recorded.width == pytest.approx(gap.x, abs=0.01)
    assert gap.width == pytest.approx(line.frame_width * 0.75, abs=0.01)
    assert [part.kind for part in garage.stretches] == ["gap"], "no footage at all is one long gap"
    assert [text for _x, text in line.ticks] == ["10:00", "10:05", "10:10", "10:15", "10:20"]


@pytest.mark.parametrize("coverage", [{}, {"cameras": []}])
def test_without_an_answer_of_the_recorders_nothing_is_drawn(coverage: dict[str, object]) -> None:
    assert timeline(coverage, START, END) is None
    assert timeline(COVERAGE, END, START) is None
    assert timeline(COVERAGE, "", "") is None


def test_the_timeline_is_drawn_without_inline_style_and_said_as_a_table(site: Flask) -> None:
    template = '{% import "components/coverage.html" as c with context %}{{ c.coverage(line) }}'
    with site.test_request_context("/?lang=en"):
        page = render_template_string(template, line=timeline(COVERAGE, START, END))
    assert "style=" not in page
    assert "<Lobby>" not in page
    assert page.count("<svg") >= 4
    assert "2.3 s fast" in page
    assert "Will be overwritten on 2026-03-03 10:00." in page
    assert page.count('<th scope="row"') == 4
    assert "Gap (not recorded)" in page


@pytest.mark.parametrize(
    ("hours", "first", "count"),
    [(1 / 60, "10:00:00", 7), (24, "12:00", 4), (72, "12:00", 6)],
)
def test_ticks_are_round_times(hours: float, first: str, count: int) -> None:
    end = (datetime.fromisoformat(START) + timedelta(hours=hours)).isoformat()
    line = timeline(COVERAGE, START, end)
    assert line is not None
    assert (line.ticks[0][1], len(line.ticks)) == (first, count)


def test_the_ways_on_are_read_from_the_deployed_diagram(database: Database, clock) -> None:
    with database.transaction() as session:
        deployed = definitions.deploy(session, definitions.read_folder(ROOT / "bpmn"), by="owner")
        (procedure,) = (each for each in deployed if each.process_id == "footage_retrieval")
        compiled = definitions.compiled(session, procedure.id)
    ways = outlook.after(compiled, "sign_application", {}, ["同意", "退回补正", "驳回"])
    assert [way.answer for way in ways] == ["同意", "退回补正", "驳回"]
    assert ways[0].reached[0].lane == "审核员"
    assert ways[1].reached[0].name == "填写调取申请表"
    translated = outlook.after(compiled, "sign_application", {"同意": "approve"})
    assert "approve" in {way.answer for way in translated}
    assert len(outlook.when_late(compiled, "sign_application", {})) == 2
    assert outlook.after(compiled, "no_such_element", {}) == []


def test_times_are_shown_on_the_companys_clock(site: Flask) -> None:
    at = datetime(2026, 2, 1, 2, 0, 5, tzinfo=UTC)
    with site.test_request_context("/?lang=en"):
        assert i18n.format_time(at) == "2026-02-01 10:00"
        assert i18n.format_time(at, seconds=True, zone=True) == "2026-02-01 10:00:05 (UTC+8)"
        assert i18n.format_time(None) == ""
        assert i18n.format_span(START, END) == "2026-02-01 10:00 – 10:20"
        assert i18n.format_span(START, "2026-02-02T00:00:05+08:00") == "2026-02-01 10:00:00 – 2026-02-02 00:00:05"
        assert i18n.relative(at, at + timedelta(hours=3)) == "3 h ago"
        assert i18n.relative(at, at - timedelta(days=2, hours=3)) == "in 2 d 3 h"
        assert i18n.relative(at, at) == "just now"


@pytest.mark.parametrize(
    ("size", "text"), [(None, ""), (0, "0 B"), (999, "999 B"), (63_400_000, "63.4 MB"), (5e12, "5000 GB")]
)
def test_sizes_have_three_figures(size: float | None, text: str) -> None:
    assert i18n.format_bytes(size) == text


def test_the_language_is_asked_for_kept_and_changed(visitor) -> None:
    client = visitor().client
    client.get("/sign-in")
    assert 'lang="zh-CN"' in client.get("/first-run").text
    assert 'lang="en"' in client.get("/first-run?lang=en").text
    assert 'lang="en"' in client.get("/first-run").text
    assert 'lang="zh-CN"' in client.get("/first-run?lang=zh").text
    assert 'lang="zh-CN"' in client.get("/first-run?lang=xx").text
