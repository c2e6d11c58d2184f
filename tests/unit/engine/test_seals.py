"""Whoever owns the database can make a changed history look whole; the seals show it all the same."""

import logging
import stat
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, select, update
from sqlalchemy.orm import make_transient

from engine import history, ledger, live, replay, seals
from engine.errors import ConflictError, EngineError
from engine.models import HistoryEvent, Instance, ProcessDefinition, Seal, SealedHead, Task
from engine.replay import Verifier
from engine.seals import Ledger


@pytest.fixture
def counting(office):
    """A running instance with three events."""
    instance = office.start("counting")
    for _ in range(2):
        office.decide("reviewer", instance, "refuse", element="again")
    return instance


def entries(database):
    with database.reading() as session:
        return list(seals.entries(session))


def verdict(database, instance, trusted=None):
    with database.reading() as session:
        return replay.verify(session, instance.id, trusted=trusted)


def ledger_problems(database, trusted=None):
    with database.reading() as session:
        return Ledger(session, trusted).problems


def rewrite(database, instance, **changes):
    """What the owner of the database can do: tell another story, and tell it consistently.

    The first decision becomes another one; all that follows is executed anew, hashed anew and stored.
    """
    live.forget()
    with database.transaction() as session:
        row = session.get_one(Instance, instance.id)
        verifier = Verifier(session, Ledger(session))
        compiled = verifier._compile_again(session.get_one(ProcessDefinition, row.definition_id))
        execution = replay.Execution(compiled, row.id)
        events = history.events(session, row.id)
        previous = history.GENESIS
        for event in events:
            if event.seq == 2:
                payload = orjson.loads(event.payload)
                payload["data"]["answer"].update(changes)
                event.payload = orjson.dumps(payload).decode()
            given = replay.Input(execution.seq + 1, event.at, event.kind, event.payload)
            result = execution.apply(given, replay.replaying(orjson.loads(event.lookups)))
            event.derived = live.derived(result)
            parts = (history.stored_instant(event.at), event.kind, event.actor, event.payload, event.lookups)
            parts = [part.encode() for part in (*parts, event.derived)]
            previous = event.digest = history.chain_digest(row.id, event.seq, parts, previous)
            if result.state != "running":
                session.execute(
                    delete(HistoryEvent).where(HistoryEvent.instance_id == row.id, HistoryEvent.seq > event.seq)
                )
                break
        values = {"head": previous, "seq": event.seq, "state": result.state, "data": result.data}
        session.execute(update(Instance).where(Instance.id == row.id).values(**values, snapshot=None, snapshot_seq=0))


def forge_seals(database, key):
    """The same owner makes all seals anew, with a key of their own, over the heads that are there now."""
    with database.transaction() as session:
        made, previous = [], None
        for row in session.scalars(select(Seal).order_by(Seal.number)):
            leaves = session.scalars(
                select(SealedHead).where(SealedHead.seal_number == row.number).order_by(SealedHead.place)
            )
            heads = []
            for leaf in leaves:
                event = session.get(HistoryEvent, (leaf.stream_id, leaf.seq))
                leaf.digest = event.digest if event else leaf.digest
                heads.append(ledger.Head(leaf.kind, leaf.stream_id, leaf.seq, leaf.digest))
            entry = ledger.sign(heads, previous, history.stored_instant(row.at), key)
            row.statement, row.signature, row.public_key = entry.statement, entry.signature, entry.public_key
            previous = ledger.Statement.parse(entry.statement)
            made.append(entry)
    return made


# ---- sealing --------------------------------------------------------------------------------------------------------


def test_a_seal_holds_the_head_of_every_chain(deployed, office, settings, counting):
    other = office.start("counting")
    assert seals.seal(deployed, settings) == 1
    (entry,) = entries(deployed)
    heads = {head.stream: (head.kind, head.seq, head.digest) for head in map(ledger.Head.parse, entry.heads)}
    now = [office.now(each) for each in (counting, other)]
    assert heads == {each.id: ("process", each.seq, each.head) for each in now}
    assert list(ledger.problems_of([entry], seals.trusted_keys(settings))) == []


