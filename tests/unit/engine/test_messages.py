"""Instances that talk: messages with one receiver, signals with many, each delivered exactly once."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from conversations import TALKING
from sqlalchemy import delete, event, select

from engine import definitions, history, instances, live, messages, notifications, replay, subscriptions, suspension
from engine.errors import ConflictError, InvalidFormError, NotFoundError
from engine.models import Instance, Message, Subscription
from engine.worker import Worker

HERE = Path(__file__).parent


@pytest.fixture
def talking(office, deployed):
    with deployed.transaction() as session:
        definitions.deploy(session, TALKING, by="owner")
    return office


def of_process(database, process_id):
    with database.reading() as session:
        query = select(Instance).where(Instance.process_id == process_id).order_by(Instance.started_at, Instance.id)
        return list(session.scalars(query))


def letters(database):
    with database.reading() as session:
        return list(session.scalars(select(Message).order_by(Message.sent_at, Message.place, Message.id)))


def last_input(database, instance):
    with database.reading() as session:
        row = history.events(session, instance.id)[-1]
        return row.kind, row.actor, orjson.loads(row.payload), orjson.loads(row.derived)


def everything_verifies(database):
    """Without the messages and what anybody waits for: a history speaks for itself."""
    with database.reading() as session:
        session.execute(delete(Message))
        session.execute(delete(Subscription))
        for instance_id in session.scalars(select(Instance.id)):
            assert replay.verify(session, instance_id).findings == []
    return True


def test_an_order_starts_an_instance_and_its_confirmation_finds_the_one_that_ordered(talking, deployed, worker):
    first, second = talking.start("shop", number=1), talking.start("shop", number=2)
    worker()
    one, two = of_process(deployed, "store")
    assert {one.data["request"]["order"]["number"], two.data["request"]["order"]["number"]} == {1, 2}
    for store in (one, two):
        talking.complete("second", talking.task(store, "pack"))
    worker()
    for shop, number in ((first, 1), (second, 2)):
        assert talking.now(shop).data["confirmation"] == {"number": number, "packed": True}
        assert talking.task(shop, "read").state == "open"
    assert [letter.state for letter in letters(deployed)] == ["delivered"] * 4
    assert [letter.payload for letter in letters(deployed)] == [None] * 4
    assert everything_verifies(deployed)


def test_the_receiver_records_who_sent_it_and_the_sender_what_it_threw(talking, deployed, worker):
    shop = talking.start("shop", number=1)
    worker()
    (store,) = of_process(deployed, "store")
    kind, actor, payload, _derived = last_input(deployed, store)
    assert (kind, actor, payload["event"]) == ("start", "message", "ordered")
    assert payload["from"] == {"instance": str(shop.id), "event": 1, "element": "order"}
    assert store.started_by == "applicant"
    _kind, _actor, _payload, derived = last_input(deployed, shop)
    ((element, what, name, digest),) = derived["thrown"]
    assert (element, what, name) == ("order", "message", "order")
    assert digest == definitions.text_digest('{"order":{"number":1}}')


def test_a_thrown_message_that_was_changed_in_the_history_is_found(talking, deployed, worker):
    shop = talking.start("shop", number=1)
    with deployed.transaction() as session:
        (row,) = history.events(session, shop.id)
        row.derived = row.derived.replace('"order","message"', '"other","message"')
    with deployed.reading() as session:
        assert "event 1: repeating it leads elsewhere than what was recorded" in [
            str(finding) for finding in replay.verify(session, shop.id).findings
        ]


def test_a_message_that_nobody_waits_for_yet_stays_until_somebody_does(talking, deployed, worker, clock):
    talking.start("caller")
    worker()
    (letter,) = letters(deployed)
    assert (letter.state, letter.due_at) == ("waiting", clock.at + messages.LOOK_AGAIN)
    waiter = talking.start("waiter")
    worker()
    assert (talking.now(waiter).state, talking.now(waiter).data) == ("completed", {"call": {"number": 1}})
    assert letters(deployed)[0].received_by == waiter.id


def test_a_message_that_nobody_takes_in_time_is_reported(talking, deployed, worker, clock):
    talking.start("caller")
    clock.forward(hours=1, minutes=59)
    worker()
    clock.forward(minutes=1)
    worker()
    assert [letter.state for letter in letters(deployed)] == ["expired"]
    with deployed.reading() as session:
        (notice,) = notifications.unread(session, "operator")
        assert [one.name for one in messages.undelivered(session)] == ["call"]
    assert (notice.params, notice.link) == ({"name": "call"}, "/operations")
    waiter = talking.start("waiter")
    worker()
    assert talking.now(waiter).state == "running"


def test_without_a_time_of_its_own_a_message_waits_as_long_as_the_settings_say(talking, deployed, clock):
    with deployed.transaction() as session:
        messages.send(session, "call", {"number": 1}, by="admin")
    clock.forward(hours=3)
    messages.deliver_due(deployed, kept=timedelta(hours=4))
    assert letters(deployed)[0].state == "waiting"
    clock.forward(hours=1)
    messages.deliver_due(deployed, kept=timedelta(hours=4))
    assert letters(deployed)[0].state == "expired"


def test_what_was_waited_for_all_the_time_arrives_although_the_worker_was_away_for_too_long(
    talking, deployed, worker, clock
):
    waiter = talking.start("waiter")
    talking.start("caller")
    clock.forward(days=3)
    worker()
    assert talking.now(waiter).state == "completed"


def test_two_instances_that_nothing_tells_apart_are_a_conflict_and_neither_gets_the_message(
    talking, deployed, worker, clock
):
    one, two = talking.start("waiter"), talking.start("waiter")
    talking.start("caller")
    worker()
    (letter,) = letters(deployed)
    assert letter.state == "waiting"
    assert "More than one instance waits for the message call" in str(letter.error)
    assert str(one.id) in str(letter.error)
    assert str(two.id) in str(letter.error)
    with pytest.raises(ConflictError, match="More than one instance"), deployed.transaction() as session:
        messages.send(session, "call", {"number": 1}, by="admin")
    assert (talking.now(one).seq, talking.now(two).seq, len(letters(deployed))) == (1, 1, 1)
    with deployed.transaction() as session:
        instances.cancel(session, one.id, "by mistake", by="admin")
    clock.forward(minutes=1)
    worker()
    assert talking.now(two).state == "completed"


def test_a_business_key_tells_apart_what_the_diagram_does_not(talking, deployed):
    with deployed.transaction() as session:
        found = [instances.start(session, "waiter", {}, by="applicant", business_key=key) for key in ("A-1", "A-2")]
    with deployed.transaction() as session:
        assert messages.send(session, "call", {"number": 1}, by="admin", business_key="A-2").received_by == found[1].id
        assert messages.send(session, "call", {"number": 1}, by="admin", business_key="A-3").state == "waiting"
    assert [talking.now(one).state for one in found] == ["running", "completed"]


def test_a_message_that_no_receiver_can_read_stays_in_nobodys_way(talking, deployed, worker):
    with pytest.raises(ConflictError, match="lacks what the process compares"), deployed.transaction() as session:
        messages.send(session, "order", {"order": "unreadable"}, by="admin")
    talking.start("scrambler")
    talking.start("shop", number=5)
    worker()
    assert [store.data["request"]["order"] for store in of_process(deployed, "store")] == [{"number": 5}]
    (unreadable,) = [letter for letter in letters(deployed) if letter.state == "waiting"]
    assert "lacks what the process compares" in str(unreadable.error)


def test_an_instance_that_has_ended_waits_for_nothing(talking, deployed):
    waiter = talking.start("waiter")
    with deployed.transaction() as session:
        assert [row.name for row in session.scalars(select(Subscription))] == ["call"]
        instances.cancel(session, waiter.id, "over", by="admin")
    with deployed.reading() as session:
        assert session.scalars(select(Subscription)).all() == []


def test_what_an_instance_of_an_earlier_release_waits_for_is_asked_once(talking, deployed, worker):
    waiter, done = talking.start("waiter"), talking.start("waiter")
    with deployed.transaction() as session:
        instances.cancel(session, done.id, "over", by="admin")
        for row in session.scalars(select(Subscription)):
            session.delete(row)
        session.flush()
        for one in (waiter, done):
            session.add(
                Subscription(
                    instance_id=one.id,
                    kind=subscriptions.UNKNOWN,
                    name="",
                    correlation="",
                    definition_id=one.definition_id,
                )
            )
    talking.start("caller")
    worker()
    assert talking.now(waiter).state == "completed"
    with deployed.reading() as session:
        assert session.scalars(select(Subscription)).all() == []


def test_a_suspended_instance_gets_its_message_when_it_goes_on(talking, deployed, worker, clock):
    waiter = talking.start("waiter")
    with deployed.transaction() as session:
        suspension.suspend(session, waiter.id, "an inquiry", by="admin")
    talking.start("caller")
    worker()
    (letter,) = letters(deployed)
    assert (letter.state, "suspended" in str(letter.error)) == ("waiting", True)
    with deployed.transaction() as session:
        suspension.resume(session, waiter.id, "it is over", by="admin")
    clock.forward(minutes=1)
    worker()
    assert talking.now(waiter).state == "completed"


# ---- by hand


def test_a_message_whose_time_is_over_is_delivered_by_hand_and_the_receiver_says_who_and_why(
    talking, deployed, worker, clock
):
    caller = talking.start("caller")
    clock.forward(hours=3)
    worker()
    waiter = talking.start("waiter")
    worker()
    (letter,) = letters(deployed)
    assert (letter.state, talking.now(waiter).state) == ("expired", "running")
    sent = messages.deliver_now(deployed, letter.id, " it came too late ", by="operator")
    assert (sent.state, sent.received_by, sent.ended_by, sent.reason) == (
        "delivered",
        waiter.id,
        "operator",
        "it came too late",
    )
    assert talking.now(waiter).state == "completed"
    kind, actor, payload, _derived = last_input(deployed, waiter)
    assert (kind, actor, payload["reason"]) == ("message", "operator", "it came too late")
    assert payload["from"]["instance"] == str(caller.id)
    with pytest.raises(ConflictError, match="it is delivered"):
        messages.deliver_now(deployed, letter.id, "once more", by="operator")
    assert everything_verifies(deployed)


def test_a_message_that_cannot_be_delivered_by_hand_stays_and_says_why(talking, deployed, worker):
    talking.start("caller")
    worker()
    (letter,) = letters(deployed)
    with pytest.raises(ConflictError, match="Nobody waits for the message call"):
        messages.deliver_now(deployed, letter.id, "now", by="operator")
    waiter = talking.start("waiter")
    with deployed.transaction() as session:
        suspension.suspend(session, waiter.id, "an inquiry", by="admin")
    with pytest.raises(ConflictError, match="suspended"):
        messages.deliver_now(deployed, letter.id, "now", by="operator")
    (letter,) = letters(deployed)
    assert (letter.state, letter.ended_by, letter.reason, "suspended" in str(letter.error)) == ("waiting", "", "", True)
    with deployed.transaction() as session:
        suspension.resume(session, waiter.id, "it is over", by="admin")
    messages.deliver_now(deployed, letter.id, "now", by="operator")
    assert not letters(deployed)[0].error
    assert everything_verifies(deployed)


def test_a_discarded_message_never_arrives_and_the_history_of_its_sender_says_who_and_why(
    talking, deployed, worker, clock
):
    caller = talking.start("caller")
    (letter,) = letters(deployed)
    with deployed.transaction() as session:
        messages.discard(session, letter.id, "sent by mistake", by="admin")
    waiter = talking.start("waiter")
    worker()
    clock.forward(minutes=5)
    worker()
    assert talking.now(waiter).state == "running"
    (letter,) = letters(deployed)
    assert (letter.state, letter.ended_by, letter.reason, letter.received_by) == (
        "discarded",
        "admin",
        "sent by mistake",
        None,
    )
    kind, actor, payload, _derived = last_input(deployed, caller)
    assert (kind, actor, payload["message"]) == ("discard_message", "admin", str(letter.id))
    assert (payload["name"], payload["reason"], payload["event"]) == ("call", "sent by mistake", 1)
    with deployed.transaction() as session, pytest.raises(ConflictError, match="it is discarded"):
        messages.discard(session, letter.id, "again", by="admin")
    with pytest.raises(ConflictError, match="it is discarded"):
        messages.deliver_now(deployed, letter.id, "again", by="admin")
    with deployed.reading() as session:
        assert messages.undelivered(session) == []
        assert [one.id for one in messages.discarded(session)] == [letter.id]
    assert everything_verifies(deployed)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_nothing_happens_to_a_message_by_hand_without_a_reason(talking, deployed, reason):
    talking.start("caller")
    (letter,) = letters(deployed)
    with deployed.transaction() as session, pytest.raises(InvalidFormError):
        messages.discard(session, letter.id, reason, by="admin")
    with pytest.raises(InvalidFormError):
        messages.deliver_now(deployed, letter.id, reason, by="admin")
    assert letters(deployed)[0].state == "waiting"


def test_what_is_no_undelivered_message_is_not_found(talking, deployed):
    talking.start("alarmed")
    talking.start("alarming")
    for other in [uuid4(), *(row.id for row in letters(deployed))]:
        with deployed.transaction() as session, pytest.raises(NotFoundError):
            messages.discard(session, other, "a signal is for all", by="admin")


# ---- signals


def test_a_signal_reaches_all_that_wait_and_starts_what_it_starts(talking, deployed, worker):
    waiting = [talking.start("alarmed") for _ in range(3)]
    talking.start("alarming")
    worker()
    assert [talking.now(one).state for one in waiting] == ["completed"] * 3
    assert len(of_process(deployed, "alarmed")) == 4
    assert [letter.state for letter in letters(deployed)] == ["delivered"] * 4
    late = talking.start("alarmed")
    worker()
    assert talking.now(late).state == "running"
    assert everything_verifies(deployed)


def test_a_signal_that_comes_too_late_for_one_receiver_is_missed_by_that_one_only(talking, deployed, worker):
    gone, still = talking.start("alarmed"), talking.start("alarmed")
    talking.start("alarming")
    with deployed.transaction() as session:
        instances.cancel(session, gone.id, "over", by="admin")
    worker()
    assert talking.now(still).state == "completed"
    assert sorted(letter.state for letter in letters(deployed)) == ["delivered", "delivered", "missed"]


def test_a_signal_from_outside_goes_to_all_that_listen(talking, deployed, worker):
    waiting = talking.start("alarmed")
    with deployed.transaction() as session:
        assert messages.broadcast(session, "alarm", {}, by="admin") == 2
    worker()
    assert talking.now(waiting).state == "completed"
    kind, _actor, payload, _derived = last_input(deployed, waiting)
    assert (kind, "from" in payload) == ("signal", False)


def test_two_instances_that_signal_each_other_do_not_wait_for_each_other():
    """On PostgreSQL a foreign key to the receiver would lock its row while the sender's own is locked."""
    table = Message.__table__
    assert table.c.target_id.foreign_keys == set()


