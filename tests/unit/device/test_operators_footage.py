"""The asynchronous operators over a simulated recorder, in the order of the procedure."""

import errno
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from case_room import INSTANCE, NOW, open_case
from running_jobs import NOON, RECORDED, Jobs, register_cameras, run_and_kill
from sqlalchemy import select

import device.operators  # noqa: F401 - registers the operators
from device import access, cases, evidence
from device.models import EvidenceCopy, EvidenceItem
from device.recorders.base import RecorderBusyError, RecorderUnreachableError
from device.registers import get_recorder
from device.simulator import Simulator
from device.storage import FileMissingError, hash_file
from engine.db import Database
from engine.errors import BpmnError, JobCancelledError
from engine.settings import Settings

PASSWORD = "口令 1"
OFFSET = timedelta(seconds=37)
SPAN = {"start_at": RECORDED.isoformat(), "end_at": (RECORDED + timedelta(seconds=20)).isoformat()}
GATE = {"camera": "gate", **SPAN}
HELD = NOW + timedelta(minutes=1)


@pytest.fixture(scope="module")
def simulator(recorder_media: Path) -> Iterator[Simulator]:
    with Simulator(recorder_media, username="viewer", password=PASSWORD, clock_offset=OFFSET) as simulator:
        yield simulator


@pytest.fixture
def jobs(database: Database, settings: Settings, simulator: Simulator) -> Jobs:
    """A case whose cameras are in the register; the recorder's clock is 37 s ahead."""
    with database.transaction() as session:
        register_cameras(session, settings, simulator, PASSWORD)
        access.record(session, open_case(session), "opened", "applicant", at=NOW)
    data = {
        "applicant": "applicant",
        "application": {"by": "applicant", "cameras": ["gate"], "mode": "copy", "reason": "车辆剐蹭", **SPAN},
        "shelf": {"by": "archivist", "shelf": "A-01-02", "medium": "hard_disk", "custodian": "archivist"},
        "record": {"by": "operator", "at": NOW.isoformat()},
    }
    return Jobs(database, settings, data)


def items(jobs: Jobs, *kinds: str) -> list[EvidenceItem]:
    with jobs.database.reading() as session:
        return evidence.items_of(session, cases.of_instance(session, INSTANCE), *kinds)


def events(jobs: Jobs) -> list[str]:
    """The kinds of the case's events, after checking their chain."""
    with jobs.database.reading() as session:
        case = cases.of_instance(session, INSTANCE)
        assert access.verify_case_chain(session, case) == []
        return [event.kind for event in access.case_events(session, case)]


def file_of(jobs: Jobs, item: EvidenceItem) -> Path:
    with jobs.database.reading() as session:
        return evidence.locate(session, jobs.settings, item)


def point_recorder_at(jobs: Jobs, url: str) -> None:
    with jobs.database.transaction() as session:
        get_recorder(session, "nvr-1").url = url


# ---- coverage and preflight -----------------------------------------------------------------------------------------


def test_coverage_says_complete_and_measures_the_clock(jobs: Jobs) -> None:
    found = jobs.run("recorder/coverage", "coverage", {"cameras": ["gate", "garage"], **SPAN})
    assert (found["status"], [one["status"] for one in found["cameras"]]) == ("complete", ["complete"] * 2)
    gate = found["cameras"][0]
    assert (gate["camera"], gate["name"], gate["recorder"]) == ("gate", "大门", "一号录像机")
    assert gate["clock_offset_seconds"] == pytest.approx(OFFSET.total_seconds(), abs=2)
    assert found["overwritten_at"] == (RECORDED + timedelta(days=30)).isoformat()
    with jobs.database.reading() as session:
        assert cases.of_instance(session, INSTANCE).overwritten_at == RECORDED + timedelta(days=30)


def test_coverage_names_the_gap_and_calls_the_whole_partial(jobs: Jobs) -> None:
    begin, end = NOON - timedelta(minutes=5), NOON + timedelta(minutes=2)
    span = {"start_at": begin.isoformat(), "end_at": end.isoformat()}
    found = jobs.run("recorder/coverage", "coverage", {"cameras": ["gate", "lobby"], **span})
    assert (found["status"], found["cameras"][1]["status"]) == ("partial", "partial")
    ((begins, ends, cause),) = found["cameras"][1]["gaps"]
    assert (ends, cause) == (span["end_at"], "not_recorded")
    assert begins < span["end_at"]


