"""Sealing a case into its bag (clause 5.1), over a simulated recorder and real stores."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pypdf
import pytest
from case_room import INSTANCE, database_in, open_case, settings_in
from running_jobs import RECORDED, Jobs, began, register_cameras, run_and_kill
from sqlalchemy import select, update

import device.operators  # noqa: F401 - registers the operators
from device import access, cases, evidence
from device.evidence import verify_bag
from device.models import ArchiveEntry, CaseEvent, EvidenceItem
from device.simulator import Simulator
from device.storage import hash_bytes, hash_file
from engine import clock
from engine.db import Database
from engine.errors import BpmnError
from engine.models import HistoryEvent, Signature, Task

SPAN = {"start_at": RECORDED.isoformat(), "end_at": RECORDED.replace(second=10).isoformat()}
SIGNED_TEXT = "案件 case: 调取-2026-0001\n同意"


@pytest.fixture(scope="module")
def prepared(recorder_media: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A case whose footage is acquired, checked and copied, and whose archiving has just been called for."""
    folder = tmp_path_factory.mktemp("prepared")
    settings = settings_in(folder)
    with (
        Simulator(recorder_media, username="viewer", password="x") as simulator,
        database_in(settings) as database,
    ):
        jobs = Jobs(database, settings)
        prepare(jobs, simulator)
    return folder, jobs.data


@pytest.fixture
def jobs(prepared: tuple[Path, dict[str, Any]], tmp_path: Path) -> Iterator[Jobs]:
    """A copy of the prepared case for one test."""
    folder, data = prepared
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    settings = settings_in(tmp_path)
    database = Database.of(settings)
    yield Jobs(database, settings, deepcopy(data))
    database.dispose()


def prepare(jobs: Jobs, simulator: Simulator) -> None:
    with jobs.database.transaction() as session:
        register_cameras(session, jobs.settings, simulator, "x")
        access.record(session, open_case(session), "opened", "applicant")
    jobs.data |= {"application": {"by": "applicant", "cameras": ["gate"], "reason": "车辆剐蹭", **SPAN}}
    item = jobs.run("recorder/acquire", "acquire", {"camera": "gate", **SPAN})["item"]
    checked = jobs.run("footage/check", "check", {"item": item})
    viewing = jobs.run("footage/viewing_copy", "view", {"item": item})["item"]
    jobs.data["acquisitions"] = [{"camera": "gate", "item": item, "viewing_item": viewing, **checked}]
    jobs.run("evidence/back_up", "backup", {})
    jobs.data["record"] = {"by": "operator", "at": clock.now().isoformat()}
    jobs.data["shelf"] = {"shelf": "A-01-02", "medium": "hard_disk", "custodian": "archivist", "by": "archivist"}
    with jobs.database.transaction() as session:
        sign(session)
        began(session, jobs.context("archive"), clock.now())


def sign(session: Any) -> None:
    task = Task(id=uuid4(), instance_id=INSTANCE, element="sign_application", name="签字", state="completed")
    task.created_at = clock.now()
    session.add(task)
    session.flush()
    session.add(
        Signature(
            task_id=task.id,
            instance_id=INSTANCE,
            username="head",
            text=SIGNED_TEXT,
            digest=hash_bytes(SIGNED_TEXT.encode()),
            method="password",
            signed_at=clock.now(),
        )
    )


def archive(jobs: Jobs, **changes: Any) -> dict[str, Any]:
    answer = jobs.run("archive/bag", "archive", {}, **changes)
    assert isinstance(answer, dict)
    return answer


