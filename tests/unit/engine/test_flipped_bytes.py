"""Every byte of every row that proves something: a flipped one is found, and its event is named."""

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

from engine import history, replay, seals
from engine.db import Database
from engine.models import HistoryEvent, Instance, Seal, SealedHead

TEXTS = ("at", "kind", "actor", "payload", "lookups", "derived", "digest")
ROWS = 4


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
    text = history.exact_bytes(session, getattr(HistoryEvent, column))
    found = session.execute(select(text).where(HistoryEvent.instance_id == instance_id, HistoryEvent.seq == seq))
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


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
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