def test_coverage_of_a_time_long_overwritten_is_none(jobs: Jobs) -> None:
    past = RECORDED - timedelta(days=100)
    span = {"start_at": past.isoformat(), "end_at": (past + timedelta(minutes=1)).isoformat()}
    found = jobs.run("recorder/coverage", "coverage", {"cameras": ["gate"], **span})
    assert (found["status"], found["overwritten_at"]) == ("none", None)


def test_a_time_read_from_the_recorders_picture_is_corrected_by_its_offset(jobs: Jobs) -> None:
    jobs.data["application"]["clock_basis"] = "recorder"
    found = jobs.run("recorder/coverage", "coverage", {"cameras": ["gate"], **SPAN})
    shifted = RECORDED - timedelta(seconds=found["cameras"][0]["clock_offset_seconds"])
    assert found["cameras"][0]["requested"][0] == shifted.isoformat()
    jobs.data["coverage"] = found
    report = jobs.run("recorder/acquire", "acquire", GATE)["report"]
    assert report["requested"]["start"] == shifted.isoformat()


def test_an_unreachable_recorder_is_tried_again_before_the_diagram_hears_of_it(jobs: Jobs) -> None:
    point_recorder_at(jobs, "http://127.0.0.1:1/onvif/device_service")
    params = {"cameras": ["gate"], **SPAN}
    with pytest.raises(RecorderUnreachableError, match="一号录像机"):
        jobs.run("recorder/coverage", "coverage", params, attempt=1, last_attempt=False)
    with pytest.raises(BpmnError, match="一号录像机") as caught:
        jobs.run("recorder/coverage", "coverage", params, attempt=3, last_attempt=False)
    assert caught.value.code == "RECORDER_UNREACHABLE"


@pytest.mark.parametrize("operator", ["recorder/coverage", "recorder/acquire"])
def test_a_wrong_password_is_a_refusal(jobs: Jobs, operator: str) -> None:
    with jobs.database.transaction() as session:
        get_recorder(session, "nvr-1").secret = ""
    params = {"cameras": ["gate"], **SPAN} if operator == "recorder/coverage" else GATE
    with pytest.raises(BpmnError) as caught:
        jobs.run(operator, "refused", params)
    assert caught.value.code == "RECORDER_REFUSED"
    assert items(jobs) == []


def test_a_camera_that_left_the_register_is_a_refusal(jobs: Jobs) -> None:
    with pytest.raises(BpmnError, match="attic") as caught:
        jobs.run("recorder/acquire", "acquire", {**GATE, "camera": "attic"})
    assert caught.value.code == "RECORDER_REFUSED"


def test_preflight_finds_everything_ready(jobs: Jobs) -> None:
    found = jobs.run("recorder/preflight", "preflight", {"cameras": ["gate", "garage"], **SPAN})
    assert found["ready"] is True
    assert [(check["camera"], check["ok"]) for check in found["checks"]] == [
        ("gate", True),
        ("garage", True),
        ("", True),
        ("", True),
        ("", True),
    ]
    assert 0 < found["estimated_bytes"] < found["free_bytes"]


def test_preflight_reports_a_recorder_that_does_not_answer(jobs: Jobs) -> None:
    point_recorder_at(jobs, "http://127.0.0.1:1/onvif/device_service")
    found = jobs.run("recorder/preflight", "preflight", {"cameras": ["gate"], **SPAN})
    assert found["ready"] is False
    assert found["checks"][0]["ok"] is False
    assert found["checks"][0]["detail"]


def test_preflight_reports_that_the_footage_will_not_fit(jobs: Jobs) -> None:
    years = {"start_at": SPAN["start_at"], "end_at": (RECORDED + timedelta(days=30_000)).isoformat()}
    found = jobs.run("recorder/preflight", "preflight", {"cameras": ["gate"], **years})
    assert [check["ok"] for check in found["checks"]] == [True, True, True, False]


def test_preflight_reports_that_no_playback_is_free(jobs: Jobs, simulator: Simulator) -> None:
    simulator.recorder.playing.add("somebody else's")
    try:
        found = jobs.run("recorder/preflight", "preflight", {"cameras": ["gate"], **SPAN})
    finally:
        simulator.recorder.playing.clear()
    assert [check["ok"] for check in found["checks"]] == [True, False, True, True]
    assert "playback" in found["checks"][1]["detail"]
    again = jobs.run("recorder/preflight", "preflight", {"cameras": ["gate"], **SPAN})
    assert again["ready"] is True, "looking takes nothing"
    assert simulator.recorder.playing == set()


