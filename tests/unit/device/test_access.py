import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
from case_room import INSTANCE, NOW, People, add_instance, open_case
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from device import access, cases
from device.models import Case, CaseEvent
from engine.db import Database
from engine.errors import ConflictError, NotAllowedError, NotFoundError

TOMORROW = NOW + timedelta(days=1)


# ---- grants ---------------------------------------------------------------------------------------------------------


def test_nobody_sees_footage_without_a_grant(session: Session, case: Case, people: People) -> None:
    for username in ("applicant", "head", "member2", "reviewer", "archivist", "boss"):
        assert access.may_view(session, case, people[username], NOW) is None
        with pytest.raises(NotAllowedError, match=case.number):
            access.view(session, case, people[username], item="gate.mp4", at=NOW)


def test_a_grant_opens_the_footage_until_it_expires(session: Session, case: Case, people: People) -> None:
    access.grant(session, case, "applicant", "view", TOMORROW, actor="operator", at=NOW)
    permission = access.may_view(session, case, people["applicant"], NOW)
    assert permission is not None
    assert (permission.mode, permission.download) == ("view", False)
    assert access.may_view(session, case, people["applicant"], TOMORROW - timedelta(seconds=1)) is not None
    assert access.may_view(session, case, people["applicant"], TOMORROW) is None
    assert access.may_view(session, case, people["head"], NOW) is None


def test_a_grant_of_one_case_opens_no_other(session: Session, case: Case, people: People) -> None:
    other_id = uuid5(INSTANCE, "other")
    add_instance(session, other_id)
    other = open_case(session, other_id)
    access.grant(session, case, "applicant", "copy", TOMORROW, actor="operator", at=NOW)
    assert access.may_view(session, other, people["applicant"], NOW) is None


def test_revoking_ends_access_at_once(session: Session, case: Case, people: People) -> None:
    access.grant(session, case, "applicant", "copy", TOMORROW, actor="operator", at=NOW)
    assert access.revoke(session, case, "用途已完成", actor="archivist", at=NOW) == 1
    assert access.may_view(session, case, people["applicant"], NOW) is None
    assert access.revoke(session, case, "again", actor="archivist", at=NOW) == 0


def test_a_new_grant_replaces_the_earlier_one(session: Session, case: Case, people: People) -> None:
    access.grant(session, case, "applicant", "copy", TOMORROW, actor="operator", at=NOW)
    access.grant(session, case, "applicant", "still", TOMORROW, actor="operator", at=NOW)
    permission = access.may_view(session, case, people["applicant"], NOW)
    assert permission is not None
    assert permission.mode == "still"


def test_an_inactive_person_sees_nothing(session: Session, case: Case, people: People) -> None:
    access.grant(session, case, "applicant", "copy", TOMORROW, actor="operator", at=NOW)
    people["applicant"].active = False
    assert access.may_view(session, case, people["applicant"], NOW) is None


def test_the_retrieval_operator_checks_the_playback_only_while_the_case_is_open(
    session: Session, case: Case, people: People
) -> None:
    permission = access.may_view(session, case, people["operator"], NOW)
    assert permission is not None
    assert (permission.mode, permission.download) == ("check", False)
    cases.close(case, "refused", "", at=NOW)
    assert access.may_view(session, case, people["operator"], NOW) is None


def test_an_operator_who_applied_does_not_check_their_own_request(session: Session, case: Case, people: People) -> None:
    case.applicant = "operator"
    assert access.may_view(session, case, people["operator"], NOW) is None


def test_a_grant_of_an_unknown_mode_or_in_the_past_is_refused(session: Session, case: Case) -> None:
    with pytest.raises(ConflictError, match="master"):
        access.grant(session, case, "applicant", "master", TOMORROW, actor="operator", at=NOW)
    with pytest.raises(ConflictError, match="future"):
        access.grant(session, case, "applicant", "view", NOW, actor="operator", at=NOW)


# ---- the chain ------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(session: Session, case: Case, people: People) -> Case:
    access.record(session, case, "opened", "applicant", at=NOW, details={"说明": "开案"})
    access.grant(session, case, "applicant", "view", TOMORROW, actor="operator", at=NOW)
    access.view(session, case, people["applicant"], item="gate.mp4", origin="192.0.2.7", at=NOW)
    return case