def test_a_later_seal_holds_only_what_has_changed_and_names_the_one_before(deployed, office, settings, counting, clock):
    office.start("counting")
    seals.seal(deployed, settings)
    clock.forward(minutes=10)
    office.decide("reviewer", counting, "refuse", element="again")
    seals.seal(deployed, settings)
    first, second = entries(deployed)
    assert [ledger.Head.parse(head).stream for head in second.heads] == [counting.id]
    assert ledger.Statement.parse(second.statement).previous == ledger.sha256(first.statement.encode())
    assert ledger_problems(deployed, seals.trusted_keys(settings)) == []


def test_nothing_is_sealed_twice(deployed, settings, counting):
    assert [seals.seal(deployed, settings), seals.seal(deployed, settings)] == [1, 0]


def test_what_does_not_fit_into_one_seal_goes_into_the_next(deployed, office, settings, monkeypatch):
    monkeypatch.setattr(seals, "MOST", 2)
    for _ in range(5):
        office.start("counting")
    assert seals.seal(deployed, settings) == 3
    assert [len(entry.heads) for entry in entries(deployed)] == [2, 2, 1]
    assert ledger_problems(deployed, seals.trusted_keys(settings)) == []


def test_seals_are_made_at_the_interval_of_the_settings(deployed, office, settings, counting, clock):
    made = []
    for minutes in (0, 9, 1, 30):
        clock.forward(minutes=minutes)
        office.start("counting")
        made.append(seals.seal_if_due(deployed, settings))
    assert made == [1, 0, 1, 1]


def test_a_clock_that_was_set_back_does_not_date_a_seal_before_the_last(deployed, office, settings, counting, clock):
    seals.seal(deployed, settings)
    clock.forward(hours=-2)
    office.start("counting")
    seals.seal(deployed, settings)
    assert ledger_problems(deployed) == []


def test_two_workers_that_seal_at_once_make_one_ledger(deployed, settings, counting, monkeypatch):
    original, faster = ledger.sign, []

    def sign(*arguments):
        if not faster:  # the other worker seals while this one has gathered its heads and not stored them yet
            faster.append(True)
            faster.append(seals.seal(deployed, settings))
        return original(*arguments)

    monkeypatch.setattr(ledger, "sign", sign)
    assert (seals.seal(deployed, settings), faster[1]) == (0, 1)
    assert len(entries(deployed)) == 1
    assert ledger_problems(deployed) == []


def test_the_private_key_is_made_once_and_for_its_owner_only(settings):
    first, second = seals.signing_key(settings), seals.signing_key(settings)
    path = settings.data / "ledger" / "signing_key.pem"
    assert first.private_bytes_raw() == second.private_bytes_raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert seals.trusted_keys(settings) == {ledger.fingerprint(first.public_key())}
    path.chmod(0o644)
    with pytest.raises(ConflictError, match="chmod 600"):
        seals.signing_key(settings)


def test_a_store_that_cannot_be_written_is_tried_again(deployed, settings, counting, monkeypatch, caplog):
    kept, away = {}, [True]

    def store(_settings, name, content):
        if away[0]:
            raise EngineError("the store is away")
        kept[name] = content

    monkeypatch.setattr(seals, "_KEEPERS", [store])
    with caplog.at_level(logging.ERROR):
        seals.seal_if_due(deployed, settings)
    assert (kept, "seal 1 could not be copied" in caplog.text) == ({}, True)
    away[0] = False
    assert seals.keep(deployed, settings) == 1
    assert kept == {"ledger/000000001.jsonl": entries(deployed)[0].line()}
    assert seals.keep(deployed, settings) == 0


# ---- what is found --------------------------------------------------------------------------------------------------


