"""The command line: exit status 0 done, 1 found a problem, 2 wrong use; problems name file, line, element and rule."""

import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest
from click.testing import CliRunner, Result
from procedure import House

from device import access, copies, evidence
from device.models import Case, Grant
from engine import clock, identity, live
from engine.db import Database
from engine.settings import ROOT
from web.cli import main

SECRET = "a secret of more than thirty-two characters"
PROBLEM = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): (?P<element>[^:]*): (?P<rule>[a-z0-9-]+): (?P<message>.+)")
DIAGRAM = (ROOT / "bpmn" / "footage_retrieval.bpmn").read_text()

Command = Callable[..., Result]


def run(folder: Path, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
    """A command in this process, with `folder` as its data. Whatever it does not foresee fails the test."""
    given = {"DIAOQU_DATA": str(folder), "DIAOQU_SECRET_KEY": SECRET, "DIAOQU_DATABASE_URL": None, **environment}
    found = CliRunner().invoke(main, arguments, input=stdin, env=given)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exc_info
    assert "Traceback" not in found.output
    return found


@pytest.fixture
def diaoqu(tmp_path: Path) -> Command:
    """`diaoqu("lint", "bpmn")` in a new installation."""
    return lambda *arguments, **more: run(tmp_path / "data", *arguments, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, UUID]]:
    """A data folder with one archived case, and its instance; to be copied by whoever changes something."""
    house = House.open(tmp_path_factory.mktemp("finished"))
    instance = house.request("gate")
    assert house.instance(instance).state == "completed"
    house.database.dispose()
    stamp(house.settings.data / "diaoqu.db", tmp_path_factory.mktemp("newest"))
    yield house.settings.data, instance
    live.forget()


def stamp(database: Path, scratch: Path) -> None:
    """The house's tables were made at once; note that they are those of the newest migration."""
    run(scratch, "db", "upgrade")
    connection = sqlite3.connect(database)
    try:
        connection.execute("ATTACH ? AS newest", (str(scratch / "diaoqu.db"),))
        connection.execute("CREATE TABLE alembic_version AS SELECT * FROM newest.alembic_version")
        connection.commit()
    finally:
        connection.close()


@pytest.fixture
def tampered(finished: tuple[Path, UUID], tmp_path: Path) -> Callable[[str], tuple[Path, UUID]]:
    """A copy in which somebody with the database has run a statement."""

    def change(statement: str) -> tuple[Path, UUID]:
        folder = tmp_path / "tampered"
        shutil.copytree(finished[0], folder)
        connection = sqlite3.connect(folder / "diaoqu.db")
        try:
            changed = connection.execute(statement).rowcount
            connection.commit()
        finally:
            connection.close()
        assert changed > 0
        return folder, finished[1]

    return change


def bag_of(folder: Path) -> Path:
    (found,) = (folder / "store" / "primary" / "archive").iterdir()
    return found


# ---- wrong use ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("--nonsense",),
        ("lint",),
        ("lint", "no/such/file.bpmn"),
        ("deploy",),
        ("verify",),
        ("verify", "--all", "--bag", "."),
        ("verify", "no-uuid"),
        ("verify", "--bag", "no/such/folder"),
        ("replay",),
        ("history",),
        ("history", str(uuid4()), "--format", "doc"),
        ("token",),
        ("token", "create"),
        ("token", "create", "head", "--days", "many"),
        ("token", "create", "head", "--days", "0"),
        ("token", "create", "head", "--days", "99999999"),
        ("worker", "--slots", "0"),
        ("worker", "--lease", "0"),
        ("web", "--port", "99999"),
        ("user", "add"),
        ("recorder", "probe"),
        ("simulate-recorder", "--user", "admin"),
    ],
)
def test_wrong_use_ends_with_2_and_says_how_it_is_meant(diaoqu: Command, arguments: tuple[str, ...]) -> None:
    found = diaoqu(*arguments)
    assert found.exit_code == 2
    assert "Usage: " in found.output