# ---- acquisition ----------------------------------------------------------------------------------------------------


def test_an_acquisition_becomes_a_read_only_master_with_its_report(jobs: Jobs) -> None:
    answer = jobs.run("recorder/acquire", "acquire", GATE)
    (master,) = items(jobs, "master")
    path = file_of(jobs, master)
    assert (answer["camera"], answer["item"], answer["complete"]) == ("gate", master.id, True)
    assert master.digest == hash_file(path) == "sha256:" + answer["report"]["sha256"].removeprefix("sha256:")
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.is_relative_to(jobs.settings.data / "cases" / "调取-2026-0001" / "masters")
    (report,) = items(jobs, "report")
    assert report.master_id == master.id
    assert orjson.loads(file_of(jobs, report).read_bytes()) == answer["report"]
    assert events(jobs) == ["opened", "acquired", "reported"]
    assert any(facts.get("recorder") == "一号录像机" for facts in jobs.told)


def test_an_acquisition_that_is_done_is_verified_and_not_done_again(jobs: Jobs, simulator: Simulator) -> None:
    first = jobs.run("recorder/acquire", "acquire", GATE)
    played = simulator.calls["RTSP PLAY"]
    assert jobs.run("recorder/acquire", "acquire", GATE, epoch=2) == first
    assert simulator.calls["RTSP PLAY"] == played
    assert events(jobs) == ["opened", "acquired", "reported"]


def test_a_master_that_was_damaged_meanwhile_is_not_passed_off_as_sound(jobs: Jobs) -> None:
    jobs.run("recorder/acquire", "acquire", GATE)
    path = file_of(jobs, items(jobs, "master")[0])
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff\x00\xff")
    with pytest.raises(BpmnError, match="damaged"):
        jobs.run("recorder/acquire", "acquire", GATE, epoch=2)


def test_another_task_makes_another_master_of_the_same_camera(jobs: Jobs) -> None:
    first = jobs.run("recorder/acquire", "first round", GATE)
    second = jobs.run("recorder/acquire", "second round", GATE)
    assert first["item"] != second["item"]
    assert len({item.path for item in items(jobs, "master")}) == 2


def test_a_cancelled_acquisition_publishes_nothing(jobs: Jobs) -> None:
    def cancelled(**facts: Any) -> None:
        raise JobCancelledError("the lease is lost")

    with pytest.raises(JobCancelledError):
        jobs.run("recorder/acquire", "acquire", GATE, progress=cancelled)
    assert items(jobs) == []
    assert not (jobs.settings.data / "cases").exists()


def test_a_busy_recorder_is_tried_again_by_the_worker(jobs: Jobs) -> None:
    from device.operators.running import modelled

    with pytest.raises(RecorderBusyError), modelled(jobs.context("acquire")):
        raise RecorderBusyError("453")


