"""What every answer carries, and what is refused before any page sees it."""

import logging
import re

import pytest
from flask import Flask

from device.recorders.base import RecorderUnreachableError
from engine import identity
from engine.db import Database
from engine.errors import (
    ConflictError,
    DefinitionError,
    NotAllowedError,
    NotFoundError,
    OversizedError,
    Problem,
    Sentence,
    sentence_of,
)
from web.auth import public
from web.errors import status_of


def test_pages_forbid_foreign_scripts_styles_and_frames(visitor, people) -> None:
    people.add("anyone", "employee")
    answer = visitor("anyone").get("/tasks")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Strict-Transport-Security" not in answer.headers


def test_over_https_the_browser_is_told_to_stay_there(visitor, people) -> None:
    people.add("anyone", "employee")
    client = visitor().client
    answer = client.get("/sign-in", base_url="https://localhost")
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "SameSite=Lax" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("page", ["/sign-in", "/tasks", "/requests", "/requests/new", "/notices", "/nothing"])
def test_no_page_has_inline_scripts_styles_or_handlers(visitor, office: Database, page: str) -> None:
    text = visitor("applicant" if page != "/sign-in" else "").get(page).text
    assert not re.search(r"<script(?![^>]*(src=|application/json))", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)


def test_a_post_without_the_token_of_a_page_is_refused(visitor, people) -> None:
    people.add("anyone", "employee")
    anyone = visitor("anyone")
    answer = anyone.client.post("/notices/read")
    assert answer.status_code == 400
    assert "The page was open too long" in answer.text


def test_a_cookie_cannot_act_through_the_api_without_a_token(visitor, people) -> None:
    people.add("boss", "admin")
    answer = visitor("boss").client.post("/api/v1/instances", json={"process_id": "x", "data": {}})
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"


def test_a_bearer_token_counts_alone_and_a_wrong_one_is_not_helped_by_a_cookie(
    visitor, people, database: Database
) -> None:
    user = people.add("anyone", "employee")
    with database.transaction() as session:
        token = identity.issue_token(session, session.merge(user, load=False))
    stranger = visitor().client
    assert stranger.get("/tasks", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    signed_in = visitor("anyone").client
    answer = signed_in.get("/tasks", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("x"), 404),
        (NotAllowedError("x"), 403),
        (identity.WrongPasswordError(), 403),
        (ConflictError("x"), 409),
        (OversizedError("x"), 413),
        (DefinitionError([]), 422),
        (RecorderUnreachableError("x"), 504),
        (ValueError("x"), 500),
    ],
)
def test_the_table_of_errors(error: Exception, status: int) -> None:
    assert status_of(error) == status


def test_an_error_is_a_page_for_people_and_a_problem_document_for_programs(site: Flask) -> None:
    problem = Problem("a.bpmn", 7, "task_1", "no-form", Sentence("there is no such form"))

    @site.get("/broken")
    @public
    def broken() -> str:
        raise DefinitionError([problem])

    page = site.test_client().get("/broken?lang=en")
    assert page.status_code == 422
    assert "a.bpmn:7" in page.text
    document = site.test_client().get("/broken?lang=en", headers={"Accept": "application/json"})
    assert document.content_type == "application/problem+json"
    assert document.json["problems"][0]["element"] == "task_1"
    assert document.json["status"] == 422


@pytest.mark.parametrize(
    ("language", "told"),
    [("zh", "1号录像机：录像机正忙（503）。"), ("en", "1号录像机: The recorder is busy (503).")],
)
def test_what_a_recorder_answered_is_said_in_the_readers_language(site: Flask, language: str, told: str) -> None:
    busy = RecorderUnreachableError("The recorder is busy (503).")

    @site.get("/busy")
    @public
    def busy_recorder() -> str:
        raise RecorderUnreachableError("%(recorder)s: %(error)s", recorder="1号录像机", error=sentence_of(busy))

    for accepted in ("text/html", "application/json"):
        answer = site.test_client().get(f"/busy?lang={language}", headers={"Accept": accepted})
        assert answer.status_code == 504
        assert told in (answer.json["detail"] if accepted == "application/json" else answer.text)


def test_what_nobody_foresaw_gets_a_reference_number_that_is_in_the_log(
    site: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    @site.get("/broken")
    @public
    def broken() -> str:
        raise RuntimeError("a secret detail")

    with caplog.at_level(logging.ERROR, logger="diaoqu.web"):
        page = site.test_client().get("/broken?lang=en")
    assert page.status_code == 500
    assert "a secret detail" not in page.text
    reference = re.search(r"<code>([0-9A-F]{8})</code>", page.text)
    assert reference
    assert reference[1] in caplog.text