def test_verification_says_up_to_which_event_a_history_is_sealed(deployed, office, settings, counting):
    assert (verdict(deployed, counting).sealed, verdict(deployed, counting).events) == (0, 3)
    seals.seal(deployed, settings)
    office.decide("reviewer", counting, "refuse", element="again")
    found = verdict(deployed, counting, seals.trusted_keys(settings))
    assert (found.ok, found.sealed, found.events) == (True, 3, 4)


def test_a_history_rewritten_with_all_that_follows_verifies_without_seals_but_not_with_them(
    deployed, settings, counting
):
    seals.seal(deployed, settings)
    rewrite(deployed, counting, decision="approve")
    with deployed.transaction() as session:
        kept = session.scalars(select(SealedHead)).all()
        session.execute(delete(SealedHead))
    assert verdict(deployed, counting).findings == []  # the forgery is perfect
    with deployed.transaction() as session:
        for row in kept:
            make_transient(row)
        session.add_all(kept)
    found = verdict(deployed, counting, seals.trusted_keys(settings))
    assert [finding.seq for finding in found.findings] == [3]
    assert "seal 1" in str(found.findings[0])


def test_a_rewritten_history_that_has_grown_on_is_found_by_the_earlier_seal(deployed, office, settings, counting):
    seals.seal(deployed, settings)
    rewrite(deployed, counting, comment="another story")
    office.decide("reviewer", counting, "refuse", element="again")
    seals.seal(deployed, settings)  # the sealing process cannot know, and seals the new end too
    found = verdict(deployed, counting, seals.trusted_keys(settings))
    assert [str(finding) for finding in found.findings] == [
        "event 3: up to here the history is not the one that seal 1 holds"
    ]


def test_a_changed_leaf_is_no_longer_what_was_signed(deployed, settings, counting):
    seals.seal(deployed, settings)
    rewrite(deployed, counting, comment="another story")
    head = verdict(deployed, counting).findings[0].seq
    with deployed.transaction() as session:
        event = session.get_one(HistoryEvent, (counting.id, head))
        session.execute(update(SealedHead).values(digest=event.digest))
    found = verdict(deployed, counting).findings
    assert [str(finding) for finding in found] == ["event 3: seal 1, which holds it, is not genuine"]
    assert ledger_problems(deployed) == ["seal 1: its heads are not those that were signed"]


def test_seals_made_anew_with_another_key_are_not_trusted(deployed, office, settings, counting):
    seals.seal(deployed, settings)
    office.decide("reviewer", counting, "refuse", element="again")
    seals.seal(deployed, settings)
    old = entries(deployed)
    rewrite(deployed, counting, comment="another story")
    forged = forge_seals(deployed, Ed25519PrivateKey.generate())
    assert verdict(deployed, counting).findings == []  # without knowing the key there is nothing to see
    trusted = seals.trusted_keys(settings)
    assert {finding.seq for finding in verdict(deployed, counting, trusted).findings} == {3, 4}
    assert all("not trusted here" in problem for problem in ledger_problems(deployed, trusted))
    with deployed.reading() as session:
        lines = [{**event, "instance": str(counting.id)} for event in exported(session, counting)]
    assert ledger.compare(lines, forged).findings == []
    assert [finding.seq for finding in ledger.compare(lines, old).findings] == [3, 4]  # an auditor's copy is enough


def exported(session, instance):
    return [
        {
            "seq": event.seq,
            "at": history.stored_instant(event.at),
            **{name: getattr(event, name) for name in ("kind", "actor", "payload", "lookups", "derived", "digest")},
        }
        for event in history.events(session, instance.id)
    ]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_removed_seal_is_found(deployed, office, settings, counting, number):
    for _ in range(3):
        office.start("counting")
        seals.seal(deployed, settings)
    with deployed.transaction() as session:
        session.execute(delete(SealedHead).where(SealedHead.seal_number == number))
        session.execute(delete(Seal).where(Seal.number == number))
    problems = ledger_problems(deployed)
    # the newest seal leaves no trace inside the database: its copy in the backup store does (tests of device.ledger)
    assert bool(problems) == (number != 3)