def test_every_view_is_an_event_of_the_case(session: Session, logged: Case) -> None:
    events = access.case_events(session, logged)
    assert [event.kind for event in events] == ["opened", "granted", "viewed"]
    assert (events[-1].actor, events[-1].item, events[-1].origin) == ("applicant", "gate.mp4", "192.0.2.7")
    assert access.verify_case_chain(session, logged) == []


@pytest.mark.parametrize("column", ["at", "kind", "actor", "item", "origin", "details", "digest"])
def test_a_changed_column_breaks_the_chain(session: Session, logged: Case, column: str) -> None:
    value = TOMORROW if column == "at" else "changed"
    session.execute(update(CaseEvent).where(CaseEvent.seq == 2).values({column: value}))
    session.expire_all()
    assert 2 in {finding.seq for finding in access.verify_case_chain(session, logged)}


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_removed_event_breaks_the_chain(session: Session, logged: Case, seq: int) -> None:
    session.execute(delete(CaseEvent).where(CaseEvent.seq == seq))
    session.expire_all()
    assert access.verify_case_chain(session, logged) != []


def test_events_recorded_at_the_same_time_do_not_fork_the_chain(database: Database) -> None:
    with database.transaction() as session:
        case_id = open_case(session).id

    def look(name: str) -> None:
        for _ in range(5):
            with database.transaction() as session:
                access.record(session, session.get_one(Case, case_id), "viewed", name, at=NOW)

    threads = [threading.Thread(target=look, args=(f"person{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    with database.reading() as session:
        case = session.get_one(Case, case_id)
        assert access.verify_case_chain(session, case) == []
        assert session.scalars(select(CaseEvent.seq).order_by(CaseEvent.seq)).all() == list(range(1, 21))


# ---- cases ----------------------------------------------------------------------------------------------------------


def test_cases_are_numbered_by_the_local_year(session: Session) -> None:
    numbers = []
    for day, name in [
        (datetime(2026, 12, 31, 15, 59, tzinfo=UTC), "a"),
        (datetime(2026, 12, 31, 15, 59, tzinfo=UTC), "b"),
        (datetime(2026, 12, 31, 16, 0, tzinfo=UTC), "c"),
    ]:
        instance_id = uuid5(INSTANCE, name)
        add_instance(session, instance_id)
        case = cases.open_case(
            session, instance_id, applicant="applicant", department_id=None, at=day, overwritten_at=None
        )
        numbers.append(case.number)
    assert numbers == ["调取-2026-0001", "调取-2026-0002", "调取-2027-0001"]


def test_the_ten_thousandth_case_follows(session: Session, case: Case) -> None:
    case.number = "调取-2026-9999"
    session.flush()
    following = []
    for name in ("x", "y"):
        add_instance(session, uuid5(INSTANCE, name))
        following.append(open_case(session, uuid5(INSTANCE, name)).number)
    assert following == ["调取-2026-10000", "调取-2026-10001"]


def test_an_instance_keeps_its_case(session: Session, case: Case) -> None:
    assert open_case(session).number == case.number
    assert cases.of_instance(session, INSTANCE) is case
    assert cases.find(session, case.number) is case


def test_a_case_that_is_not_there_is_said(session: Session) -> None:
    with pytest.raises(NotFoundError):
        cases.of_instance(session, UUID(int=0))
    with pytest.raises(NotFoundError, match="调取-1999-0001"):
        cases.find(session, "调取-1999-0001")


def test_numbers_stay_unique_when_cases_open_at_once(database: Database) -> None:
    with database.transaction() as session:
        for number in range(12):
            add_instance(session, uuid5(INSTANCE, str(number)))

    def open_three(first: int) -> None:
        for number in range(first, first + 3):
            with database.transaction() as session:
                open_case(session, uuid5(INSTANCE, str(number)))

    threads = [threading.Thread(target=open_three, args=(first,)) for first in (0, 3, 6, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    with database.reading() as session:
        assert sorted(session.scalars(select(Case.number))) == [f"调取-2026-{n:04d}" for n in range(1, 13)]


def test_a_case_ends_once(case: Case) -> None:
    cases.close(case, "refused", "无合法依据", at=NOW)
    cases.close(case, "refused", "again", at=TOMORROW)
    assert (case.reason, case.closed_at) == ("无合法依据", NOW)
    with pytest.raises(ConflictError, match="already ended"):
        cases.close(case, "archived", "", at=NOW)
    with pytest.raises(ConflictError, match="no outcome"):
        cases.close(case, "lost", "", at=NOW)
