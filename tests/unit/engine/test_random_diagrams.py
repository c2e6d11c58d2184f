"""Random diagrams × random interleavings × random kill points: live, reloaded and re-executed state are equal."""

import contextlib
import itertools
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from random_cases import Case, KilledError, killed_at
from random_diagrams import ANSWERS, DATA, Diagram, diagrams

from engine import definitions, instances, live, projections
from engine.columns import Base
from engine.db import Database
from engine.errors import ConflictError
from engine.settings import Settings
from engine.spiff import step

BEGIN = datetime(2026, 2, 2, 1, tzinfo=UTC)
OF_INSTANCES = {"instances", "history", "tasks", "jobs", "messages", "subscriptions", "notifications", "personal_keys"}
LONGEST = 40
"""Actions after which an instance is left where it stands."""

ENDINGS = st.sampled_from(["go on", "go on", "go on", "forget", "reopen", "kill", "kill"])


def drive(
    database: Database, clock: Any, monkeypatch: pytest.MonkeyPatch, service: Settings, diagram: Diagram, data: Any
) -> str:
    """Run one instance of `diagram` in an order, with ends of the process, that `data` chooses; its last state."""
    begin_anew(database, clock, monkeypatch)
    with database.transaction() as session:
        definitions.deploy(session, diagram.files, by="owner")
    monkeypatch.setattr(instances, "SNAPSHOT_EVERY", data.draw(st.integers(1, 6), label="inputs between snapshots"))
    case = Case(database, clock, DATA)
    try:
        return run(case, data, service)
    finally:
        case.database.dispose()


def run(case: Case, data: Any, service: Settings) -> str:
    for _ in range(LONGEST):
        actions = case.actions()
        if not actions:
            return "ended"
        action = data.draw(st.sampled_from(actions), label="action")
        value = data.draw(st.integers(0, 3), label="value")
        ending = data.draw(ENDINGS, label="ending")
        if ending == "forget":
            live.forget()
        elif ending == "reopen":
            live.forget()
            case.database.dispose()
            case.database = Database.of(service)
        elif ending == "kill":
            kill(case, action, value, data.draw(st.integers(0, 12), label="statement"))
        with contextlib.suppress(ConflictError):
            case.do(action, value)
        case.check()
    return "left"


def begin_anew(database: Database, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No instance, the same time, the same ids: else a found example would not be found again."""
    live.forget()
    clock.set(BEGIN)
    ids = (UUID(int=number) for number in itertools.count(1))
    for module in (instances, projections):
        monkeypatch.setattr(module, "uuid4", lambda: next(ids))
    ANSWERS.clear()
    monkeypatch.setattr(step, "MAX_CHANGES", 2_000)  # a signal that calls itself back is refused in a moment
    with database.transaction() as session:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name in OF_INSTANCES:
                session.execute(table.delete())


def kill(case: Case, action: Any, value: int, statement: int) -> None:
    """An end of the process in the middle of an action leaves the tables as they were."""
    before = case.facts()
    with killed_at(case.database, statement), contextlib.suppress(KilledError, ConflictError):
        case.do(action, value)
    if case.facts() != before:
        assert action[0] in ("signal", "timer", "claim"), "half of a step was stored"
    case.check()


def examples(number: int) -> Any:
    return budget(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # to shrink what it finds takes minutes: add Phase.shrink by hand
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@examples(10)
@given(diagram=diagrams(blocks=5), data=st.data())
def test_live_reloaded_and_re_executed_state_are_equal(
    deployed: Database, clock: Any, monkeypatch: pytest.MonkeyPatch, settings: Settings, diagram: Diagram, data: Any
) -> None:
    drive(deployed, clock, monkeypatch, settings, diagram, data)


@pytest.mark.long
@examples(200)
@given(diagram=diagrams(), data=st.data())
def test_live_reloaded_and_re_executed_state_are_equal_in_many_diagrams(
    deployed: Database, clock: Any, monkeypatch: pytest.MonkeyPatch, settings: Settings, diagram: Diagram, data: Any
) -> None:
    drive(deployed, clock, monkeypatch, settings, diagram, data)