# ---- exactly once


class LostConnectionError(Exception):
    """What a fault in the middle of a commit looks like."""


@pytest.mark.parametrize(
    "fault", [3, 4, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 2, 5, 6, 7, 8))]
)
def test_a_fault_at_any_commit_neither_loses_nor_doubles_a_delivery(talking, deployed, settings, fault):
    waiting = [talking.start("alarmed") for _ in range(2)]
    shop = talking.start("shop", number=1)
    talking.start("alarming")
    count = 0

    @event.listens_for(deployed.writer, "commit")
    def fail(_connection):
        nonlocal count
        count += 1
        if count == fault:
            raise LostConnectionError

    doomed, heir = Worker(deployed, settings), Worker(deployed, settings)
    try:
        doomed.run_until_idle()
    except LostConnectionError:
        pass
    finally:
        event.remove(deployed.writer, "commit", fail)
    for _ in range(2):
        heir.run_until_idle()
    with deployed.transaction() as session:
        for letter in session.scalars(select(Message).where(Message.state == "waiting")):
            letter.due_at = letter.sent_at
    heir.run_until_idle()
    assert {letter.state for letter in letters(deployed)} == {"delivered"}
    assert [talking.now(one).seq for one in waiting] == [2, 2]
    assert len(of_process(deployed, "alarmed")) == 3
    assert len(of_process(deployed, "store")) == 1
    assert talking.now(shop).seq == 1
    assert everything_verifies(deployed)


