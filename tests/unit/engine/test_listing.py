"""Finding instances: a part of a number is found as by looking at every number, and no search looks at every row."""

import re
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, func, insert, or_, select, update

from engine import clock as engine_clock
from engine import instances, listing
from engine.listing import Total, Wanted
from engine.models import Instance, Job, NumberPart, ProcessDefinition, Task

ALPHABET = "调取销毁2026-0019aAbBzZ%_/\\ ÄäßİıſΣσς\U0001f3a5\U0010ffff"
NUMBERS = st.text(ALPHABET, max_size=24) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40
)


STARTERS = ("applicant", "a_2026", "取%", "timer")


def rows(definition, numbers):
    """Instances with these numbers, the newest first, two started at a time."""
    at = engine_clock.now()
    return [
        {
            "id": uuid4(), "definition_id": definition, "process_id": "counting", "version": 1, "business_key": number,
            "state": "running", "started_by": STARTERS[place % len(STARTERS)], "changed_at": at,
            "started_at": at - timedelta(minutes=place // 2), "seq": 0, "head": "", "data": {}, "snapshot_seq": 0,
            "revision": 1,
        }
        for place, number in enumerate(numbers)
    ]  # fmt: skip


@pytest.fixture
def definition(deployed):
    with deployed.reading() as session:
        return session.scalars(select(ProcessDefinition.id).where(ProcessDefinition.process_id == "counting")).one()


@pytest.fixture
def filled(deployed, definition):
    """A function that puts instances with these numbers in place of all others."""

    def fill(numbers):
        with deployed.transaction() as session:
            for table in (Task, Instance, NumberPart):
                session.execute(delete(table))
            new = rows(definition, numbers)
            if new:
                session.execute(insert(Instance), new)
        return [row["id"] for row in new]

    return fill


def found(database, limit=100, offset=0, **wanted):
    with database.reading() as session:
        page, total = listing.find(session, Wanted(**wanted), limit=limit, offset=offset)
        return [one.id for one in page], total


def searched(database, word, state="", limit=100, offset=0):
    with database.reading() as session:
        page, total = listing.search(session, word, state, limit=limit, offset=offset)
        return [one.id for one in page], total


def looked_at_one_by_one(database, part, *columns):
    with database.reading() as session:
        holds = or_(*(column.icontains(part, autoescape=True) for column in columns))
        return list(session.scalars(select(Instance.id).where(holds).order_by(*listing.NEWEST)))


@st.composite
def searches(draw):
    """Numbers, and something to look for, mostly a part of one of them in other letters."""
    numbers = draw(st.lists(NUMBERS, max_size=8))
    number = draw(st.sampled_from([*numbers, ""]))
    start = draw(st.integers(0, len(number)))
    part = number[start : start + draw(st.integers(1, 30))]
    part = draw(st.sampled_from([part, part.upper(), part.lower(), part.swapcase()])) or draw(NUMBERS)
    return numbers, part or "0"


@pytest.mark.parametrize("few", [listing.FEW, 1], ids=["few numbers", "many numbers"])
@settings(
    max_examples=40, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(search=searches())
@example(search=(["调取-2026-0001", "调取-2026-0010", "", "x"], "2026-001"))
@example(search=(["50%", "50x", "5_0", "5x0", "5/0", "5\\0"], "%"))
@example(search=(["5_0", "5x0"], "5_"))
@example(search=(["a\U0010ffff\U0010ffffb", "ab"], "A\U0010ffff"))
@example(search=(["A-1", "A-2", "A-3", "A-4", "A-5"], "取%"))
@example(search=(["A-1", "A-2", "A-3", "A-4", "A-5"], "OUNT"))
@example(search=(["0" * 40, "0" * 30 + "1", "1" + "0" * 30], "0" * 25 + "1"))
def test_a_part_of_a_number_finds_what_looking_at_every_number_finds(deployed, filled, monkeypatch, few, search):
    monkeypatch.setattr(listing, "FEW", few)
    numbers, part = search
    filled(numbers)
    expected = looked_at_one_by_one(deployed, part, Instance.business_key)
    page, total = found(deployed, key=part)
    assert page == expected
    assert total == Total(len(expected))
    assert found(deployed, key=part, state="suspended") == ([], Total(0))
    expected = looked_at_one_by_one(deployed, part, Instance.business_key, Instance.started_by, Instance.process_id)
    assert searched(deployed, part, "running") == searched(deployed, part) == (expected, Total(len(expected)))
    assert searched(deployed, part, "completed") == ([], Total(0))
    pages = [searched(deployed, part, limit=2, offset=offset)[0] for offset in range(0, len(expected), 2)]
    assert [each for page in pages for each in page] == expected
    if part.isascii():
        assert len(page) == sum(part.lower() in folded(number) for number in numbers)


def folded(number):
    """Only the letters that both databases fold: what others become is theirs to say."""
    return re.sub("[A-Z]", lambda letter: letter[0].lower(), number).replace("İ", "?").replace("\u212a", "?")


def test_one_or_two_characters_are_enough(deployed, filled):
    ids = filled(["调取-2026-0001", "调取-2025-0007", "销毁-2026-3"])
    assert found(deployed, key="取") == (sorted(ids[:2], reverse=True), Total(2))
    assert found(deployed, key="7") == ([ids[1]], Total(1))
    assert found(deployed, key="毁-") == ([ids[2]], Total(1))


def test_a_number_is_found_from_the_moment_it_is_given_and_by_the_new_one_when_it_is_changed(deployed, office):
    instance = office.start("counting")
    assert found(deployed, key="2026-00") == ([], Total(0))
    for number in ("调取-2026-0001", "调取-2027-0002"):
        with deployed.transaction() as session:
            session.get_one(Instance, instance.id).business_key = number
            session.flush()
            assert listing.find(session, Wanted(key=number[3:]), limit=9)[1] == Total(1)
    assert found(deployed, key="2026-00") == ([], Total(0))
    assert found(deployed, key="2027-00") == ([instance.id], Total(1))


def test_a_number_that_was_rolled_back_leaves_nothing_in_the_index(deployed, office):
    instance = office.start("counting")
    with deployed.transaction() as session:
        session.get_one(Instance, instance.id).business_key = "A-1"
        session.flush()
        assert session.scalar(select(func.count()).select_from(NumberPart)) == 3
        session.rollback()
    with deployed.reading() as session:
        assert session.scalar(select(func.count()).select_from(NumberPart)) == 0


def test_a_step_that_gives_no_new_number_writes_nothing_into_the_index(deployed, office):
    with deployed.transaction() as session:
        instance = instances.start(session, "counting", {}, by="applicant", business_key="A-1")
    with deployed.transaction() as session:
        session.execute(delete(NumberPart))
    office.decide("reviewer", instance, "refuse", element="again")
    with deployed.reading() as session:
        assert session.scalar(select(func.count()).select_from(NumberPart)) == 0


def test_the_whole_id_finds_its_instance_beside_the_numbers_that_hold_it(deployed, filled):
    first = filled(["A-1", "A-2"])[0]
    assert found(deployed, key=str(first)) == ([first], Total(1))
    assert found(deployed, key=str(UUID(int=0))) == ([], Total(0))


def test_pages_follow_on_without_a_gap_or_a_repetition_also_when_instances_began_at_the_same_time(deployed, filled):
    ids = filled([f"A-{number}" for number in range(11)])
    pages = [found(deployed, limit=3, offset=offset)[0] for offset in range(0, 12, 3)]
    assert sorted(each for page in pages for each in page) == sorted(ids)
    assert [each for page in pages for each in page] == found(deployed)[0]


def test_a_large_total_is_counted_up_to_its_limit_or_to_the_end_of_the_page(deployed, filled, monkeypatch):
    filled([f"A-{number}" for number in range(11)])
    monkeypatch.setattr(listing, "COUNTED", 5)
    assert found(deployed, limit=3)[1] == Total(5, more=True)
    assert found(deployed, limit=3, offset=6)[1] == Total(9, more=True)
    assert found(deployed, limit=3, offset=9)[1] == Total(11)
    monkeypatch.setattr(listing, "COUNTED", 11)
    assert found(deployed, limit=3)[1] == Total(11)


def test_what_many_numbers_have_is_not_counted_to_the_end_unless_more_is_asked_for(deployed, filled, monkeypatch):
    filled([f"A-{number}" for number in range(11)])
    monkeypatch.setattr(listing, "FEW", 4)
    assert found(deployed, limit=3, key="a-")[1] == Total(4, more=True)
    assert found(deployed, limit=3, key="a-", state="running")[1] == Total(11)
    assert found(deployed, limit=3, key="a-", state="suspended")[1] == Total(0)
    assert found(deployed, limit=3, offset=9, key="a-")[1] == Total(11)


def test_a_word_that_many_have_is_not_counted_to_the_end(deployed, filled, monkeypatch):
    ids = filled([f"A-{number}" for number in range(11)])
    monkeypatch.setattr(listing, "FEW", 4)
    for word in ("a-", "counting"):
        assert searched(deployed, word, limit=3)[1] == Total(4, more=True)
        assert searched(deployed, word, limit=3, offset=9)[1] == Total(11)
    assert searched(deployed, "timer") == ([ids[3], ids[7]], Total(2))
    assert searched(deployed, str(ids[5])) == ([ids[5]], Total(1))


def test_a_part_that_a_few_numbers_have_several_times_is_counted_by_numbers(deployed, filled, monkeypatch):
    filled(["0000000000", "1-000000"])
    monkeypatch.setattr(listing, "FEW", 3)
    assert found(deployed, key="0", limit=1)[1] == Total(2)


def test_states_are_counted_up_to_their_limit(deployed, filled, monkeypatch):
    ids = filled(["a", "b", "c", "d"])
    with deployed.transaction() as session:
        session.execute(update(Instance).where(Instance.id == ids[0]).values(state="suspended"))
    monkeypatch.setattr(listing, "COUNTED", 2)
    with deployed.reading() as session:
        states = listing.count_states(session)
    assert states == {
        "running": Total(2, more=True), "suspended": Total(1), "completed": Total(0), "cancelled": Total(0),
    }  # fmt: skip


def test_an_instance_is_found_once_where_its_tokens_stand_and_no_longer_when_it_has_ended(
    deployed, office, worker, recorder
):
    waiting = office.start("counting")
    fetching = office.start("cameras", cameras=["gate", "yard"])
    assert found(deployed, element="again") == ([waiting.id], Total(1))
    assert found(deployed, element="fetch") == ([fetching.id], Total(1))
    assert found(deployed, element="again", incident=True) == found(deployed, element="end") == ([], Total(0))
    recorder.broken["yard"] = ValueError("no")
    recorder.lost.add("gate")
    worker()
    assert found(deployed, element="repair") == ([fetching.id], Total(1))
    with deployed.transaction() as session:
        session.execute(update(Job).where(Job.state == "ready").values(state="incident"))
    assert found(deployed, element="fetch", incident=True) == ([fetching.id], Total(1))
    for instance in (waiting, fetching):
        with deployed.transaction() as session:
            instances.cancel(session, instance.id, "enough", by="admin")
    assert found(deployed, element="again") == found(deployed, incident=True) == ([], Total(0))


SEARCHES = [
    {"key": "A-1"}, {"key": "nobody"}, {"element": "again"}, {"element": "nowhere"}, {"incident": True},
    {"state": "running"}, {"state": "suspended"}, {"process_id": "counting"}, {"process_id": "x", "version": 3}, {},
]  # fmt: skip


ASKED = [partial(listing.find, wanted=Wanted(**each)) for each in SEARCHES]
ASKED += [partial(listing.search, word=word) for word in ("", "A-1", "timer", "nobody")]


@pytest.mark.parametrize("ask", ASKED, ids=lambda ask: " ".join(map(str, ask.keywords.values())))
def test_no_search_goes_through_the_rows_of_all_instances(deployed, filled, ask):
    """SQLite says what it will do; PostgreSQL decides by the number of rows, of which there are few here."""
    if not deployed.sqlite:
        with deployed.reading() as session:
            session.connection().exec_driver_sql("SET LOCAL enable_seqscan = off")
            plans = plans_of(session, "EXPLAIN ", ask)
        assert not re.search(r"Seq Scan on (instances|tasks|number_parts)", plans), plans
        return
    with deployed.reading() as session:
        plans = plans_of(session, "EXPLAIN QUERY PLAN ", ask)
    assert not re.search(r"SCAN (instances|tasks|jobs|number_parts)(?! USING COVERING INDEX)", plans), plans


def plans_of(session, explain, ask):
    """What the database means to do for each statement of a search."""
    lines = []

    def plan(connection, cursor, statement, parameters, context, executemany):
        if not statement.startswith("EXPLAIN"):
            asked = connection.connection.driver_connection.cursor().execute(explain + statement, parameters)
            lines.extend(str(row) for row in asked.fetchall())

    event.listen(session.connection(), "before_cursor_execute", plan)
    ask(session, limit=50)
    assert lines
    return "\n".join(lines)