def content_of(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_bag_lies_valid_on_both_stores(jobs: Jobs) -> None:
    answer = archive(jobs)
    assert (answer["key"], answer["valid"]) == ("archive/调取-2026-0001", True)
    for folder in (answer["path"], answer["backup"]):
        done = subprocess.run([sys.executable, "-m", "bagit", "--validate", folder], check=False, capture_output=True)
        assert done.returncode == 0
        assert verify_bag(Path(folder)) == []
    assert content_of(answer["path"]) == content_of(answer["backup"])
    assert hash_file(Path(answer["path"]) / "tagmanifest-sha256.txt") == answer["bag_digest"]


def test_the_bag_holds_everything_that_the_clause_names(jobs: Jobs) -> None:
    bag = Path(archive(jobs)["path"]) / "data"
    (master,) = (bag / "footage").iterdir()
    (viewing,) = (bag / "viewing").iterdir()
    with jobs.database.reading() as session:
        case = cases.of_instance(session, INSTANCE)
        assert hash_file(master) == evidence.items_of(session, case, "master")[0].digest
    assert viewing.suffix == ".mp4"
    for form, title in (("application_form", "申请表"), ("record_form", "记录表")):
        text = "".join(page.extract_text() for page in pypdf.PdfReader(bag / "forms" / f"{form}.pdf").pages)
        assert f"视频监控录像调取{title}" in text
    assert orjson.loads((bag / "forms" / "application.json").read_bytes())["reason"] == "车辆剐蹭"
    (signature,) = orjson.loads((bag / "forms" / "signatures.json").read_bytes())
    assert hash_bytes(signature["text"].encode()) == signature["digest"]
    assert {path.name for path in (bag / "diagram").iterdir()} == {
        "footage_retrieval.bpmn",
        "committee_votes.dmn",
        "forms",
        "definition.json",
    }
    assert sorted(path.name.split(".")[1].split("-")[0] for path in (bag / "reports").iterdir()) == [
        "acquisition",
        "verdict",
    ]
    described = {item["kind"]: item for item in orjson.loads((bag / "items.json").read_bytes())}
    assert described["viewing_copy"]["master_sha256"] == described["master"]["sha256"] == hash_file(master)
    assert len(described["master"]["copies"]) == 2


def test_the_bag_names_the_case_and_the_versions_that_ran_it(jobs: Jobs) -> None:
    info = (Path(archive(jobs)["path"]) / "bag-info.txt").read_text()
    for line in (
        "External-Identifier: 调取-2026-0001",
        "Version-Of-SpiffWorkflow: 3.2.0",
        "Process-Definition: footage_retrieval 1",
        "Process-History-Head: 2 sha256:",
        "Custody-Log-Head: ",
    ):
        assert line in info


def test_the_histories_end_before_the_archiving(jobs: Jobs) -> None:
    bag = Path(archive(jobs)["path"]) / "data" / "history"
    process = [orjson.loads(line) for line in (bag / "process.jsonl").read_bytes().splitlines()]
    custody = [orjson.loads(line) for line in (bag / "custody.jsonl").read_bytes().splitlines()]
    heads = orjson.loads((bag / "heads.json").read_bytes())
    assert [event["kind"] for event in process] == ["start", "submit"]
    assert custody[0]["kind"] == "opened"
    assert "archived" not in {event["kind"] for event in custody}
    assert (heads["process"], heads["custody"]) == (process[-1]["digest"], custody[-1]["digest"])


def test_a_bag_whose_history_was_rewritten_with_new_manifests_is_found_out(jobs: Jobs, tmp_path: Path) -> None:
    folder = tmp_path / "forged"
    shutil.copytree(archive(jobs)["path"], folder)
    path = folder / "data" / "history" / "custody.jsonl"
    before = hash_file(path).removeprefix("sha256:")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"applicant", b"somebody!", 1))
    for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        old = hash_file(folder / "manifest-sha256.txt").removeprefix("sha256:") if manifest[0] == "t" else before
        listed = folder / manifest
        listed.chmod(0o644)
        if manifest[0] == "m":
            tag_before = hash_file(listed).removeprefix("sha256:")
            listed.write_text(listed.read_text().replace(old, hash_file(path).removeprefix("sha256:")))
        else:
            listed.write_text(listed.read_text().replace(tag_before, old))
    (problem,) = verify_bag(folder)
    assert "custody.jsonl: event 1 does not follow" in problem