def test_several_workers_deliver_each_once(talking, deployed, settings):
    waiting = [talking.start("alarmed") for _ in range(5)]
    talking.start("alarming")
    talking.start("shop", number=1)
    at = letters(deployed)[-1].due_at
    with ThreadPoolExecutor(4) as workers:
        found = list(workers.map(lambda _number: messages.deliver_due(deployed, at=at), range(4)))
    assert sum(found) == 7
    assert [talking.now(one).seq for one in waiting] == [2] * 5
    assert len(of_process(deployed, "alarmed")) == 6
    assert len(of_process(deployed, "store")) == 1


@pytest.mark.parametrize(
    ("statement", "number", "arrived"),
    [
        ("INSERT INTO history", 2, 1),
        pytest.param("UPDATE instances", 3, 2, marks=pytest.mark.long),
        pytest.param("UPDATE messages", 3, 2, marks=pytest.mark.long),
        pytest.param("SELECT messages.id, messages.kind", 3, 2, marks=pytest.mark.long),
    ],
    ids=["in the middle of a step", "at the end of a step", "before the commit", "between two deliveries"],
)
def test_a_signal_reaches_each_once_although_the_worker_is_killed(
    talking, deployed, worker, clock, statement, number, arrived
):
    waiting = [talking.start("alarmed") for _ in range(4)]
    talking.start("alarming")
    clock.release()
    command = [sys.executable, str(HERE / "doomed_delivery.py"), deployed.url, statement, str(number)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[2]
    ) as doomed:
        assert doomed.stdout is not None
        assert doomed.stdout.readline() == "here\n"
        doomed.send_signal(signal.SIGKILL)
    live.forget()
    assert sorted(letter.state for letter in letters(deployed)) == ["delivered"] * arrived + ["waiting"] * (5 - arrived)
    worker()
    assert [letter.state for letter in letters(deployed)] == ["delivered"] * 5
    assert [talking.now(one).seq for one in waiting] == [2] * 4
    assert len(of_process(deployed, "alarmed")) == 5
    assert everything_verifies(deployed)