def test_an_instance_that_was_removed_altogether_is_missed(deployed, settings, office):
    instance = office.start("review", applicant="applicant")
    seals.seal(deployed, settings)
    with deployed.transaction() as session:
        session.execute(delete(Task).where(Task.instance_id == instance.id))
        session.execute(delete(HistoryEvent).where(HistoryEvent.instance_id == instance.id))
        session.execute(delete(Instance).where(Instance.id == instance.id))
    assert ledger_problems(deployed) == [f"the process chain of {instance.id} is sealed but no longer there"]


def test_a_truncated_history_is_found(deployed, settings, counting):
    seals.seal(deployed, settings)
    with deployed.transaction() as session:
        session.execute(delete(HistoryEvent).where(HistoryEvent.instance_id == counting.id, HistoryEvent.seq == 3))
        last = session.get_one(HistoryEvent, (counting.id, 2))
        session.execute(update(Instance).where(Instance.id == counting.id).values(seq=2, head=last.digest))
    assert "event 3: it is missing, but seal 1 holds it" in map(str, verdict(deployed, counting).findings)


# ---- the ledger by itself -------------------------------------------------------------------------------------------

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def heads(*numbers):
    return [ledger.Head("process", UUID(int=number), 1, ledger.sha256(bytes([number]))) for number in numbers]


def series(count):
    made, previous = [], None
    for number in range(1, count + 1):
        at = history.stored_instant(datetime(2026, 2, 2, tzinfo=UTC) + timedelta(minutes=number))
        made.append(ledger.sign(heads(number, number + 100), previous, at, KEY))
        previous = ledger.Statement.parse(made[-1].statement)
    return made


def test_the_merkle_root_is_that_of_rfc_6962():
    """The roots of the reference tests of Certificate Transparency for its eight leaves, and of the empty tree."""
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    for count, root in enumerate(roots):
        assert ledger.merkle_root([bytes.fromhex(leaf) for leaf in leaves[:count]]) == f"sha256:{root}", count


def test_an_untouched_ledger_survives_its_file():
    made = series(4)
    content = b"".join(entry.line() for entry in made)
    assert ledger.read(content) == made
    assert list(ledger.problems_of(made, {ledger.fingerprint(KEY.public_key())})) == []


def test_any_changed_byte_of_a_ledger_file_is_found():
    content = b"".join(entry.line() for entry in series(2))
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            read = ledger.read(changed)
        except ledger.LedgerError:
            continue
        if read == ledger.read(content):
            continue  # a byte of the JSON that carries no content
        assert list(ledger.problems_of(read)), (place, changed[place - 20 : place + 20])


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2], [1, 2], [0, 1, 1, 2]])
def test_exchanged_missing_and_doubled_seals_are_found(order):
    made = series(3)
    assert list(ledger.problems_of([made[place] for place in order]))


def test_a_chain_cannot_go_backwards_from_seal_to_seal():
    first = ledger.sign(heads(1), None, "2026-02-02T00:00:00.000000+00:00", KEY)
    second = ledger.sign(heads(1), ledger.Statement.parse(first.statement), "2026-02-02T00:00:00.000000+00:00", KEY)
    assert [problem for problem in ledger.problems_of([first, second]) if "went backwards" in problem]


@pytest.mark.parametrize(
    "text",
    ["", "process", "process x 1 sha256:00", "process 00000000-0000-0000-0000-000000000001 01 sha256:00", "a b c d e"],
)
def test_a_head_is_written_in_one_way_only(text):
    with pytest.raises(ledger.LedgerError):
        ledger.Head.parse(text)


@pytest.mark.parametrize(
    "content", [b"{}\n", b"[]\n", b"no json\n", b'{"statement":1,"signature":"","public_key":"","heads":[]}']
)
def test_what_is_no_ledger_is_refused_with_its_line(content):
    with pytest.raises(ledger.LedgerError, match="Line 1"):
        ledger.read(content)
