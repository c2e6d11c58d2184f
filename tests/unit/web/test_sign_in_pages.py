"""Signing in, the first administrator, and the rule that every page needs a person."""

import re

import pytest
from browsing import PASSWORD
from flask import Flask
from sqlalchemy import select

from engine import identity
from engine.db import Database
from engine.models import User
from web.security import local_address


def test_without_any_user_every_way_leads_to_the_first_run_page(visitor) -> None:
    assert visitor().get("/sign-in").location == "/first-run"
    assert "Welcome" in visitor().get("/first-run").text


def test_the_first_administrator_is_created_signed_in_and_nobody_else_after(visitor, database: Database) -> None:
    first = visitor()
    sent = {"name": "褚管理", "username": "root", "password": "a long sentence", "repeat": "a long sentence"}
    assert first.post("/first-run", sent).location == "/tasks"
    assert first.get("/tasks").status_code == 200
    with database.reading() as session:
        assert session.scalars(select(User)).one().groups == {"admin", "employee"}
    late = visitor()
    assert late.get("/first-run").location == "/sign-in"
    late.post("/first-run", {**sent, "username": "intruder"})
    with database.reading() as session:
        assert len(session.scalars(select(User)).all()) == 1


def test_the_first_run_page_keeps_what_was_typed_and_names_what_is_wrong(visitor) -> None:
    answer = visitor().post("/first-run", {"name": "Chu", "username": "a b", "password": "short", "repeat": "short"})
    assert answer.status_code == 422
    assert 'value="Chu"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    differing = visitor().post("/first-run", {"name": "Chu", "username": "chu", "password": PASSWORD, "repeat": "x"})
    assert "The two passwords differ." in differing.text


def test_every_page_but_the_public_ones_asks_for_a_sign_in(site: Flask, visitor, people) -> None:
    people.add("anyone", "employee")
    stranger = visitor()
    public = {"static", "auth.sign_in", "auth.first_run", "api.health", "api.metrics", "api.openapi_document"}
    open_to_strangers = set()
    for rule in site.url_map.iter_rules():
        values = dict.fromkeys(rule.arguments, "00000000-0000-0000-0000-000000000001")
        values |= {name: 1 for name in rule.arguments if "int:" in rule.rule and f"int:{name}" in rule.rule}
        values |= {name: words.split(",")[0] for words, name in re.findall(r"any\(([^)]+)\):(\w+)", rule.rule)}
        with site.test_request_context():
            address = site.url_for(rule.endpoint, **values) if rule.endpoint != "static" else "/static/css/base.css"
        method = "GET" if rule.methods and "GET" in rule.methods else "POST"
        answer = stranger.client.open(address, method=method)
        if answer.status_code not in {302, 401} or (answer.location and "/sign-in" not in answer.location):
            open_to_strangers.add(rule.endpoint)
        answer.close()
    assert open_to_strangers <= public


def test_after_signing_in_one_is_where_one_wanted_to_go(visitor, people) -> None:
    people.add("anyone", "employee")
    stranger = visitor()
    assert stranger.client.get("/requests?lang=en").location == "/sign-in?next=/requests?lang%3Den"
    assert stranger.sign_in("anyone", next="/requests").location == "/requests"


@pytest.mark.parametrize(
    "address",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "/\n/evil.example", "", "x"],
)
def test_a_sign_in_never_leads_to_another_site(visitor, people, address: str) -> None:
    people.add("anyone", "employee")
    assert local_address(address) is None
    assert visitor().sign_in("anyone", next=address).location == "/tasks"


def test_a_wrong_password_is_refused_without_saying_what_was_wrong(visitor, people) -> None:
    people.add("anyone", "employee")
    wrong, unknown = visitor().sign_in("anyone", "nonsense"), visitor().sign_in("nobody", "nonsense")
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert "The user name or the password is wrong" in wrong.text
    assert wrong.text.count("user name or the password is wrong") == unknown.text.count(
        "user name or the password is wrong"
    )


def test_guessing_locks_the_account_for_a_while(visitor, people, clock) -> None:
    people.add("anyone", "employee")
    for _attempt in range(identity.LOCK_AFTER):
        visitor().sign_in("anyone", "nonsense")
    assert visitor().sign_in("anyone").status_code == 401
    clock.forward(minutes=16)
    assert visitor().sign_in("anyone").status_code == 302


def test_a_changed_password_and_a_closed_account_end_the_open_sessions(visitor, people, database) -> None:
    people.add("anyone", "employee")
    people.add("other", "employee")
    one, other = visitor("anyone"), visitor("other")
    with database.transaction() as session:
        identity.change_password(session, "anyone", "another long sentence")
        session.scalars(select(User).where(User.username == "other")).one().active = False
    assert "/sign-in" in one.get("/tasks").location
    assert "/sign-in" in other.get("/tasks").location


def test_signing_out_forgets_the_session(visitor, people) -> None:
    people.add("anyone", "employee")
    anyone = visitor("anyone")
    assert anyone.post("/sign-out").location == "/sign-in"
    assert "/sign-in" in anyone.get("/tasks").location
