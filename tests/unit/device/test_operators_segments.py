"""Long spans, native files and the hours of a recorder in the operators: masters, evidence, the archived bag."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from case_room import INSTANCE, NOW, open_case
from replay_room import clip, pictures
from running_jobs import RECORDED, Jobs, began, register_cameras, run_and_kill
from sqlalchemy import select

import device.operators  # noqa: F401 - registers the operators
from device import access, cases, evidence, registers, unfinished
from device.models import EvidenceItem
from device.publishing import hold
from device.recorders.base import RecorderBusyError, Span
from device.registers import get_recorder, limit_recorder
from device.simulator import Faults, Simulator
from device.storage import hash_file
from engine import clock as engine_clock
from engine.db import Database
from engine.errors import BpmnError, PostponedError
from engine.models import Instance, Job
from engine.settings import Settings

PASSWORD = "口令 1"
OFFSET = timedelta(seconds=37)
SPAN = {"start_at": RECORDED.isoformat(), "end_at": (RECORDED + timedelta(seconds=40)).isoformat()}
GATE = {"camera": "gate", **SPAN}


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username="viewer", password=PASSWORD, clock_offset=OFFSET) as simulator:
        yield simulator


@pytest.fixture
def jobs(database: Database, settings: Settings, simulator: Simulator) -> Jobs:
    """A case in a service that cuts footage into pieces of fifteen seconds."""
    with database.transaction() as session:
        register_cameras(session, settings, simulator, PASSWORD)
        access.record(session, open_case(session), "opened", "applicant", at=NOW)
    data = {
        "applicant": "applicant",
        "application": {"by": "applicant", "cameras": ["gate"], "mode": "copy", "reason": "车辆剐蹭", **SPAN},
        "shelf": {"by": "archivist", "shelf": "A-01-02", "medium": "hard_disk", "custodian": "archivist"},
        "record": {"by": "operator", "at": NOW.isoformat()},
    }
    return Jobs(database, replace(settings, segment_minutes=0.25), data)


def items(jobs: Jobs, *kinds: str) -> list[EvidenceItem]:
    with jobs.database.reading() as session:
        return evidence.items_of(session, cases.of_instance(session, INSTANCE), *kinds)


def file_of(jobs: Jobs, item: EvidenceItem) -> Path:
    with jobs.database.reading() as session:
        return evidence.locate(session, jobs.settings, item)


def archived(jobs: Jobs) -> tuple[Path, list[dict[str, Any]]]:
    """The case's bag after bagit-python's own command line found it valid, and its list of files."""
    task = jobs.context("archive")
    with jobs.database.transaction() as session:
        began(session, task, engine_clock.now())
    bag = Path(jobs.run("archive/bag", "archive", {})["path"])
    command = [sys.executable, "-m", "bagit", "--validate", str(bag)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    return bag, orjson.loads((bag / "data" / "items.json").read_bytes())


def held(simulator: Simulator, report: dict[str, Any]) -> list[str]:
    offset = timedelta(seconds=report["clock"]["offset"])
    asked = Span(RECORDED + offset, RECORDED + timedelta(seconds=40) + offset)
    return [frame.digest for frame in simulator.frames("gate", asked, lead_in=True)]


# ---- long spans -----------------------------------------------------------------------------------------------------


def test_a_long_span_becomes_masters_that_hold_each_frame_once(jobs: Jobs, simulator: Simulator) -> None:
    answer = jobs.run("recorder/acquire", "acquire", GATE)
    masters = items(jobs, "master")
    assert [master.master_id for master in masters] == [None, masters[0].id, masters[0].id]
    assert answer["item"] == masters[0].id
    frames = [digest for master in masters for digest in pictures(file_of(jobs, master))]
    assert frames == held(simulator, answer["report"])
    assert [each["sha256"] for each in answer["report"]["segments"]] == [master.digest for master in masters]
    assert answer["report"]["frames"] == len(frames)
    assert answer["complete"] is True
    (report,) = items(jobs, "report")
    assert orjson.loads(file_of(jobs, report).read_bytes()) == answer["report"]
    assert not list((jobs.settings.data / "segments").glob("*/*"))
    assert jobs.run("recorder/acquire", "acquire", GATE, epoch=2) == answer


@pytest.mark.long
def test_all_segments_are_checked_viewable_backed_up_and_in_the_bag(jobs: Jobs) -> None:
    item = jobs.run("recorder/acquire", "acquire", GATE)["item"]
    jobs.data["acquisitions"] = [{"camera": "gate", "item": item}]
    assert jobs.run("footage/check", "check", {"item": item})["verdict"] in {"sound", "warning"}
    jobs.run("footage/viewing_copy", "view", {"item": item})
    assert len(items(jobs, "viewing_copy")) == 3
    copied = jobs.run("evidence/back_up", "backup", {})["copies"]
    assert len(copied) == 12
    bag, listed = archived(jobs)
    assert len(list((bag / "data" / "footage").iterdir())) == 3
    assert len(list((bag / "data" / "viewing").iterdir())) == 3
    assert len([each for each in listed if each["kind"] == "report"]) == 4


@pytest.mark.long
@pytest.mark.parametrize("calls", [1, 2, 3, 5, 7, 8, 9, 10, 11])
def test_a_long_retrieval_killed_at_any_moment_goes_on_and_ends_in_the_same_masters(
    jobs: Jobs, simulator: Simulator, calls: int
) -> None:
    if run_and_kill(jobs, "recorder/acquire", "killed", GATE, calls=calls) != -9:
        pytest.fail("there is no such moment")
    answer = jobs.run("recorder/acquire", "killed", GATE, epoch=2, attempt=2)
    frames = [digest for master in items(jobs, "master") for digest in pictures(file_of(jobs, master))]
    assert frames == held(simulator, answer["report"])
    assert len(items(jobs, "master")) == 3


@pytest.mark.long
def test_another_job_goes_on_with_the_segments_of_one_that_failed(jobs: Jobs, simulator: Simulator) -> None:
    """A recorder that fails after a finished segment costs no attempt; one that fails again does."""
    simulator.faults = Faults(plays=("sound", *["busy"] * 20))
    try:
        with pytest.raises(PostponedError) as caught:
            jobs.run("recorder/acquire", "first", GATE)
        assert caught.value.until > engine_clock.now()
        with pytest.raises(RecorderBusyError):
            jobs.run("recorder/acquire", "first", GATE, epoch=2)
    finally:
        simulator.faults = Faults()
    plays = simulator.calls["RTSP PLAY"]
    answer = jobs.run("recorder/acquire", "second", GATE)
    assert simulator.calls["RTSP PLAY"] == plays + 2
    frames = [digest for master in items(jobs, "master") for digest in pictures(file_of(jobs, master))]
    assert frames == held(simulator, answer["report"])
    assert not list((jobs.settings.data / "segments").glob("*/*"))


def left_behind(jobs: Jobs) -> list[Path]:
    return list((jobs.settings.data / "segments").rglob("*.mkv"))


def given_up(jobs: Jobs, simulator: Simulator) -> None:
    """A retrieval that broke off after its first segment, and will not be tried again."""
    simulator.faults = Faults(plays=("sound", *["busy"] * 20))
    try:
        with pytest.raises(PostponedError):
            jobs.run("recorder/acquire", "first", GATE)
    finally:
        simulator.faults = Faults()
    assert left_behind(jobs)


def test_segments_of_a_skipped_camera_go_when_the_rest_is_backed_up_and_stay_while_it_is_retrieved(
    jobs: Jobs, simulator: Simulator
) -> None:
    given_up(jobs, simulator)
    with jobs.database.transaction() as session:
        session.add(running_job("recorder:nvr-1"))
    jobs.run("evidence/back_up", "backup", {})
    assert left_behind(jobs)
    with jobs.database.transaction() as session:
        session.scalars(select(Job)).one().state = "failed"
    jobs.run("evidence/back_up", "backup", {})
    assert not list((jobs.settings.data / "segments").iterdir())


def test_segments_of_a_case_that_ended_are_cleared_but_not_while_somebody_writes(
    jobs: Jobs, simulator: Simulator
) -> None:
    given_up(jobs, simulator)
    unfinished.clear_ended(jobs.database, jobs.settings)
    assert left_behind(jobs), "the case is under way"
    with jobs.database.transaction() as session:
        session.add(running_job("recorder:nvr-1"))  # cancelled, but its worker has not noticed yet
        session.get_one(Instance, INSTANCE).ended_at = NOW
    (attempt,) = {path.parent for path in left_behind(jobs)}
    handle = hold(attempt)
    unfinished.clear_ended(jobs.database, jobs.settings)
    assert left_behind(jobs)
    os.close(handle)
    unfinished.clear_ended(jobs.database, jobs.settings)
    assert not list((jobs.settings.data / "segments").iterdir())


def test_segments_of_a_withdrawn_case_go_with_its_working_copies(jobs: Jobs, simulator: Simulator) -> None:
    given_up(jobs, simulator)
    jobs.run("evidence/discard_working_copies", "discard", {"reason": "withdrawn"})
    assert not left_behind(jobs)


# ---- hours ----------------------------------------------------------------------------------------------------------


def night(day: int, at: str) -> datetime:
    return datetime.fromisoformat(f"2026-02-{day:02d}T{at}+08:00")


def at_night(jobs: Jobs) -> None:
    with jobs.database.transaction() as session:
        nvr = get_recorder(session, "nvr-1")
        limit_recorder(session, nvr, sessions=1, bandwidth=0, hours="22:00-06:00", zone="Asia/Shanghai")


def test_outside_its_hours_a_recorder_is_not_asked_for_footage(jobs: Jobs, simulator: Simulator, clock: Any) -> None:
    at_night(jobs)
    clock.set(night(10, "12:00"))
    plays = simulator.calls["RTSP PLAY"]
    with pytest.raises(PostponedError, match="2026-02-10 22:00 CST") as caught:
        jobs.run("recorder/acquire", "acquire", GATE)
    assert caught.value.until == night(10, "22:00")
    ready = jobs.run("recorder/preflight", "preflight", {"cameras": ["gate"], **SPAN})
    assert ready["checks"][1]["detail"] == "it gives footage only 22:00-06:00; the retrieval will wait until then."
    assert (ready["ready"], simulator.calls["RTSP PLAY"]) == (True, plays)


def test_a_retrieval_stops_when_the_hours_end_and_goes_on_in_the_next_night_from_the_very_frame(
    jobs: Jobs, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_night(jobs)
    at = [night(10, "05:59")]
    monkeypatch.setattr(engine_clock, "now", lambda: at[-1])  # the time passes while footage comes

    def come(**facts: Any) -> None:
        at.extend([night(10, "06:00")] if facts.get("frames") else [])

    simulator.faults = Faults(plays=("cut:60000",))  # when five seconds have come, it is looked at the clock
    try:
        with pytest.raises(PostponedError) as caught:
            jobs.run("recorder/acquire", "acquire", GATE, progress=come)
    finally:
        simulator.faults = Faults()
    assert caught.value.until == night(10, "22:00")
    (kept,) = left_behind(jobs)
    assert 0 < len(pictures(kept)) < 12 * 12, "not the whole of its fifteen seconds"
    assert items(jobs, "master") == []
    at.append(night(10, "22:00"))
    answer = jobs.run("recorder/acquire", "acquire", GATE, epoch=2)
    frames = [digest for master in items(jobs, "master") for digest in pictures(file_of(jobs, master))]
    assert frames == held(simulator, answer["report"])
    assert answer["complete"] is True


@pytest.mark.long
def test_a_short_span_that_is_not_interrupted_is_one_master_also_with_hours(
    jobs: Jobs, simulator: Simulator, clock: Any
) -> None:
    at_night(jobs)
    clock.set(night(10, "23:00"))
    short = {**GATE, "end_at": (RECORDED + timedelta(seconds=10)).isoformat()}
    answer = jobs.run("recorder/acquire", "acquire", short)
    (master,) = items(jobs, "master")
    assert (answer["item"], answer["report"]["segments"], answer["complete"]) == (master.id, [], True)
    assert answer["report"]["sha256"].removeprefix("sha256:") == master.digest.removeprefix("sha256:")
    assert jobs.run("recorder/acquire", "acquire", short, epoch=2) == answer


def test_the_rehearsal_takes_no_playback_that_a_retrieval_has(jobs: Jobs, simulator: Simulator) -> None:
    plays = simulator.calls["RTSP PLAY"]
    with jobs.database.transaction() as session:
        session.add(running_job("recorder:nvr-1"))
    found = jobs.run("recorder/preflight", "preflight", {"cameras": ["gate"], **SPAN})
    assert [check["ok"] for check in found["checks"]] == [True, False, True, True]
    assert "1 playbacks are taken" in found["checks"][1]["detail"]
    assert simulator.calls["RTSP PLAY"] == plays


def running_job(key: str) -> Job:
    at = engine_clock.now()
    return Job(
        id=uuid4(),
        instance_id=INSTANCE,
        task_id=uuid4(),
        element="acquire_footage",
        name="",
        operator="recorder/acquire",
        params={},
        site="main",
        state="running",
        owner="another",
        epoch=1,
        attempts=1,
        exclusive_key=key,
        exclusive_limit=1,
        lease_until=at + timedelta(minutes=1),
        created_at=at,
        due_at=at,
    )


# ---- native files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder_case(jobs: Jobs, tmp_path: Path) -> Path:
    """The gate's footage lies in a folder: six files of ten seconds."""
    made = clip(tmp_path / "ten.mp4", seconds=10, size="64x48")
    export = tmp_path / "export"
    export.mkdir()
    for number in range(6):
        at = RECORDED + timedelta(seconds=10 * number)
        (export / f"yard_{at:%Y%m%dT%H%M%SZ}.mp4").write_bytes(made.read_bytes())
    with jobs.database.transaction() as session:
        registers.add_recorder(session, jobs.settings, "usb", name="移动硬盘", url=export.as_uri(), driver="folder")
        registers.add_camera(session, "yard", name="院子", place="院子", recorder="usb", recording="yard")
    return export