def test_help_ends_with_0(diaoqu: Command) -> None:
    commands = main.commands
    for name in ("", *commands):
        found = diaoqu(*([name] if name else []), "--help")
        assert (found.exit_code, "Usage: " in found.output) == (0, True)
    for name, command in commands.items():
        assert command.help, f"{name} says nothing of itself"


def test_the_version_is_that_of_the_package(diaoqu: Command) -> None:
    found = diaoqu("--version")
    assert (found.exit_code, "0.1.0" in found.output) == (0, True)


@pytest.mark.parametrize("secret", ["", "short"])
def test_without_a_secret_key_nothing_begins(diaoqu: Command, secret: str, tmp_path: Path) -> None:
    found = diaoqu("db", "upgrade", DIAOQU_SECRET_KEY=secret)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith("diaoqu: DIAOQU_SECRET_KEY is missing")
    assert not (tmp_path / "data" / "diaoqu.db").exists()


@pytest.mark.parametrize(
    "setting",
    [
        {"DIAOQU_MAX_SPAN_HOURS": "a day"},
        {"DIAOQU_DATABASE_URL": "nonsense"},
        {"DIAOQU_DATABASE_URL": "mysql://somewhere/else"},
        {"DIAOQU_DATABASE_URL": "sqlite:////proc/nowhere/diaoqu.db"},
        {"DIAOQU_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"},
        {"DIAOQU_DATA": "/dev/null/data"},
    ],
    ids=lambda setting: " ".join(setting.values()),
)
def test_a_setting_that_cannot_be_is_one_line_on_stderr(diaoqu: Command, setting: dict[str, str]) -> None:
    found = diaoqu("db", "upgrade", **setting)
    assert (found.exit_code, found.stdout) == (1, "")
    assert re.fullmatch(r"diaoqu: .+\n", found.stderr)
    assert len(found.stderr) < 400


# ---- lint -----------------------------------------------------------------------------------------------------------


def problems(text: str) -> list[dict[str, str]]:
    found = [PROBLEM.fullmatch(line) for line in text.splitlines()]
    assert all(found), text
    return [match.groupdict() for match in found if match]


def test_the_procedure_is_clean(diaoqu: Command) -> None:
    found = diaoqu("lint", str(ROOT / "bpmn"))
    assert (found.exit_code, found.output) == (0, "")


def test_each_problem_is_a_line_with_file_line_element_and_rule(diaoqu: Command, tmp_path: Path) -> None:
    folder = tmp_path / "bpmn"
    shutil.copytree(ROOT / "bpmn", folder)
    wrong = DIAGRAM.replace('id="recorder/coverage"', 'id="recorder/guess"')
    (folder / "footage_retrieval.bpmn").write_text(wrong)
    (folder / "forms" / "vote.form").write_text("{")
    found = diaoqu("lint", str(folder))
    assert found.exit_code == 1
    listed = {problem["file"]: problem for problem in problems(found.stdout)}
    assert set(listed) == {"footage_retrieval.bpmn", "forms/vote.form"}
    diagram = listed["footage_retrieval.bpmn"]
    assert (diagram["element"], "recorder/guess" in diagram["message"]) == ("verify_coverage", True)
    declared = next(n for n, text in enumerate(wrong.splitlines(), 1) if 'id="verify_coverage"' in text)
    assert abs(int(diagram["line"]) - declared) < 10