def test_the_archive_room_knows_shelf_medium_and_custodian(jobs: Jobs) -> None:
    answer = archive(jobs)
    with jobs.database.reading() as session:
        entry = session.scalars(select(ArchiveEntry)).one()
        assert (entry.shelf, entry.medium, entry.custodian) == ("A-01-02", "hard_disk", "archivist")
        assert entry.bag_key == answer["key"]
        bag = session.scalars(select(EvidenceItem).where(EvidenceItem.kind == "bag")).one()
        assert bag.digest == answer["bag_digest"]
        assert sorted(copy.store for copy in bag.copies) == ["backup", "primary"]
        case = cases.of_instance(session, INSTANCE)
        assert access.verify_case_chain(session, case) == []
        assert {item.kind for item in evidence.items_of(session, case)} >= {"application_form", "record_form", "bag"}


def test_archiving_again_gives_the_same_answer_and_no_second_bag(jobs: Jobs) -> None:
    first = archive(jobs)
    assert archive(jobs, epoch=2) == first
    shutil.rmtree(jobs.context("archive").scratch)
    assert archive(jobs, epoch=3) == first
    assert [path.name for path in Path(first["path"]).parent.iterdir()] == ["调取-2026-0001"]
    with jobs.database.reading() as session:
        kinds = session.scalars(select(CaseEvent.kind)).all()
        assert (kinds.count("archived"), kinds.count("printed")) == (1, 2)


@pytest.mark.parametrize("calls", [1, 5, 14, 30])
def test_archiving_killed_at_any_moment_ends_in_the_same_bag(jobs: Jobs, calls: int, tmp_path: Path) -> None:
    killed = run_and_kill(jobs, "archive/bag", "archive", {}, calls=calls)
    assert killed == -9
    answer = archive(jobs, epoch=2)
    assert verify_bag(Path(answer["path"])) == []
    assert verify_bag(Path(answer["backup"])) == []
    shutil.rmtree(jobs.context("archive").scratch)
    for store in ("primary", "backup"):
        shutil.move(tmp_path / store, tmp_path / f"{store} before")
    jobs.run("evidence/back_up", "backup", {}, epoch=2)
    undisturbed = archive(jobs, epoch=3)
    assert undisturbed["bag_digest"] == answer["bag_digest"]


def test_a_case_that_is_archived_again_after_a_correction_keeps_its_first_bag(jobs: Jobs) -> None:
    first = archive(jobs)
    jobs.data["shelf"]["shelf"] = "B-02"
    with jobs.database.transaction() as session:
        began(session, jobs.context("archive again"), clock.now())
    second = jobs.run("archive/bag", "archive again", {})
    assert (first["key"], second["key"]) == ("archive/调取-2026-0001", "archive/调取-2026-0001.2")
    assert verify_bag(Path(first["path"])) == []
    assert verify_bag(Path(second["path"])) == []


def test_damaged_footage_is_not_archived(jobs: Jobs) -> None:
    with jobs.database.reading() as session:
        case = cases.of_instance(session, INSTANCE)
        path = evidence.locate(session, jobs.settings, evidence.items_of(session, case, "master")[0])
    path.chmod(0o644)
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    with pytest.raises(BpmnError, match="damaged") as caught:
        archive(jobs)
    assert caught.value.code == "STORE_FAILED"


def test_a_log_that_was_changed_is_not_archived(jobs: Jobs) -> None:
    with jobs.database.transaction() as session:
        session.execute(update(CaseEvent).where(CaseEvent.seq == 1).values(actor="somebody"))
    with pytest.raises(BpmnError, match="has been changed"):
        archive(jobs)


def test_a_history_that_was_changed_is_not_archived(jobs: Jobs) -> None:
    with jobs.database.transaction() as session:
        session.execute(update(HistoryEvent).where(HistoryEvent.seq == 1).values(actor="somebody"))
    with pytest.raises(BpmnError, match="has been changed"):
        archive(jobs)


def test_a_store_that_is_full_or_gone_leaves_the_case_unarchived(jobs: Jobs, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "backup")
    (tmp_path / "backup").write_text("no folder")
    with pytest.raises(BpmnError) as caught:
        archive(jobs)
    assert caught.value.code == "STORE_FAILED"
    with jobs.database.reading() as session:
        assert session.scalars(select(ArchiveEntry)).all() == []
    (tmp_path / "backup").unlink()
    assert archive(jobs, epoch=2)["valid"] is True
