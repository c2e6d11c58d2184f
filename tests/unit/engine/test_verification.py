"""Whatever is changed in a stored history is found and named; an untouched one verifies."""

import orjson
import pytest
from sqlalchemy import String, delete, insert, select, type_coerce, update

from engine import definitions, history, jobs, live, replay
from engine.models import DeployedFile, HistoryEvent, Instance, ProcessDefinition

COLUMNS = ("at", "kind", "actor", "payload", "lookups", "derived", "digest")


@pytest.fixture
def finished(office, deployed, worker, recorder):
    """An instance with a start, a synchronous lookup, a submission and an end; and one with jobs and a decision."""
    recorder.members = ["reviewer"]
    instance = office.start("look_up")
    office.complete("reviewer", office.task(instance, "read"))
    return instance


def findings(database, instance):
    with database.reading() as session:
        verdict = replay.verify(session, instance.id)
    assert verdict.ok == (not verdict.findings)
    return verdict.findings


def stored(database, instance, column):
    """The texts of one column by sequence number, exactly as stored."""
    with database.reading() as session:
        text = type_coerce(getattr(HistoryEvent, column), String)
        query = select(HistoryEvent.seq, text).where(HistoryEvent.instance_id == instance.id)
        return {row[0]: row[1] for row in session.execute(query.order_by(HistoryEvent.seq))}


def overwrite(database, instance, seq, **values):
    table = HistoryEvent.__table__
    with database.transaction() as session:
        changed = {table.c[name]: type_coerce(value, String) for name, value in values.items()}
        where = (table.c.instance_id == instance.id) & (table.c.seq == seq)
        assert session.execute(update(table).where(where).values(changed)).rowcount == 1


def hash_again(database, instance):
    """What somebody with write access to the database could do after a change: make the chain whole again."""
    with database.transaction() as session:
        previous = history.GENESIS
        for event in history.stored_events(session, instance.id):
            previous = event.expected(instance.id, previous)
            row = session.get_one(HistoryEvent, (instance.id, event.seq))
            row.digest = previous
        session.execute(update(Instance).where(Instance.id == instance.id).values(head=previous))


def test_an_untouched_history_verifies(finished, deployed):
    with deployed.reading() as session:
        verdict = replay.verify(session, finished.id)
    assert (verdict.ok, verdict.events, verdict.findings) == (True, 2, [])