HOSTILE = {
    "truncated": DIAGRAM[: len(DIAGRAM) // 2].encode(),
    "empty": b"",
    "external entity": b'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d>&x;</d>',
    "entity bomb": b"<!DOCTYPE d [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]><d>&b;</d>",
    "not UTF-8": "<定义/>".encode("gb18030"),
    "declared otherwise": b'<?xml version="1.0" encoding="GB18030"?><a/>',
    "too deep": b"<a>" * 300 + b"</a>" * 300,
    "too large": b"<a>" + b"x" * 6_000_000 + b"</a>",
    "no BPMN": b"<html/>",
}


@pytest.mark.parametrize("command", ["lint", "deploy", "backtest"])
def test_hostile_files_are_problems_like_others(diaoqu: Command, tmp_path: Path, command: str) -> None:
    for name, content in HOSTILE.items():
        file = tmp_path / "some.bpmn"
        file.write_bytes(content)
        found = diaoqu(command, str(file))
        assert found.exit_code == 1, name
        listed = problems(found.stdout if command == "lint" else found.stderr)
        assert [problem["file"] for problem in listed] == ["some.bpmn"], name
        assert "root:" not in found.output


@pytest.mark.parametrize("command", ["lint", "deploy", "backtest"])
def test_a_folder_without_any_file_of_a_deployment_is_wrong_use(diaoqu: Command, tmp_path: Path, command: str) -> None:
    """A mistyped folder must not look as if everything were in order."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "readme.txt").write_text("nothing here")
    found = diaoqu(command, str(tmp_path / "docs"))
    assert (found.exit_code, "Usage: " in found.output) == (2, True)


# ---- deploy ---------------------------------------------------------------------------------------------------------


def test_deploying_says_which_version_it_made(diaoqu: Command, tmp_path: Path) -> None:
    first = diaoqu("deploy", str(ROOT / "bpmn"), "--by", "owner", "--note", "first")
    assert (first.exit_code, first.stdout) == (0, "footage_derivation version 1\nfootage_retrieval version 1\n")
    again = diaoqu("deploy", str(ROOT / "bpmn"))
    assert (again.exit_code, again.stdout) == (0, "Nothing has changed.\n")
    changed = tmp_path / "footage_retrieval.bpmn"
    changed.write_text(DIAGRAM.replace("需要调取录像", "要调取录像了", 1))
    second = diaoqu("deploy", str(changed), "--note", "other words")
    assert (second.exit_code, second.stdout) == (0, "footage_retrieval version 2\n")


def test_a_refused_deployment_leaves_the_versions_alone(diaoqu: Command, tmp_path: Path) -> None:
    diaoqu("deploy", str(ROOT / "bpmn"))
    wrong = tmp_path / "footage_retrieval.bpmn"
    wrong.write_text(DIAGRAM.replace('id="recorder/coverage"', 'id="recorder/guess"'))
    found = diaoqu("deploy", str(wrong))
    assert (found.exit_code, found.stdout) == (1, "")
    assert [problem["element"] for problem in problems(found.stderr)] == ["verify_coverage"]
    wrong.write_text(DIAGRAM.replace("需要调取录像", "要调取录像了", 1))
    assert diaoqu("deploy", str(wrong)).stdout == "footage_retrieval version 2\n"


# ---- verify ---------------------------------------------------------------------------------------------------------


def test_an_intact_history_verifies(finished: tuple[Path, UUID]) -> None:
    folder, instance = finished
    for arguments in ((str(instance),), ("--all",)):
        found = run(folder, "verify", *arguments)
        assert (found.exit_code, found.stderr) == (0, "")
        assert re.search(rf"^{instance}: ok, \d+ events", found.stdout, re.MULTILINE)


FORGERIES = {
    "a payload": "UPDATE history SET payload = replace(payload, '车辆', '人员') WHERE payload LIKE '%车辆%'",
    "an actor": "UPDATE history SET actor = 'head' WHERE actor = 'reviewer'",
    "a time": "UPDATE history SET at = replace(at, '20', '19') WHERE seq = 3",
    "a digest": "UPDATE history SET digest = substr(digest, 1, 70) || iif(digest LIKE '%0', '1', '0') WHERE seq = 4",
    "an event in the middle": "DELETE FROM history WHERE seq = 5",
    "the last event": "DELETE FROM history WHERE seq = (SELECT max(seq) FROM history)",
    "the head": "UPDATE instances SET head = 'sha256:" + "0" * 64 + "'",
    "the diagram": "UPDATE deployed_files SET content = replace(content, 'P3D', 'P9D') WHERE name LIKE '%.bpmn'",
    "the log of the case": "UPDATE case_events SET actor = 'nobody' WHERE kind = 'acquired'",
    "the newest event of the log": "DELETE FROM case_events WHERE seq = (SELECT max(seq) FROM case_events)",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_tampered_history_does_not_verify(tampered: Callable[[str], tuple[Path, UUID]], forgery: str) -> None:
    folder, instance = tampered(FORGERIES[forgery])
    live.forget()
    for arguments in ((str(instance),), ("--all",)):
        found = run(folder, "verify", *arguments)
        assert found.exit_code == 1
        assert "NOT OK" in found.stdout
        assert found.stderr.startswith(str(instance)), "it says what is wrong"


def test_an_instance_that_does_not_exist_is_a_problem(finished: tuple[Path, UUID]) -> None:
    folder, _instance = finished
    for command in ("verify", "replay", "history"):
        found = run(folder, command, str(uuid4()))
        assert (found.exit_code, found.stderr.startswith("diaoqu: There is no process instance ")) == (1, True), command


def test_an_intact_bag_verifies_without_any_installation(finished: tuple[Path, UUID], tmp_path: Path) -> None:
    bag = tmp_path / "elsewhere"
    shutil.copytree(bag_of(finished[0]), bag)
    found = run(tmp_path / "none", "verify", "--bag", str(bag), DIAOQU_SECRET_KEY="")
    assert (found.exit_code, found.stdout, found.stderr) == (0, f"{bag}: valid\n", "")
    assert not (tmp_path / "none").exists()


def test_a_bag_that_was_touched_does_not_verify(finished: tuple[Path, UUID], tmp_path: Path) -> None:
    def check(name: str, touch: Callable[[Path], object]) -> None:
        bag = tmp_path / name
        shutil.copytree(bag_of(finished[0]), bag)
        for folder, _folders, files in os.walk(bag):
            for file in files:
                (Path(folder) / file).chmod(0o644)
        touch(bag)
        found = run(tmp_path / "none", "verify", "--bag", str(bag))
        assert (found.exit_code, found.stdout) == (1, f"{bag}: NOT VALID\n"), name
        assert found.stderr.startswith(f"{bag}: "), name

    def master(bag: Path) -> Path:
        return next((bag / "data" / "footage").iterdir())

    def rewritten_history(bag: Path) -> None:
        """By somebody who also knows how to write manifests."""
        history = bag / "data" / "history" / "process.jsonl"
        history.write_bytes(history.read_bytes().replace(b'"actor":"reviewer"', b'"actor":"head"'))
        for manifest, names in (("manifest-sha256.txt", ["data/history/process.jsonl"]),
                                ("tagmanifest-sha256.txt", ["manifest-sha256.txt"])):  # fmt: skip
            lines = (bag / manifest).read_text().splitlines()
            renewed = [
                f"{hashlib.sha256((bag / name).read_bytes()).hexdigest()}  {name}" if name in names else line
                for line in lines
                for name in [line.split("  ", 1)[1]]
            ]
            (bag / manifest).write_text("\n".join(renewed) + "\n")

    check("one bit", lambda bag: master(bag).write_bytes(bytes([1]) + master(bag).read_bytes()[1:]))
    check("missing", lambda bag: master(bag).unlink())
    check("added", lambda bag: (bag / "data" / "more.txt").write_text("more"))
    check("no manifest", lambda bag: (bag / "manifest-sha256.txt").unlink())
    check("info", lambda bag: (bag / "bag-info.txt").write_text("External-Identifier: another\n"))
    check("history", rewritten_history)
    check("no bag", lambda bag: shutil.rmtree(bag) or bag.mkdir())


# ---- replay, history ------------------------------------------------------------------------------------------------


def test_replay_tells_what_happened_in_the_words_of_the_diagram(finished: tuple[Path, UUID]) -> None:
    folder, instance = finished
    found = run(folder, "replay", str(instance))
    assert found.exit_code == 0
    for label in ("填写调取申请表", "部门负责人签字", "委员表决", "已归档"):
        assert label in found.stdout


def test_history_prints_the_stored_events(finished: tuple[Path, UUID]) -> None:
    folder, instance = finished
    found = run(folder, "history", str(instance), "--format", "jsonl")
    assert found.exit_code == 0
    events = [orjson.loads(line) for line in found.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["kind"], events[1]["actor"]) == ("start", "applicant")


# ---- people ---------------------------------------------------------------------------------------------------------


def test_a_token_is_printed_once_and_opens_the_api(diaoqu: Command, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("a long enough password\n")
    added = diaoqu("user", "add", "clerk", "--name", "李办事", "--group", "reviewer", "--password-file", str(password))
    assert (added.exit_code, added.stdout) == (0, "clerk created\n")
    listed = diaoqu("user", "list")
    assert listed.stdout == "clerk\t李办事\temployee,reviewer\t\n"
    made = diaoqu("token", "create", "clerk", "--days", "1")
    assert made.exit_code == 0
    token = made.stdout.strip()
    assert re.fullmatch(r"dq_[\w-]{40,}", token)
    assert token.encode() not in (tmp_path / "data" / "diaoqu.db").read_bytes(), "only its digest is stored"
    database = Database(f"sqlite:///{tmp_path / 'data' / 'diaoqu.db'}")
    with database.reading() as session:
        user = identity.user_by_token(session, token)
        assert user is not None
        assert user.username == "clerk"
    database.dispose()


def test_nobody_gets_a_token_without_an_account(diaoqu: Command) -> None:
    found = diaoqu("token", "create", "ghost")
    assert (found.exit_code, found.stdout, found.stderr) == (1, "", "diaoqu: There is no user ghost.\n")


def test_a_refused_account_says_why(diaoqu: Command, tmp_path: Path) -> None:
    found = diaoqu("user", "add", "clerk", "--name", "x", stdin="short\n")
    assert found.exit_code == 1
    assert "diaoqu: password: A password has at least 8 characters." in found.stderr
    found = diaoqu("user", "add", "not a name", "--name", "x", stdin="a long enough password\n")
    assert found.exit_code == 1
    assert "diaoqu: username: Use 1 to 64 letters" in found.stderr
    assert diaoqu("user", "list").stdout == ""
    diaoqu("user", "add", "clerk", "--name", "x", stdin="a long enough password\n")
    again = diaoqu("user", "add", "clerk", "--name", "x", stdin="a long enough password\n")
    assert (again.exit_code, "diaoqu: The user name clerk is taken.\n" in again.stderr) == (1, True)


def test_the_database_is_brought_up_to_date_and_its_password_is_not_printed(diaoqu: Command, tmp_path: Path) -> None:
    for _ in range(2):
        found = diaoqu("db", "upgrade")
        assert (found.exit_code, found.stdout.endswith("diaoqu.db: up to date\n")) == (0, True)
    connection = sqlite3.connect(tmp_path / "data" / "diaoqu.db")
    try:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    finally:
        connection.close()


# ---- trace ----------------------------------------------------------------------------------------------------------


def test_a_code_is_traced_to_its_viewer_and_the_search_is_noted(finished: tuple[Path, UUID], tmp_path: Path) -> None:
    folder = tmp_path / "copied"
    shutil.copytree(finished[0], folder)
    database = Database(f"sqlite:///{folder / 'diaoqu.db'}")
    with database.transaction() as session:
        case = session.query(Case).one()
        (grant,), (film,) = session.query(Grant).all(), evidence.items_of(session, case, "viewing_copy")
        code = copies.ask(session, grant.id, film, clock.now()).code
    found = run(folder, "trace", f"{code[:4]}-{code[4:7]}?", "--by", "auditor")
    assert found.exit_code == 0
    assert found.stdout.split("\t")[:4] == [f"{code[:4]}-{code[4:]}", "applicant", case.number, "gate"]
    with database.reading() as session:
        last = access.case_events(session, session.get_one(Case, case.id))[-1]
    assert (last.kind, last.actor) == ("traced", "auditor")
    database.dispose()
    assert run(folder, "trace", "00000000", "--by", "auditor").exit_code == 1
    assert "is no code" in run(folder, "trace", "short", "--by", "auditor").stderr
    assert "no user" in run(folder, "trace", code, "--by", "nobody").stderr
    assert run(folder, "trace", code).exit_code == 2
