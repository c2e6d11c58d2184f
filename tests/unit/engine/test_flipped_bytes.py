"""Every byte of every row that proves something: a flipped one is found, and its event is named."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, cast, delete, func, insert, literal, select, type_coerce, update
from sqlalchemy.orm import Session
from sqlalchemy.types import LargeBinary, String, Text

from device import access, cases
from device.ledger import custody_jsonl, verify_custody
from device.models import Case, CaseEvent
from engine import clock as engine_clock
from engine import history, ledger, replay, seals
from engine.db import Database
from engine.models import HistoryEvent, Instance, Seal, SealedHead

TEXTS = ("at", "kind", "actor", "payload", "lookups", "derived", "digest")
ROWS = 4
LOGGED = (*access.EVENT_COLUMNS, "digest")
thirty = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def kept(office, recorder) -> UUID:
    """An instance with a synchronous lookup, and one that answers three times: the one whose rows are damaged."""
    recorder.members = ["reviewer"]
    office.start("look_up")
    instance = office.start("counting")
    for decision in ("refuse", "refuse", "approve"):
        office.decide("reviewer", instance, decision, element="again")
    return instance.id


@contextmanager
def undone(database: Database) -> Iterator[Session]:
    """What happens in the block is seen by it alone."""
    session = Session(database.writer, expire_on_commit=False)
    try:
        with session:
            yield session
            session.rollback()
    finally:
        session.close()


def named(session: Session, instance_id: UUID) -> set[int]:
    session.expire_all()
    return {finding.seq for finding in history.verify_chain(session, instance_id)}


def stored(session: Session, instance_id: UUID, seq: int, column: str) -> bytes:
    return content_of(session, getattr(HistoryEvent, column), *row(instance_id, seq))


def content_of(session: Session, column: Any, *where: Any) -> bytes:
    found = session.execute(select(history.exact_bytes(session, column)).where(*where))
    return bytes(found.scalar_one())


def overwrite(session: Session, table: Any, column: str, content: bytes, *where: Any) -> None:
    """Put these bytes there as they are; PostgreSQL takes only what is UTF-8."""
    if session.get_bind().dialect.name == "postgresql":
        value: Any = type_coerce(content.decode(), String)
    else:
        value = cast(literal(content, LargeBinary), Text)
    rows: Table = table.__table__
    done = session.execute(update(rows).where(*where).values({rows.c[column]: type_coerce(value, String)}))
    assert done.rowcount == 1  # type: ignore[attr-defined]


def row(instance_id: UUID, seq: int) -> tuple[Any, ...]:
    return HistoryEvent.instance_id == instance_id, HistoryEvent.seq == seq


@thirty
@given(seq=st.integers(1, ROWS), column=st.sampled_from(TEXTS), place=st.integers(0, 5000), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found_and_named(deployed, kept, seq, column, place, bit):
    with undone(deployed) as session:
        content = bytearray(stored(session, kept, seq, column))
        content[place % len(content)] ^= 1 << (bit if deployed.sqlite else 0)
        overwrite(session, HistoryEvent, column, bytes(content), *row(kept, seq))
        assert seq in named(session, kept)
        session.expire_all()
        assert seq in {finding.seq for finding in replay.verify(session, kept).findings}


@pytest.mark.long
@pytest.mark.parametrize("column", TEXTS)
def test_every_byte_of_every_row_is_found_and_named(deployed, kept, column):
    with undone(deployed) as session:
        for seq in range(1, ROWS + 1):
            whole = stored(session, kept, seq, column)
            for place in range(len(whole)):
                flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
                overwrite(session, HistoryEvent, column, flipped, *row(kept, seq))
                assert seq in named(session, kept), (seq, place)
            overwrite(session, HistoryEvent, column, whole, *row(kept, seq))
        assert named(session, kept) == set()


@pytest.mark.parametrize("seq", range(1, ROWS + 1))
def test_a_row_taken_out_or_given_another_number_or_instance_is_found(deployed, kept, seq):
    table: Table = HistoryEvent.__table__
    with undone(deployed) as session:
        session.execute(delete(table).where(*row(kept, seq)))
        assert named(session, kept) & {seq + 1, 0}
    with undone(deployed) as session:
        session.execute(update(table).where(*row(kept, seq)).values(seq=seq + 10))
        assert seq + 10 in named(session, kept)
    with undone(deployed) as session:
        other = session.scalars(select(Instance.id).where(Instance.id != kept)).one()
        last = session.scalar(select(func.max(HistoryEvent.seq)).where(HistoryEvent.instance_id == other)) or 0
        session.execute(update(table).where(*row(kept, seq)).values(instance_id=other, seq=last + 1))
        assert named(session, kept) & {seq + 1, 0}
        assert last + 1 in named(session, other)


@given(order=st.permutations(range(1, ROWS + 1)).filter(lambda order: list(order) != sorted(order)))
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_in_another_order_are_found_and_named(deployed, kept, order):
    table: Table = HistoryEvent.__table__
    with undone(deployed) as session:
        for seq in order:
            session.execute(update(table).where(*row(kept, seq)).values(seq=100 + seq))
        for place, seq in enumerate(order, start=1):
            session.execute(update(table).where(*row(kept, 100 + seq)).values(seq=place))
        moved = {place for place, seq in enumerate(order, start=1) if place != seq}
        assert moved <= named(session, kept)


@pytest.mark.parametrize("seq", range(1, ROWS + 1))
def test_a_row_inserted_between_two_is_found_and_named(deployed, kept, seq):
    table: Table = HistoryEvent.__table__
    with undone(deployed) as session:
        copied = dict(session.execute(select(table).where(*row(kept, seq))).mappings().one())
        for later in range(ROWS, seq, -1):
            session.execute(update(table).where(*row(kept, later)).values(seq=later + 1))
        session.execute(insert(table).values({**copied, "seq": seq + 1}))
        assert seq + 1 in named(session, kept)


@pytest.mark.parametrize("place", range(0, 71, 7))
def test_a_flipped_byte_of_the_head_is_found(deployed, kept, place):
    with undone(deployed) as session:
        head = session.scalar(select(Instance.head).where(Instance.id == kept)) or ""
        flipped = head[:place] + chr(ord(head[place]) ^ 1) + head[place + 1 :]
        session.execute(update(Instance.__table__).where(Instance.id == kept).values(head=flipped))
        assert 0 in named(session, kept)
    with undone(deployed) as session:
        session.execute(update(Instance.__table__).where(Instance.id == kept).values(seq=Instance.seq + 1))
        assert 0 in named(session, kept)


@pytest.mark.parametrize("column", ["statement", "signature", "public_key"])
def test_a_flipped_byte_of_a_seal_is_found(deployed, kept, settings, column):
    seals.seal(deployed, settings)
    trusted = seals.trusted_keys(settings)
    with undone(deployed) as session:
        assert seals.Ledger(session, trusted).problems == []
        whole = str(session.scalar(select(getattr(Seal, column)))).encode()
        for place in range(0, len(whole), 5):
            flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
            overwrite(session, Seal, column, flipped, Seal.number == 1)
            session.expire_all()
            assert seals.Ledger(session, trusted).problems, place


@pytest.mark.parametrize("change", [{"digest": "sha256:" + "0" * 64}, {"seq": 3}, {"kind": "custody"}])
def test_a_changed_leaf_of_a_seal_is_found(deployed, kept, settings, change):
    seals.seal(deployed, settings)
    with undone(deployed) as session:
        session.execute(update(SealedHead.__table__).where(SealedHead.stream_id == kept).values(change))
        assert seals.Ledger(session, seals.trusted_keys(settings)).problems


# ---- the log of a case ----------------------------------------------------------------------------------------------


@pytest.fixture
def logged(deployed, kept) -> UUID:
    """The instance of a case whose log has four events; of the first, no item and no origin are known."""
    with deployed.transaction() as session:
        at = engine_clock.now()
        case = cases.open_case(session, kept, applicant="applicant", department_id=None, at=at, overwritten_at=None)
        access.record(session, case, "opened", "applicant")
        access.record(
            session, case, "acquired", "operator", item="gate.mp4", details={"摄像机": "东门", "seconds": 600}
        )
        access.record(session, case, "viewed", "second", item="gate.mp4", origin="192.0.2.7", details={"seconds": 12})
        access.record(session, case, "printed", "operator", item="forms/1", origin="192.0.2.8", details={"pages": [1]})
    return kept


def told(session: Session, instance_id: UUID) -> set[int]:
    """The events of the log that the product's check names."""
    session.expire_all()
    return {finding.seq for finding in verify_custody(session, instance_id, seals.Ledger(session))[0]}


