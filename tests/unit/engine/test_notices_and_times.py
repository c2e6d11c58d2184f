"""Notices, due dates, and waking the workers of the same process."""

from datetime import timedelta

import pytest

from engine import calendar, notifications, wakeup
from engine.errors import ExpressionError


def notify(database, *people, template="Done."):
    with database.transaction() as session:
        return notifications.notify(session, people, template, {"n": 1}, link="/tasks")


def test_everybody_gets_one_notice_newest_first(database, clock):
    assert notify(database, "ann", "bob", "ann", template="first") == 2
    clock.forward(minutes=1)
    notify(database, "ann", template="second")
    with database.reading() as session:
        assert [notice.template for notice in notifications.unread(session, "ann")] == ["second", "first"]
        assert notifications.count_unread(session, "bob") == 1
        assert notifications.count_unread(session, "cy") == 0


def test_a_notice_that_was_read_stays_in_the_list_but_is_not_unread(database, clock):
    notify(database, "ann", template="first")
    notify(database, "ann", template="second")
    with database.transaction() as session:
        first = notifications.unread(session, "ann")[-1]
        notifications.mark_read(session, "ann", at=clock.at, notification_id=first.id)
    with database.reading() as session:
        assert [notice.template for notice in notifications.unread(session, "ann")] == ["second"]
        assert len(notifications.recent(session, "ann")) == 2


def test_nobody_marks_another_persons_notice(database, clock):
    notify(database, "ann")
    with database.transaction() as session:
        (notice,) = notifications.unread(session, "ann")
        notifications.mark_read(session, "bob", at=clock.at, notification_id=notice.id)
        assert notifications.count_unread(session, "ann") == 1
        notifications.mark_read(session, "ann", at=clock.at)
        assert notifications.count_unread(session, "ann") == 0


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("PT1H", timedelta(hours=1)),
        ("P2D", timedelta(days=2)),
        ("P1W", timedelta(weeks=1)),
        ("P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
    ],
)
def test_a_duration_is_read(text, span):
    assert calendar.duration(text) == span


@pytest.mark.parametrize("text", ["", "P", "PT", "1H", "P1Y", "P1M", "PT-1H", "two days", "P1D2H"])
def test_what_has_no_fixed_length_is_refused(text):
    with pytest.raises(ExpressionError):
        calendar.duration(text)


def test_a_task_without_a_term_is_never_due(clock):
    assert calendar.due(clock.at, " ") is None
    assert calendar.due(clock.at, "PT2H") == clock.at + timedelta(hours=2)


def test_workers_are_woken_by_the_commit_and_not_before(database):
    seen = wakeup.count()
    with database.transaction() as session:
        wakeup.announce(session)
        with session.begin_nested():
            notifications.notify(session, ["ann"], "x", {})
        assert wakeup.count() == seen
    assert wakeup.count() == seen + 1


def test_a_rolled_back_step_wakes_nobody(database):
    seen = wakeup.count()
    with database.transaction() as session:
        notifications.notify(session, ["ann"], "x", {})
        wakeup.announce(session)
        session.flush()
        session.rollback()
    assert wakeup.count() == seen


def test_a_rolled_back_savepoint_does_not_forget_to_wake_them(database):
    seen = wakeup.count()
    with database.transaction() as session:
        wakeup.announce(session)
        savepoint = session.begin_nested()
        notifications.notify(session, ["ann"], "x", {})
        savepoint.rollback()
    assert wakeup.count() == seen + 1
