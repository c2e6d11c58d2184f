"""The ledger outside the database: cases' logs, copies in the backup store, strangers, and the command line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from case_room import INSTANCE, database_in, open_case, settings_in
from click.testing import CliRunner
from sqlalchemy import String, delete, select, type_coerce, update

from device import access, ledger
from device.models import Case, CaseEvent
from device.storage import open_stores
from engine import ledger as pure
from engine import seals
from engine.models import Seal, SealedHead
from web.cli import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def room(tmp_path):
    """An open case whose log has two events, sealed; and its settings."""
    settings = settings_in(tmp_path)
    with database_in(settings) as database:
        with database.transaction() as session:
            case = open_case(session)
            access.record(session, case, "opened", "applicant")
            access.record(session, case, "printed", "operator", item="forms/1")
        seals.seal(database, settings)
        seals.keep(database, settings)
        yield database, settings


def problems(room):
    database, settings = room
    with database.reading() as session:
        return seals.Ledger(session, seals.trusted_keys(settings)).problems + ledger.store_problems(session, settings)


def custody(room):
    database, settings = room
    with database.reading() as session:
        return ledger.verify_custody(session, INSTANCE, seals.Ledger(session, seals.trusted_keys(settings)))


def more(room, kind="viewed"):
    database, settings = room
    with database.transaction() as session:
        access.record(session, session.scalars(select(Case)).one(), kind, "operator")
    seals.seal(database, settings)
    seals.keep(database, settings)


def forge_custody(room):
    """Rewrite the log of the case, with all its digests."""
    database, _settings = room
    with database.transaction() as session:
        case = session.scalars(select(Case)).one()
        previous = ""
        for event in access.case_events(session, case):
            event.actor = "somebody"
            event.digest = previous = access.event_digest(case, previous, event)
        case.head = previous


def test_the_log_of_a_case_is_sealed_like_a_history(room):
    assert custody(room) == ([], 2, 2)
    assert problems(room) == []


def test_a_log_that_was_rewritten_with_its_digests_is_found(room):
    forge_custody(room)
    findings, _events, _sealed = custody(room)
    assert [str(each) for each in findings] == ["event 2: up to here the history is not the one that seal 1 holds"]


@pytest.mark.parametrize("column", ["at", "kind", "actor", "item", "origin", "details", "digest"])
def test_a_single_changed_character_of_a_log_is_found_wherever_it_is(room, column):
    """Also where it means the same to whoever reads it, as a blank in place of the T of a time."""
    database, _settings = room
    with database.reading() as session:
        table = CaseEvent.__table__
        query = select(table.c.seq, type_coerce(table.c[column], String)).where(table.c.seq == 2)
        ((_seq, text),) = session.execute(query).all()
    for place in sorted({*range(0, len(text), 5), min(10, len(text))}):
        changed = text[:place] + (" " if text[place : place + 1] != " " else "x") + text[place + 1 :]
        with database.transaction() as session:
            session.execute(update(table).where(table.c.seq == 2).values({column: type_coerce(changed, String)}))
        assert 2 in [finding.seq for finding in custody(room)[0]], (column, place)


def test_a_case_that_was_removed_altogether_is_missed(room):
    database, _settings = room
    with database.transaction() as session:
        session.execute(delete(CaseEvent))
        session.execute(delete(Case))
    assert [finding.seq for finding in custody(room)[0]] == [2]
    assert problems(room) == [f"the custody chain of {INSTANCE} is sealed but no longer there"]


def test_every_seal_lies_in_the_backup_store_and_the_files_together_are_the_ledger(room):
    more(room)
    database, settings = room
    _primary, backup = open_stores(settings)
    names = list(backup.keys("ledger"))
    assert names == ["ledger/000000001.jsonl", "ledger/000000002.jsonl"]
    content = b"".join(backup.path(name).read_bytes() for name in names)
    with database.reading() as session:
        assert pure.read(content) == list(seals.entries(session))


def test_a_removed_newest_seal_is_found_by_its_copy(room):
    more(room)
    database, _settings = room
    with database.transaction() as session:
        session.execute(delete(SealedHead).where(SealedHead.seal_number == 2))
        session.execute(delete(Seal).where(Seal.number == 2))
    assert problems(room) == ["ledger/000000002.jsonl: the backup store holds a seal that the database does not"]


def test_a_ledger_made_anew_even_with_the_right_key_is_found_by_its_copies(room, caplog):
    database, settings = room
    forge_custody(room)
    with database.transaction() as session:
        session.execute(delete(SealedHead))
        session.execute(delete(Seal))
    seals.seal(database, settings)
    assert seals.keep(database, settings) == 0  # the store refuses to hold another seal of that number
    assert "could not be copied" in caplog.text
    assert problems(room) == ["seal 1: the backup store holds another one"]


def test_a_copy_that_is_gone_is_named(room):
    _database, settings = room
    _primary, backup = open_stores(settings)
    backup.path("ledger/000000001.jsonl").unlink()
    assert problems(room) == ["seal 1: its copy in the backup store is gone"]


# ---- offline --------------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(room, tmp_path):
    """The ledger, the log of the case and the public key, as files; without database."""
    more(room)
    database, settings = room
    with database.reading() as session:
        (tmp_path / "ledger.jsonl").write_bytes(b"".join(entry.line() for entry in seals.entries(session)))
        (tmp_path / "custody.jsonl").write_bytes(b"".join(ledger.custody_jsonl(session, [INSTANCE])))
    (tmp_path / "key.pem").write_text(pure.public_pem(seals.signing_key(settings).public_key()))
    return tmp_path


def diaoqu(*arguments):
    found = CliRunner().invoke(main, [str(each) for each in arguments])
    return found.exit_code, found.output


def stranger(folder):
    """The program in docs/ledger-format.md, as it stands there."""
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "ledger-format.md").read_text(), re.DOTALL)
    command = [sys.executable, "-c", program, folder / "ledger.jsonl", folder / "custody.jsonl"]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=False)


def test_the_command_line_verifies_offline(exported):
    status, told = diaoqu(
        *("verify", "--ledger", exported / "ledger.jsonl", "--key", exported / "key.pem"),
        *("--history", exported / "custody.jsonl"),
    )
    assert status == 0, told
    assert f"custody of {INSTANCE}, 3 events, all sealed" in told


def test_the_command_line_names_a_changed_event_and_a_foreign_key(exported):
    path = exported / "custody.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"printed"', b'"viewed "'))
    status, told = diaoqu("verify", "--ledger", exported / "ledger.jsonl", "--history", path)
    assert status == 1
    assert "event 2: its content is not what was hashed" in told
    other = pure.Ed25519PrivateKey.generate()
    (exported / "key.pem").write_text(pure.public_pem(other.public_key()))
    status, told = diaoqu("verify", "--ledger", exported / "ledger.jsonl", "--key", exported / "key.pem")
    assert (status, "not trusted here" in told) == (1, True)


def test_a_history_that_ends_too_early_is_found_unless_it_is_the_one_in_a_bag(exported):
    path = exported / "custody.jsonl"
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines[:2]))
    status, told = diaoqu("verify", "--ledger", exported / "ledger.jsonl", "--history", path)
    assert (status, "event 3: it is missing, but seal 2 holds it" in told) == (1, True)
    (exported / "heads.json").write_bytes(orjson.dumps({"instance": str(INSTANCE), "process": "", "custody": ""}))
    bare = [{name: value for name, value in line.items() if name != "instance"} for line in lines[:2]]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in bare))
    status, told = diaoqu("verify", "--ledger", exported / "ledger.jsonl", "--history", path)
    assert (status, "the ledger knows of 3 events" in told) == (0, True)


@pytest.mark.parametrize(
    "arguments", [(), ("--all", "--bag", "."), ("--all", "--history", __file__), ("--all", "--key", __file__)]
)
def test_wrong_use_is_said_so(arguments):
    assert diaoqu("verify", *arguments)[0] == 2


@pytest.mark.parametrize("name", ["ledger.jsonl", "custody.jsonl", "key.pem"])
def test_files_of_another_kind_are_refused_without_a_traceback(exported, name):
    (exported / name).write_text("something else\n")
    status, told = diaoqu(
        *("verify", "--ledger", exported / "ledger.jsonl", "--key", exported / "key.pem"),
        *("--history", exported / "custody.jsonl"),
    )
    assert (status, "diaoqu: " in told) == (1, True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_a_stranger_verifies_with_the_program_on_the_page(exported):
    told = stranger(exported)
    assert told.returncode == 0, told.stderr
    assert "2 seals" in told.stdout
    assert "3 events, sealed up to 3" in told.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("ledger.jsonl", b"seal 2", b"seal 3"),
        ("ledger.jsonl", b" 3 sha256:", b" 4 sha256:"),
        ("ledger.jsonl", b"at 2", b"at 3"),
        ("custody.jsonl", b'"operator"', b'"somebody"'),
        ("custody.jsonl", b'"seq":3', b'"seq":4'),
    ],
)
def test_a_stranger_finds_what_was_changed(exported, file, old, new):
    path = exported / file
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert stranger(exported).returncode != 0


# ---- with a database ------------------------------------------------------------------------------------------------


def test_sealing_and_exporting_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("DIAOQU_DATA", str(tmp_path))
    monkeypatch.setenv("DIAOQU_SECRET_KEY", "a long random text for the tests only")
    assert diaoqu("ledger", "seal") == (0, "0 seals made\n")
    assert diaoqu("ledger", "export") == (0, "")
    status, told = diaoqu("ledger", "key")
    assert (status, "BEGIN PUBLIC KEY" in told, "sha256:" in told) == (0, True, True)
    assert diaoqu("verify", "--all") == (0, "ledger: ok, 0 seals\n")


def test_a_tampered_leaf_differs_from_what_was_signed_and_from_the_copy(room):
    database, _settings = room
    with database.transaction() as session:
        session.execute(update(SealedHead).values(seq=SealedHead.seq + 1))
    assert problems(room) == [
        "seal 1: its heads are not those that were signed",
        "seal 1: the backup store holds another one",
    ]