def entry(session: Session, instance_id: UUID, seq: int) -> tuple[Any, ...]:
    case_id = session.scalar(select(Case.id).where(Case.instance_id == instance_id))
    return CaseEvent.case_id == case_id, CaseEvent.seq == seq


def test_a_log_that_nobody_touched_is_intact(deployed, logged):
    with deployed.reading() as session:
        assert told(session, logged) == set()


@pytest.mark.parametrize("column", LOGGED)
def test_every_byte_of_every_event_of_a_log_is_found_and_named(deployed, logged, column):
    """What is empty has no byte to flip: there, one is added."""
    with undone(deployed) as session:
        for seq in range(1, ROWS + 1):
            where = entry(session, logged, seq)
            whole = content_of(session, getattr(CaseEvent, column), *where)
            for place in range(0, max(1, len(whole)), 1 if deployed.sqlite else 5):
                flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] if whole else b"x"
                if not deployed.sqlite and not _is_text(flipped):
                    continue
                overwrite(session, CaseEvent, column, flipped, *where)
                assert seq in told(session, logged), (seq, place)
            overwrite(session, CaseEvent, column, whole, *where)
        assert told(session, logged) == set()


def _is_text(content: bytes) -> bool:
    """Whether PostgreSQL would keep it at all."""
    try:
        return "\x00" not in content.decode()
    except UnicodeDecodeError:
        return False