def test_a_full_disk_is_the_error_that_the_diagram_catches(jobs: Jobs) -> None:
    from device.operators.running import modelled
    from device.storage import translated

    with pytest.raises(BpmnError) as caught, modelled(jobs.context("acquire")), translated("data"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.code == "DISK_FULL"


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_an_acquisition_killed_at_any_moment_ends_in_the_same_file(jobs: Jobs, calls: int) -> None:
    whole = jobs.run("recorder/acquire", "undisturbed", GATE)["report"]
    assert run_and_kill(jobs, "recorder/acquire", "killed", GATE, calls=calls) == -9
    answer = jobs.run("recorder/acquire", "killed", GATE, epoch=2, attempt=2)
    assert answer["report"]["sha256"] == whole["sha256"]
    assert answer["report"]["frames"] == whole["frames"]
    assert len(items(jobs, "master")) == 2
    assert events(jobs).count("acquired") == 2


# ---- check, viewing copy, copies ------------------------------------------------------------------------------------


def acquired(jobs: Jobs, camera: str = "gate") -> int:
    item = jobs.run("recorder/acquire", f"acquire {camera}", {**GATE, "camera": camera})["item"]
    assert isinstance(item, int)
    return item


def test_sound_footage_is_found_sound_once(jobs: Jobs) -> None:
    item = acquired(jobs)
    verdict = jobs.run("footage/check", "check", {"item": item})
    assert verdict["verdict"] in {"sound", "warning"}
    assert jobs.run("footage/check", "check", {"item": item}, epoch=2) == verdict
    assert events(jobs) == ["opened", "acquired", "reported", "checked"]
    assert [facts for facts in items(jobs, "report") if "verdict" in facts.facts]


def test_h265_becomes_a_viewing_copy_that_names_its_master(jobs: Jobs) -> None:
    item = acquired(jobs, "garage")
    answer = jobs.run("footage/viewing_copy", "view", {"item": item})
    (copy,) = items(jobs, "viewing_copy")
    assert (answer["item"], answer["transcoded"], answer["codec"]) == (copy.id, True, "hevc")
    assert (copy.master_id, copy.media_type, copy.camera) == (item, "video/mp4", "garage")
    assert jobs.run("footage/viewing_copy", "view", {"item": item}, epoch=2) == answer


def test_h264_is_not_transcoded(jobs: Jobs) -> None:
    answer = jobs.run("footage/viewing_copy", "view", {"item": acquired(jobs)})
    assert (answer["transcoded"], answer["codec"]) == (False, "h264")


def test_every_item_has_two_copies_read_back_from_two_stores(jobs: Jobs) -> None:
    item = acquired(jobs)
    jobs.run("footage/viewing_copy", "view", {"item": item})
    copies = jobs.run("evidence/back_up", "backup", {})["copies"]
    assert sorted((copy["kind"], copy["store"]) for copy in copies) == [
        ("master", "backup"),
        ("master", "primary"),
        ("viewing_copy", "backup"),
        ("viewing_copy", "primary"),
    ]
    for copy in copies:
        root = Path(getattr(jobs.settings, f"store_{copy['store']}").removeprefix("file://"))
        assert hash_file(root / copy["key"]) == copy["sha256"]
    assert jobs.run("evidence/back_up", "backup", {}, epoch=2)["copies"] == copies


def test_a_backup_that_was_killed_is_completed(jobs: Jobs) -> None:
    acquired(jobs)
    assert run_and_kill(jobs, "evidence/back_up", "backup", {}, calls=2) == -9
    assert len(jobs.run("evidence/back_up", "backup", {}, epoch=2)["copies"]) == 2
    with jobs.database.reading() as session:
        assert len(session.scalars(select(EvidenceCopy)).all()) == 4  # master and report, on each store


def test_footage_that_failed_the_playback_check_is_not_backed_up(jobs: Jobs) -> None:
    rejected = jobs.run("recorder/acquire", "first round", GATE)["item"]
    kept = jobs.run("recorder/acquire", "second round", GATE)["item"]
    jobs.data["acquisitions"] = [{"camera": "gate", "item": kept}]
    backed_up = {copy["item"] for copy in jobs.run("evidence/back_up", "backup", {})["copies"]}
    assert (kept in backed_up, rejected in backed_up) == (True, False)


def test_a_store_that_fails_is_the_error_that_the_diagram_catches(jobs: Jobs, tmp_path: Path) -> None:
    acquired(jobs)
    (tmp_path / "backup").write_text("no folder")
    with pytest.raises(BpmnError) as caught:
        jobs.run("evidence/back_up", "backup", {})
    assert caught.value.code == "STORE_FAILED"


def test_discarded_working_copies_are_gone_and_the_stored_ones_stay(jobs: Jobs) -> None:
    acquired(jobs)
    (master,) = items(jobs, "master")
    path = file_of(jobs, master)
    jobs.run("evidence/back_up", "backup", {})
    answer = jobs.run("evidence/discard_working_copies", "discard", {"reason": "撤回"})
    assert master.path in answer["discarded"]
    assert not path.exists()
    assert items(jobs) == []
    assert "discarded" in events(jobs)
    with jobs.database.reading() as session:
        stored = evidence.locate(session, jobs.settings, session.get_one(EvidenceItem, master.id))
    assert hash_file(stored) == master.digest
    assert jobs.run("evidence/discard_working_copies", "discard", {"reason": "撤回"}, epoch=2) == {"discarded": []}


def test_footage_without_any_copy_left_is_said_to_be_missing(jobs: Jobs) -> None:
    acquired(jobs)
    (master,) = items(jobs, "master")
    jobs.run("evidence/discard_working_copies", "discard", {"reason": "撤回"})
    with jobs.database.reading() as session, pytest.raises(FileMissingError):
        evidence.locate(session, jobs.settings, session.get_one(EvidenceItem, master.id))