@pytest.mark.long
def test_the_files_of_a_folder_become_evidence_and_go_into_both_stores_and_the_bag(
    jobs: Jobs, folder_case: Path
) -> None:
    yard = {**GATE, "camera": "yard"}
    answer = jobs.run("recorder/acquire", "acquire", yard)
    (master,) = items(jobs, "master")
    native = items(jobs, "native")
    assert [item.master_id for item in native] == [master.id] * 4
    assert [item.digest for item in native] == [each["sha256"] for each in answer["report"]["native"]]
    originals = {hash_file(path) for path in folder_case.iterdir()}
    assert {item.digest for item in native} <= originals
    jobs.data["acquisitions"] = [{"camera": "yard", "item": answer["item"]}]
    jobs.run("evidence/back_up", "backup", {})
    for root in (jobs.settings.store_primary, jobs.settings.store_backup):
        stored = Path(root.removeprefix("file://")) / "cases" / "调取-2026-0001" / native[0].path
        assert hash_file(stored) == native[0].digest
    bag, listed = archived(jobs)
    files = sorted((bag / "data" / "native" / Path(master.path).stem).iterdir())
    assert [hash_file(path) for path in files] == [item.digest for item in native]
    told = [each for each in listed if each["kind"] == "native"]
    assert [each["file"] for each in told] == [path.relative_to(bag / "data").as_posix() for path in files]
    assert {each["master_sha256"] for each in told} == {master.digest}
    assert told[0]["name"].startswith("yard_")
    assert jobs.run("recorder/acquire", "acquire", yard, epoch=2)["item"] == master.id


@pytest.mark.long
def test_a_native_file_that_changed_after_it_was_copied_is_no_evidence(jobs: Jobs, folder_case: Path) -> None:
    told = 0

    def spoil(**facts: Any) -> None:
        nonlocal told
        if facts.get("stage") == "hashing":
            told += 1
            victim = next(jobs.context("acquire").scratch.rglob("00002.mp4"))
            whole = victim.read_bytes()
            victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    with pytest.raises(BpmnError) as caught:
        jobs.run("recorder/acquire", "acquire", {**GATE, "camera": "yard"}, progress=spoil)
    assert caught.value.code == "STORE_FAILED"
    assert told
    assert len(items(jobs, "native")) == 1
