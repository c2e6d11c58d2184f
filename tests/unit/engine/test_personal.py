"""Personal fields: encrypted before they enter the kernel, opened at the edges, erased for ever by a disposal."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from process_files import flows, process, service, user
from sqlalchemy import select

from engine import (
    backtest,
    definitions,
    erasure,
    exports,
    history,
    instances,
    jobs,
    modification,
    personal,
    replay,
    tasks,
)
from engine.columns import Base
from engine.db import Database
from engine.errors import BpmnError, ConflictError, InvalidFormError, NotFoundError, Sentence
from engine.models import HistoryEvent, Instance, Job, Notification, PersonalKey, Signature
from engine.modification import Change
from engine.operators import JobContext, operator
from engine.personal import CaseKey, ErasedError, PersonalDataError
from engine.settings import SettingsError
from engine.tasks import SignatureRequest

PAPER, PHONE, WITNESS = "110101199003071239", "13912345678", "欧阳见证"
PASSWORD = "correct horse battery"


def form(name: str, *fields: dict[str, Any]) -> str:
    components = [{"type": "textfield", "id": f"f_{one['key']}", "label": one["key"], **one} for one in fields]
    return json.dumps({"type": "default", "id": name, "schemaVersion": 16, "components": components})


PRIVATE = {"properties": {"personal": "true"}}
FILES = {
    "letter.bpmn": process(
        "letter",
        user("fill", "paper", assignee="'applicant'", formJsonSchemaFilename="paper.form"),
        user("sign", "signed", candidateGroup="reviewer", formJsonSchemaFilename="sign.form", signature="required"),
        service("post", "test/letter", "answer", to="paper.phone", about="paper.reason"),
        flows("start", "fill", "sign", "post", "end"),
    ),
    "forms/paper.form": form(
        "paper",
        {"key": "number", **PRIVATE},
        {"key": "phone", **PRIVATE},
        {"key": "reason"},
        {"key": "note", **PRIVATE},
    ),
    "forms/sign.form": form(
        "sign",
        {"key": "phone", "properties": {"personal": "true", "from": "paper.phone", "locked": "true"}},
        {"key": "witness", **PRIVATE},
        {"key": "decision"},
    ),
}


class Post:
    """What the operator of these tests was given, and what it does with it."""

    seen: list[str]
    act: Callable[[JobContext, str], Any]

    def reset(self) -> None:
        self.seen = []
        self.act = lambda _context, to: {"posted": True, "to": to, "said": f"to {to}, thanks"}


POST = Post()


@operator("test/letter", zh="寄信", en="Send a letter", retries=1, personal=True)
def letter(context: JobContext, *, to: str, about: str) -> Any:
    """Needs the telephone number as it is."""
    POST.seen.append(to)
    return POST.act(context, to)


@pytest.fixture(autouse=True)
def letters(deployed: Database) -> None:
    POST.reset()
    with deployed.transaction() as session:
        definitions.deploy(session, FILES, by="owner")


@pytest.fixture
def filled(office: Any) -> Instance:
    instance = office.start("letter")
    office.complete(
        "applicant", office.task(instance, "fill"), {"number": PAPER, "phone": PHONE, "reason": "lost", "note": ""}
    )
    return office.now(instance)


@pytest.fixture
def signed(office: Any, filled: Instance) -> Instance:
    data = {"witness": WITNESS, "decision": "yes"}
    office.complete("reviewer", office.task(filled, "sign"), data, signature=SignatureRequest(PASSWORD))
    return office.now(filled)


@pytest.fixture
def ended(signed: Instance, office: Any, worker: Callable[[], int]) -> Instance:
    worker()
    return office.now(signed)


def stored(database: Database) -> bytes:
    """Everything in all tables; on SQLite the bytes of its files too, write-ahead log included."""
    with database.reading() as session:
        rows = [list(session.execute(select(table)).all()) for table in Base.metadata.sorted_tables]
    found = repr(rows).encode()
    if database.sqlite:
        path = Path(database.url.removeprefix("sqlite:///"))
        found += b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    return found


def read(database: Database, instance: Instance) -> Any:
    with database.reading() as session:
        return personal.opened(session, instance.id, instances.get(session, instance.id).data)


def erase(database: Database, instance: Instance, disposal: str = "销毁-2029-1") -> erasure.Erasure:
    with database.transaction() as session:
        return erasure.erase(session, instance.id, disposal, by="archivist", reason="期满")


# ---- envelopes ------------------------------------------------------------------------------------------------------

KEY = CaseKey(UUID(int=7), b"k" * 32)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5))
def test_every_json_value_comes_out_of_its_envelope_and_the_same_value_has_the_same_one(value: Any) -> None:
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:  # a lone surrogate: payloads refuse it
        return
    envelope = KEY.seal(value)
    assert personal.is_envelope(envelope)
    assert KEY.open(envelope) == value
    assert KEY.seal(value) == envelope


def test_an_envelope_does_not_tell_how_long_its_value_is() -> None:
    assert len({len(KEY.seal("x" * length)) for length in range(30)}) == 1


@pytest.mark.parametrize("place", [11, 30, -1])
def test_an_altered_envelope_is_refused(place: int) -> None:
    envelope = KEY.seal(PAPER)
    other = "A" if envelope[place] != "A" else "B"
    altered = envelope[:place] + other + (envelope[place + 1 :] if place != -1 else "")
    with pytest.raises(PersonalDataError, match="altered"):
        KEY.open(altered)


@pytest.mark.parametrize("text", [personal.MARK, personal.MARK + "~", personal.MARK + "AAAA", personal.MARK + "文"])
def test_what_only_looks_like_an_envelope_is_refused(text: str) -> None:
    with pytest.raises(PersonalDataError):
        KEY.open(text)


@pytest.mark.parametrize("other", [replace(KEY, secret=b"w" * 32), replace(KEY, id=UUID(int=8))], ids=["key", "case"])
def test_an_envelope_opens_with_the_key_of_its_case_only(other: CaseKey) -> None:
    with pytest.raises(PersonalDataError, match="another case"):
        other.open(KEY.seal(PAPER))


def test_a_key_is_in_no_repr() -> None:
    assert "k" * 8 not in repr(KEY)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("110101199003071239", "110***********1239"),
        ("11010119900307123X", "110***********123X"),
        ("+86 139-1234-5678", "+86 1**-****-5678"),
        ("E12345678", "*******78"),
        ("张三（012345）、李四（警号 065432）", "张三（****45）、李四（警号 ****32）"),
        ("１１０１０１１９９００３０７１２３９", "１１０***********１２３９"),
        ("欧阳见证", "欧阳见证"),
        ("John Smith", "John Smith"),
        ("1234", "1234"),
        (["13912345678", "保安队长"], ["139****5678", "保安队长"]),
        (None, None),
    ],
)
def test_the_middle_of_numbers_is_masked_and_names_stay_readable(value: Any, shown: Any) -> None:
    assert personal.masked(value) == shown
    assert personal.masked(shown) == shown, "a masked value stays as it is"


# ---- at the edge ----------------------------------------------------------------------------------------------------


def test_the_kernel_sees_envelopes_and_those_who_may_read_see_the_values(database: Database, filled: Instance) -> None:
    paper = filled.data["paper"]
    assert personal.is_envelope(paper["number"])
    assert personal.is_envelope(paper["phone"])
    assert paper["reason"] == "lost", "what is not personal stays open"
    assert paper["note"] is None, "nothing entered is nothing to hide"
    assert read(database, filled)["paper"] | {"at": ""} == {
        **{"number": PAPER, "phone": PHONE, "reason": "lost", "note": None},
        **{"by": "applicant", "at": ""},
    }


def test_personal_data_is_nowhere_in_the_database(
    database: Database, ended: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    assert POST.seen == [PHONE], "the operator that asks for it gets it"
    everything = stored(database) + caplog.text.encode()
    for secret in (PAPER, PHONE, WITNESS):
        for written in (secret, orjson.dumps(secret).decode()[1:-1], json.dumps(secret)[1:-1]):
            assert written.encode() not in everything, written
    assert b"lost" in everything, "the search would find it"


def test_two_cases_of_one_person_cannot_be_told_from_their_envelopes(office: Any) -> None:
    texts = set()
    for _ in range(2):
        instance = office.start("letter")
        office.complete("applicant", office.task(instance, "fill"), {"number": PAPER, "phone": PHONE})
        texts.add(office.now(instance).data["paper"]["number"])
    assert len(texts) == 2


def test_data_that_enters_by_a_start_is_encrypted_too(database: Database, office: Any) -> None:
    instance = office.start("letter", paper={"number": PAPER, "reason": "lost"}, other={"number": "7"})
    assert personal.is_envelope(instance.data["paper"]["number"])
    assert instance.data["other"] == {"number": "7"}
    assert PAPER.encode() not in stored(database)


def test_nobody_hands_in_what_looks_like_an_envelope(office: Any, filled: Instance) -> None:
    stolen = filled.data["paper"]["number"]
    with pytest.raises(InvalidFormError, match=r"data\.note"):
        office.start("letter", note=stolen)
    instance = office.start("letter")
    with pytest.raises(InvalidFormError, match=r"data\.reason"):
        office.complete("applicant", office.task(instance, "fill"), {"reason": stolen})
    with pytest.raises(PersonalDataError):
        office.complete("applicant", office.task(instance, "fill"), {"number": stolen})


def test_a_program_hands_a_personal_field_back_as_it_got_it(database: Database, office: Any, filled: Instance) -> None:
    data = {"witness": filled.data["paper"]["phone"], "decision": "yes"}
    office.complete("reviewer", office.task(filled, "sign"), data, signature=SignatureRequest(PASSWORD))
    assert read(database, filled)["signed"]["witness"] == PHONE


def test_a_locked_personal_field_keeps_its_value(database: Database, signed: Instance) -> None:
    assert read(database, signed)["signed"]["phone"] == PHONE


def test_a_database_that_was_opened_without_the_secret_stores_no_personal_data(office: Any) -> None:
    instance = office.start("letter")
    blind = Database(office.database.url)
    with pytest.raises(SettingsError, match="DIAOQU_SECRET_KEY"):
        type(office)(blind).complete("applicant", office.task(instance, "fill"), {"number": PAPER})
    type(office)(blind).complete("applicant", office.task(instance, "fill"), {"reason": "lost"})
    blind.dispose()


def test_another_secret_does_not_open_the_keys(database: Database, filled: Instance, settings: Any) -> None:
    changed = Database.of(replace(settings, secret_key="another secret of more than thirty-two characters"))
    with pytest.raises(PersonalDataError, match="DIAOQU_SECRET_KEY is not the one"):
        read(changed, filled)
    with changed.reading() as session:
        said = personal.opened(session, filled.id, filled.data, instead=lambda error: type(error).__name__)
    assert said["paper"]["number"] == "PersonalDataError"
    changed.dispose()


# ---- signing --------------------------------------------------------------------------------------------------------


def test_the_signed_text_names_personal_values_encrypted_and_is_the_same_when_shown_and_signed(
    database: Database, office: Any, filled: Instance
) -> None:
    task = office.task(filled, "sign")
    data = {"witness": WITNESS, "decision": "yes"}
    with database.transaction() as session:
        clean = tasks.clean_data(session, task, data)
        shown = tasks.signing_text(session, task, clean, by=office.person(session, "reviewer"))
    office.complete("reviewer", task, data, signature=SignatureRequest(PASSWORD))
    with database.reading() as session:
        signature = session.scalars(select(Signature)).one()
    assert signature.text == shown
    assert signature.digest == definitions.text_digest(shown)
    assert office.now(filled).data["signed"]["witness"] in shown
    assert WITNESS not in shown


# ---- operators ------------------------------------------------------------------------------------------------------


def test_an_operator_leaves_nothing_of_what_it_was_shown(
    database: Database, office: Any, signed: Instance, worker: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(context: JobContext, to: str) -> Any:
        context.progress(calling=to, list=[f"{to}!"])
        if context.attempt == 1:
            raise BpmnError("NOBODY", f"nobody answers {to}")
        raise ValueError(f"{to} is engaged")

    POST.act = fail
    with caplog.at_level(logging.INFO):
        worker()
        with database.transaction() as session:
            job = session.scalars(select(Job)).one()
            assert job.state == "incident"
            assert "nobody answers […]" in str(job.error)
            assert personal.is_envelope(job.params["to"]), "opened when it runs, never stored open"
            job.state, job.error = "ready", Sentence("")
        worker()
    with database.reading() as session:
        assert "ValueError: […] is engaged" in str(session.scalars(select(Job)).one().error)
        assert any("nobody answers" in str(one.params) for one in session.scalars(select(Notification)))
    assert "is engaged" in caplog.text
    assert PHONE not in caplog.text
    assert PHONE.encode() not in stored(database)


def test_what_an_operator_answers_goes_back_into_its_envelope(ended: Instance) -> None:
    assert ended.state == "completed"
    assert ended.data["answer"]["to"] == ended.data["paper"]["phone"]
    assert ended.data["answer"]["said"] == "to […], thanks"


def test_corrected_parameters_are_encrypted_again(
    database: Database, office: Any, signed: Instance, worker: Callable[[], int]
) -> None:
    def unknown(_context: JobContext, to: str) -> Any:
        raise BpmnError("UNKNOWN", to)

    POST.act = unknown
    worker()
    POST.reset()
    with database.transaction() as session:
        job = session.scalars(select(Job)).one()
        jobs.retry(session, job.id, by="operator", params={"to": "13900000000", "about": "lost"})
    worker()
    assert POST.seen == ["13900000000"]
    assert b"13900000000" not in stored(database)


def test_a_synchronous_operator_cannot_ask_for_personal_data() -> None:
    with pytest.raises(ValueError, match="synchronous"):
        operator("test/never", zh="否", en="No", synchronous=True, personal=True)(lambda _context: None)


# ---- erasure --------------------------------------------------------------------------------------------------------


def test_after_an_erasure_nobody_reads_it_and_the_history_is_still_proven(database: Database, ended: Instance) -> None:
    with database.reading() as session:
        envelope = ended.data["paper"]["number"]
        wrapped = session.scalars(select(PersonalKey.wrapped)).one()
        key = personal.key_of(session, ended.id)
        assert key.open(envelope) == PAPER
    done = erase(database, ended)
    assert done.inputs == (2, 3, 4), "the application, the signed decision and the operator's answer"
    with pytest.raises(ErasedError, match="销毁-2029-1"):
        read(database, ended)
    everything = stored(database)
    assert wrapped.encode() not in everything
    assert envelope.encode() in everything, "the ciphertext stays, as it was hashed"
    with database.reading() as session:
        found = replay.verify(session, ended.id)
        signature = session.scalars(select(Signature)).one()
    assert found.findings == []
    assert found.erasure == done
    assert str(found.erasure) == "the personal data of 3 inputs erased by disposal 销毁-2029-1 (event 5)"
    assert signature.digest == definitions.text_digest(signature.text)


def test_an_erasure_is_recorded_with_who_and_why(database: Database, ended: Instance) -> None:
    erase(database, ended)
    with database.reading() as session:
        event = session.scalars(select(HistoryEvent).where(HistoryEvent.kind == "erase")).one()
        assert history.verify_chain(session, ended.id) == []
    assert event.actor == "archivist"
    assert orjson.loads(event.payload) == {"disposal": "销毁-2029-1", "reason": "期满", "inputs": [2, 3, 4]}


def test_other_cases_are_untouched_by_an_erasure(database: Database, office: Any, ended: Instance) -> None:
    other = office.start("letter")
    office.complete("applicant", office.task(other, "fill"), {"number": PAPER, "phone": PHONE})
    erase(database, ended)
    assert read(database, other)["paper"]["number"] == PAPER


def test_a_case_under_way_is_not_erased(database: Database, filled: Instance) -> None:
    with pytest.raises(ConflictError, match="has not ended"):
        erase(database, filled)
    assert read(database, filled)["paper"]["number"] == PAPER


def test_a_case_is_erased_once(database: Database, ended: Instance) -> None:
    erase(database, ended)
    with pytest.raises(ConflictError, match="销毁-2029-1"):
        erase(database, ended, "another")
    with pytest.raises(NotFoundError), database.transaction() as session:
        erasure.erase(session, uuid4(), "销毁-2029-1", by="archivist", reason="期满")


def test_an_erasure_that_is_rolled_back_has_not_happened(database: Database, ended: Instance) -> None:
    def half_way() -> None:
        with database.transaction() as session:
            erasure.erase(session, ended.id, "销毁-2029-1", by="archivist", reason="期满")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_way()
    assert read(database, ended)["paper"]["number"] == PAPER


def test_a_key_that_comes_back_from_a_backup_is_found(database: Database, ended: Instance) -> None:
    with database.reading() as session:
        row = session.scalars(select(PersonalKey)).one()
        kept = {"id": row.id, "wrapped": row.wrapped, "created_at": row.created_at}
    erase(database, ended)
    with database.transaction() as session:
        session.add(PersonalKey(**kept))
    with database.reading() as session:
        findings = replay.verify(session, ended.id).findings
    assert [str(found) for found in findings] == ["event 5: the key that it destroyed is in the database"]


def test_a_tampered_erasure_is_found(database: Database, ended: Instance) -> None:
    erase(database, ended)
    with database.transaction() as session:
        event = session.scalars(select(HistoryEvent).where(HistoryEvent.kind == "erase")).one()
        event.payload = "{}"
    with database.reading() as session:
        found = replay.verify(session, ended.id)
    assert found.findings[0].seq == 5
    assert found.erasure is None


def test_an_erased_history_is_exported_and_backtested_as_before(database: Database, ended: Instance) -> None:
    def everything() -> list[bytes]:
        with database.reading() as session:
            return [b"".join(exports.FORMATS[kind](session, [ended.id])) for kind in ("csv", "xes", "ocel")]

    before = everything()
    erase(database, ended)
    assert everything() == before, "an erasure is no step of the diagram"
    with database.reading() as session:
        lines = b"".join(exports.jsonl(session, [ended.id])).splitlines()
        (outcome,) = backtest.backtest(session, FILES)
    assert orjson.loads(lines[-1])["kind"] == "erase"
    assert outcome.differences == []


def test_a_case_from_before_there_was_encryption_stays_readable_and_is_erased_with_nothing_to_erase(
    database: Database, office: Any
) -> None:
    instance = office.start("letter")
    with database.transaction() as session:
        old = {"task": str(office.task(instance, "fill").id), "data": {"paper": {"number": PAPER, "phone": PHONE}}}
        instances.advance(session, instance.id, "submit", old, by="applicant")
        instances.cancel(session, instance.id, "no longer needed", by="applicant")
    assert read(database, instance)["paper"]["number"] == PAPER
    assert erase(database, instance).inputs == ()
    with database.reading() as session:
        assert replay.verify(session, instance.id).ok


# ---- operating instances --------------------------------------------------------------------------------------------


def test_corrected_data_is_encrypted_and_may_keep_what_it_was(
    database: Database, office: Any, filled: Instance
) -> None:
    paper = {**filled.data["paper"], "phone": "13900000000"}
    with database.transaction() as session:
        modification.modify(session, filled.id, Change(set={"paper": paper}), "wrong number", by="admin")
    assert read(database, filled)["paper"]["phone"] == "13900000000"
    assert read(database, filled)["paper"]["number"] == PAPER
    assert b"13900000000" not in stored(database)
    swapped = Change(set={"paper": {**paper, "reason": paper["number"]}})
    with pytest.raises(InvalidFormError, match="reason"), database.transaction() as session:
        modification.modify(session, filled.id, swapped, "to read it", by="admin")


def test_an_instance_that_repeats_another_has_the_same_data_under_a_key_of_its_own(
    database: Database, signed: Instance
) -> None:
    with database.transaction() as session:
        copy = modification.restart(session, signed.id, "sign", "signed too early", by="admin")
        instances.cancel(session, signed.id, "begun again", by="admin")
    assert read(database, copy)["paper"]["number"] == PAPER
    assert copy.data["paper"]["number"] != signed.data["paper"]["number"]
    erase(database, signed)
    assert read(database, copy)["paper"]["number"] == PAPER
    with pytest.raises(ErasedError), database.transaction() as session:
        modification.restart(session, signed.id, "sign", "once more", by="admin")