@thirty
@given(seq=st.integers(2, ROWS), column=st.sampled_from(LOGGED), place=st.integers(0, 5000), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_log_is_found_and_named(deployed, logged, seq, column, place, bit):
    with undone(deployed) as session:
        where = entry(session, logged, seq)
        content = bytearray(content_of(session, getattr(CaseEvent, column), *where)) or bytearray(b"-")
        content[place % len(content)] ^= 1 << bit
        if deployed.sqlite or _is_text(bytes(content)):
            overwrite(session, CaseEvent, column, bytes(content), *where)
            assert seq in told(session, logged)


def test_a_flipped_byte_of_what_the_case_names_as_the_newest_event_is_found(deployed, logged):
    with undone(deployed) as session:
        head = session.scalar(select(Case.head).where(Case.instance_id == logged)) or ""
        for place in range(len(head)):
            flipped = head[:place] + chr(ord(head[place]) ^ 1) + head[place + 1 :]
            session.execute(update(Case.__table__).where(Case.instance_id == logged).values(head=flipped))
            assert told(session, logged) == {0}, place
    with undone(deployed) as session:
        session.execute(update(Case.__table__).where(Case.instance_id == logged).values(seq=Case.seq + 1))
        assert told(session, logged) == {0}


@pytest.mark.parametrize("seq", range(1, ROWS + 1))
def test_an_event_of_a_log_taken_out_or_given_another_number_is_found(deployed, logged, seq):
    table: Table = CaseEvent.__table__
    with undone(deployed) as session:
        session.execute(delete(table).where(*entry(session, logged, seq)))
        assert told(session, logged) & {seq + 1, 0}
    with undone(deployed) as session:
        session.execute(update(table).where(*entry(session, logged, seq)).values(seq=seq + 10))
        assert seq + 10 in told(session, logged)


def test_every_flipped_byte_of_an_exported_log_is_found_and_its_line_named(deployed, logged, settings):
    """As `diaoqu verify --ledger FILE --history FILE` finds it, without a database."""
    seals.seal(deployed, settings)
    with deployed.reading() as session:
        whole = b"".join(custody_jsonl(session, [logged]))
        entries = list(seals.entries(session))
    assert ledger.compare(ledger.read_history(whole), entries).findings == []
    for place in range(len(whole) - 1):  # the last is the end of the last line
        flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        number = whole.count(b"\n", 0, place) + 1
        try:
            found = ledger.compare(ledger.read_history(flipped), entries).findings
        except ledger.LedgerError as error:
            said = str(error)
        else:
            said = ", ".join(str(finding) for finding in found)
        # Where the instance of the first line is another one, the second is the first that differs.
        lines = [f"{what} {line}" for what in ("Line", "event") for line in {number, max(2, number)}]
        assert any(re.search(rf"{line}\b", said) for line in lines), (place, said)
