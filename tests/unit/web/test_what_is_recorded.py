"""What a case has read from tables is in its history: it is re-executed without people, groups, settings, registers."""

import re
from typing import Any

from procedure import APPROVED, House
from sqlalchemy import delete, event, select, update

from device.models import Camera, Case, Grant, Recorder
from engine import history, live, replay
from engine.models import (
    Department,
    Deputy,
    Draft,
    HistoryEvent,
    Job,
    Membership,
    Message,
    Notification,
    Qualification,
    Signature,
    Subscription,
    Task,
    User,
)

TRUTH = {
    "history", "instances", "process_definitions", "deployments", "deployed_files", "seals", "sealed_heads",
}  # fmt: skip
"""What re-execution may read: the inputs, the diagrams, and what was sealed."""


def forget_everybody(house: House) -> None:
    """Nothing that the case has looked up is as it was; what it has projected is gone."""
    with house.database.transaction() as session:
        for table in (Membership, Deputy, Qualification, Grant, Notification, Draft, Signature, Message, Subscription):
            session.execute(delete(table))
        session.execute(update(User).values(name="?", name_en="?", title="?", department_id=None, active=False))
        session.execute(update(Department).values(name="?", head_username=None, parent_id=None))
        session.execute(update(Camera).values(name="?", name_en="?"))
        session.execute(update(Recorder).values(name="?", retention_days=1))
        session.execute(update(Case).values(number=Case.number + "?"))
        session.execute(update(Task).values(assignee=None, candidate_users=[], excluded=[]))
        session.execute(update(Job).values(params={}))


def tables_read(statements: list[str]) -> set[str]:
    found: set[str] = set()
    for statement in statements:
        found |= set(re.findall(r'\b(?:FROM|JOIN)\s+"?(\w+)', statement))
    return found


def test_a_case_is_re_executed_when_people_groups_settings_and_registers_are_others(evening: House) -> None:
    instance = evening.request("gate", to="confirm_readiness")
    with evening.database.reading() as session:
        asked = {
            operator for row in history.events(session, instance) for operator in re.findall(r"\w+/\w+", row.lookups)
        }
    assert "case/open" in asked
    forget_everybody(evening)
    live.forget()
    statements: list[str] = []

    @event.listens_for(evening.database.reader, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    with evening.database.reading() as session:
        verdict = replay.verify(session, instance)
    assert (verdict.findings, verdict.events >= 6) == ([], True)
    assert tables_read(statements) <= TRUTH


def test_the_next_step_of_such_a_case_goes_on_from_what_was_recorded(evening: House) -> None:
    instance = evening.request("gate", to="confirm_readiness")
    with evening.database.reading() as session:
        before = session.scalars(select(HistoryEvent.digest).where(HistoryEvent.instance_id == instance)).all()
    with evening.database.transaction() as session:
        session.execute(update(User).where(User.username != "operator").values(name="?", department_id=None))
        session.execute(update(Department).values(head_username="admin"))
        session.execute(delete(Membership).where(Membership.group == "committee"))
    live.forget()
    _by, decision = APPROVED["confirm_readiness"]
    evening.submit(instance, "confirm_readiness", decision, by="operator")
    with evening.database.reading() as session:
        after = session.scalars(select(HistoryEvent.digest).where(HistoryEvent.instance_id == instance)).all()
        assert replay.verify(session, instance).findings == []
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