@pytest.mark.parametrize("column", COLUMNS)
def test_a_single_changed_character_is_found_wherever_it_is(finished, deployed, column):
    for seq, text in stored(deployed, finished, column).items():
        for place in sorted({*range(0, len(text), max(1, len(text) // 12)), len(text) - 1}):
            flipped = text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :]
            overwrite(deployed, finished, seq, **{column: flipped})
            assert seq in [finding.seq for finding in findings(deployed, finished)], (column, seq, place)
        overwrite(deployed, finished, seq, **{column: text})
    assert findings(deployed, finished) == []


def test_a_byte_that_is_no_text_any_more_is_found_and_named(finished, deployed):
    if not deployed.sqlite:
        return  # PostgreSQL refuses to store it
    for column in COLUMNS:
        text = stored(deployed, finished, column)[2].encode()
        flipped = bytes([text[0] ^ 0x80]) + text[1:]
        with deployed.writer.connect() as connection:
            change = f"UPDATE history SET {column} = CAST(? AS TEXT) WHERE seq = 2"  # noqa: S608 - a name of our own
            connection.exec_driver_sql(change, (flipped,))
            connection.commit()
        assert 2 in [finding.seq for finding in findings(deployed, finished)], column
        with deployed.writer.connect() as connection:
            connection.exec_driver_sql(change, (text,))
            connection.commit()
    assert findings(deployed, finished) == []


def test_a_removed_event_is_found(finished, deployed):
    with deployed.transaction() as session:
        session.execute(delete(HistoryEvent).where(HistoryEvent.instance_id == finished.id, HistoryEvent.seq == 1))
    assert findings(deployed, finished)[0] == history.Finding(2, "events 1 to 1 are missing before it")


def test_a_removed_end_is_found(finished, deployed):
    with deployed.transaction() as session:
        session.execute(delete(HistoryEvent).where(HistoryEvent.instance_id == finished.id, HistoryEvent.seq == 2))
    assert "the history ends at event 1, the instance says 2" in [
        finding.template for finding in findings(deployed, finished)
    ]


def test_an_added_event_is_found(finished, deployed):
    with deployed.transaction() as session:
        columns = {column.key: column for column in HistoryEvent.__table__.columns}
        last = session.execute(select(HistoryEvent.__table__).where(columns["seq"] == 2)).mappings().one()
        session.execute(insert(HistoryEvent.__table__).values({**last, "seq": 3}))
    assert 3 in [finding.seq for finding in findings(deployed, finished)]


def test_two_exchanged_events_are_found(office, deployed):
    instance = office.start("counting")
    for _ in range(2):
        office.decide("reviewer", instance, "refuse", element="again")
    texts = stored(deployed, instance, "payload")
    overwrite(deployed, instance, 2, payload=texts[3])
    overwrite(deployed, instance, 3, payload=texts[2])
    assert {2, 3} <= {finding.seq for finding in findings(deployed, instance)}


def test_a_forged_input_with_a_whole_chain_is_found_by_repeating_it(office, deployed):
    instance = office.start("counting")
    office.decide("reviewer", instance, "refuse", element="again")
    office.decide("reviewer", instance, "approve", element="again")
    texts = stored(deployed, instance, "payload")
    overwrite(deployed, instance, 2, payload=texts[2].replace('"refuse"', '"approve"'))
    hash_again(deployed, instance)
    assert [finding.seq for finding in findings(deployed, instance)] == [2]


def test_a_forged_answer_of_a_synchronous_operator_is_found(finished, deployed):
    texts = stored(deployed, finished, "lookups")
    overwrite(deployed, finished, 1, lookups=texts[1].replace('["reviewer"]', '["somebody"]'))
    hash_again(deployed, finished)
    assert findings(deployed, finished)[0].seq == 1


@pytest.mark.parametrize("change", [{"state": "running"}, {"data": {"found": "nothing"}}, {"version": 9}])
def test_a_changed_state_of_the_instance_is_found(finished, deployed, change):
    if "version" in change:  # what the instance points at is judged, not the copy of its number
        with deployed.transaction() as session:
            session.execute(update(ProcessDefinition).where(ProcessDefinition.process_id == "look_up").values(**change))
    else:
        with deployed.transaction() as session:
            session.execute(update(Instance).where(Instance.id == finished.id).values(**change))
    assert len(findings(deployed, finished)) == 1


def test_a_changed_diagram_is_found(finished, deployed):
    with deployed.transaction() as session:
        row = session.scalars(select(DeployedFile).where(DeployedFile.name == "look_up.bpmn")).one()
        row.content = row.content.replace("'committee'", "'nobody'")
    found = findings(deployed, finished)
    assert found[0].template == "the stored text of look_up.bpmn is not what was deployed"
    assert 1 in [finding.seq for finding in found]


def test_a_changed_diagram_with_its_digests_is_found_by_the_first_event(finished, deployed):
    with deployed.transaction() as session:
        row = session.scalars(select(DeployedFile).where(DeployedFile.name == "look_up.bpmn")).one()
        row.content = row.content.replace("任务 read", "任务 gelesen")
        row.digest = definitions.text_digest(row.content)
        definition = definitions.get(session, "look_up")
        texts = definitions.files(session, definition.id)
        definition.digest = definitions.digest_of(texts, definition.file)
    assert findings(deployed, finished) == [
        history.Finding(1, "it started another version of the process than the instance names")
    ]


def test_a_history_with_incidents_and_decisions_verifies(office, deployed, worker, recorder):
    recorder.lost = {"gate"}
    instance = office.start("fetch_one", camera="gate")
    worker()
    live.forget()
    recorder.reset()
    with deployed.transaction() as session:
        (incident,) = jobs.incidents(session)
        jobs.retry(session, incident.id, by="admin")
    live.forget()
    worker()
    assert office.now(instance).state == "completed"
    assert findings(deployed, instance) == []
    kinds = stored(deployed, instance, "kind")
    assert list(kinds.values()) == ["start", "incident", "retry_job", "result"]


def test_an_instance_that_cannot_be_repeated_takes_no_further_step(office, deployed):
    instance = office.start("counting")
    office.decide("reviewer", instance, "refuse", element="again")
    derived = orjson.loads(stored(deployed, instance, "derived")[2])
    derived["events"] = []
    overwrite(deployed, instance, 2, derived=orjson.dumps(derived).decode())
    live.forget()
    with pytest.raises(Exception, match="Event 2 of this case's history cannot be repeated"):
        office.decide("reviewer", instance, element="again")


def test_the_digest_covers_lengths_so_that_text_cannot_move_between_columns(finished):
    parts = (b"at", b"kind", b"actor", b"payload", b"lookups", b"derived")
    moved = (b"at", b"kinda", b"ctor", b"payload", b"lookups", b"derived")
    digests = {history.chain_digest(finished.id, 1, found, "") for found in (parts, moved)}
    assert len(digests) == 2
