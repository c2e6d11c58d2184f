"""Preparing, retrieving, checking and backing up footage on the real system (clauses 3.1, 3.2, 3.3, N1)."""

import re
import shutil
import stat
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from office import ANSWERS, Office, Request
from sqlalchemy import update
from sqlalchemy.orm import Session
from stages import Arrive
from visitor import parsed

from device import media
from device.models import EvidenceItem
from device.recorders.base import Span
from device.simulator import annexb_digests
from device.storage import AlreadyStoredError, hash_file, open_stores
from engine.models import Qualification

TRAINED = ["confirm_readiness", "check_playback", "complete_record"]


def items(request: Request, *kinds: str) -> list[EvidenceItem]:
    return request.items(*kinds)


def retrieved(request: Request) -> dict[str, bool]:
    """Which cameras have been retrieved, and whether whole."""
    return {one["camera"]: one["complete"] for one in request.data["acquisitions"]}


# ---- 3.1 ------------------------------------------------------------------------------------------------------------


def test_3_1_pre_flight_sees_clock_playback_ffmpeg_and_disk(at: Arrive) -> None:
    request = at("confirm_readiness")
    found = request.data["preflight"]
    assert found["ready"] is True
    details = [f"{check['name']}: {check['detail']}" for check in found["checks"]]
    patterns = (
        r"东大门: .*clock is \+3[67]\.\d\d s off",
        "1号录像机: a playback is free",
        "ffmpeg .* present",
        r"storage: about \d+ MB",
    )
    for detail, pattern in zip(details, patterns, strict=True):
        assert re.search(pattern, detail), detail
    assert 0 < found["estimated_bytes"] < found["free_bytes"]
    shown = parsed(request.office.person("operator").get(f"/tasks/{request.task('confirm_readiness').id}"))
    assert "a playback is free" in shown.text_content()


def test_3_1_what_is_not_ready_is_said_and_checked_again(office: Office) -> None:
    request = office.apply("gate", "annex").lead("vote_committee")
    office.annex.stop()
    try:
        request.vote(member1="approve", member2="approve")
        office.work()
        found = request.data["preflight"]
        assert found["ready"] is False
        assert [check["name"] for check in found["checks"] if not check["ok"]] == ["5号 附楼"]
    finally:
        office.annex.start()
    assert request.decide("confirm_readiness", "ready").fields == {"equipment_ready"}
    assert request.decide("confirm_readiness", "recheck").status == 200
    office.work()
    assert request.waiting == {"confirm_readiness"}
    assert request.data["preflight"]["ready"] is True


def test_3_1_somebody_elses_playback_is_seen(at: Arrive) -> None:
    request = at("confirm_readiness")
    playing = request.office.recorder.recorder.playing
    playing.add("somebody else's")
    try:
        request.decide("confirm_readiness", "recheck")
        request.office.work()
    finally:
        playing.clear()
    assert [check["name"] for check in request.data["preflight"]["checks"] if not check["ok"]] == ["1号录像机"]


# ---- N1 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("element", TRAINED)
def test_n1_without_training_nobody_claims_or_completes(at: Arrive, element: str) -> None:
    """`untrained` has the role; their training record is missing."""
    request = at(element)
    person, task = request.office.person("untrained"), request.task(element)
    body = {"data": ANSWERS[element][1], "signature": {"password": "diaoqu-demo-2026"}}
    for verb in ("claim", "complete"):
        answer = person.api("POST", f"/tasks/{task.id}/{verb}", body)
        assert answer.status == 403
        assert "training" in answer.detail
    assert request.waiting == {element}


@pytest.mark.parametrize("element", TRAINED)
def test_n1_a_lapsed_training_record_stops_claiming_and_completing(at: Arrive, element: str) -> None:
    request = at(element)
    operator, task = request.office.person("operator"), request.task(element)
    assert operator.api("POST", f"/tasks/{task.id}/claim").status == 200

    def lapse(session: Session) -> None:
        ended = request.office.now - timedelta(minutes=1)
        session.execute(update(Qualification).where(Qualification.username == "operator").values(valid_until=ended))

    request.office.directory(lapse)
    body = {"data": ANSWERS[element][1], "signature": {"password": "diaoqu-demo-2026"}}
    answer = operator.api("POST", f"/tasks/{task.id}/complete", body)
    assert answer.status == 403
    assert "training" in answer.detail
    assert operator.api("POST", f"/tasks/{task.id}/claim").status == 403
    page = operator.get(f"/tasks/{task.id}")
    assert "training" in page.text
    assert request.waiting == {element}


@pytest.mark.parametrize(
    "username", ["applicant", "head", "reviewer", "archivist", "member1", "owner", "admin", "auditor"]
)
def test_n1_without_the_role_nobody_retrieves(at: Arrive, username: str) -> None:
    request = at("confirm_readiness")
    answer = request.submit("confirm_readiness", ANSWERS["confirm_readiness"][1], by=username)
    assert answer.status in (403, 404)
    assert request.waiting == {"confirm_readiness"}


# ---- 3.2: several cameras -------------------------------------------------------------------------------------------


def three_cameras(office: Office) -> Request:
    """Retrieval from three cameras has begun, and the recorder of one of them is switched off."""
    request = office.apply("gate", "annex", "counter").lead("confirm_readiness")
    assert request.decide("confirm_readiness", "ready", equipment_ready=True).status == 200
    office.annex.stop()
    try:
        office.work()
    finally:
        office.annex.start()
    return request


def test_3_2_of_three_cameras_one_fails_and_the_others_run_on(office: Office) -> None:
    request = three_cameras(office)
    assert request.waiting == {"handle_camera_fault"}
    assert len([task for task in request.open_tasks() if task.element == "handle_camera_fault"]) == 1
    assert sorted(item.camera for item in items(request, "master")) == ["counter", "gate"]
    assert sorted(item.camera for item in items(request, "viewing_copy")) == ["counter", "gate"]
    page = office.person("operator").get(f"/tasks/{request.task('handle_camera_fault').id}").text
    assert "2号录像机" in page or "附楼" in page, "the operator is told which camera it is"
    masters = {item.camera: item.digest for item in items(request, "master")}
    assert request.decide("handle_camera_fault", "retry", by="operator").status == 200
    office.work()
    assert request.waiting == {"check_playback"}
    assert retrieved(request) == {"gate": True, "annex": True, "counter": True}
    assert {item.camera: item.digest for item in items(request, "master") if item.camera != "annex"} == masters


def test_3_2_a_camera_that_cannot_be_retrieved_is_skipped_with_a_reason(office: Office) -> None:
    request = three_cameras(office)
    assert request.decide("handle_camera_fault", "skip", by="operator").fields == {"comment"}
    assert request.decide("handle_camera_fault", "skip", "附楼停电", by="operator").status == 200
    assert request.waiting == {"check_playback"}
    skipped = [(one["camera"], one.get("reason")) for one in request.data["acquisitions"] if one["skipped"]]
    assert skipped == [("annex", "附楼停电")]
    request.lead("complete_record")
    assert {copy["item"] for copy in request.data["backup"]["copies"]} == {
        item.id for item in items(request, "master", "viewing_copy")
    }


def test_3_2_when_no_camera_delivers_the_case_is_closed(office: Office) -> None:
    request = office.apply("annex").lead("confirm_readiness")
    assert request.decide("confirm_readiness", "ready", equipment_ready=True).status == 200
    office.annex.stop()
    try:
        office.work()
    finally:
        office.annex.start()
    assert request.decide("handle_camera_fault", "skip", "附楼停电", by="operator").status == 200
    assert (request.instance.state, request.case.outcome, request.case.reason) == (
        "completed",
        "no_footage",
        "附楼停电",
    )
    assert "附楼停电" in request.told("applicant")[-1]


# ---- 3.2: what was retrieved ----------------------------------------------------------------------------------------


def test_3_2_the_masters_have_exactly_the_recorders_frames(office: Office) -> None:
    """H.264, H.265 and a camera with a microphone."""
    request = office.apply("gate", "garage", "counter").lead("check_playback")
    assert retrieved(request) == {"gate": True, "garage": True, "counter": True}
    assert {one["camera"]: one["verdict"] for one in request.data["acquisitions"]} == {
        "gate": "sound",
        "garage": "sound",
        "counter": "sound",
    }
    for master in items(request, "master"):
        report = master.facts["report"]
        asked = Span(*(request_time(report, edge) for edge in ("start", "end")))
        held = office.recorder.frames(master.camera, asked, lead_in=True)
        assert pictures(request.file(master)) == [frame.digest for frame in held]
        assert report["frames"] == len(held)
    for copy in items(request, "viewing_copy"):
        streams = [stream.codec for stream in media.probe(request.file(copy)).streams]
        assert streams == (["h264", "aac"] if copy.camera == "counter" else ["h264"]), "every browser plays it"


def request_time(report: dict[str, dict[str, str]], edge: str) -> datetime:
    """The requested instant on the recorder's clock."""
    offset = timedelta(seconds=float(report["clock"]["offset"]))
    return datetime.fromisoformat(report["requested"][edge]) + offset


def pictures(path: Path) -> list[str]:
    """The digest of each frame in a file, as the simulator writes them."""
    video = media.probe(path).video
    assert video is not None
    command = [media.ffmpeg_path(), "-v", "error", "-i", str(path), "-map", "0:v", "-c", "copy", "-f", video.codec, "-"]
    stream = subprocess.run(command, capture_output=True, check=True).stdout
    return annexb_digests(stream, {"h264": "H264", "hevc": "H265"}[video.codec])


def test_3_2_the_master_is_hashed_and_described_when_it_arrives(at: Arrive) -> None:
    request = at("check_playback")
    (master,) = items(request, "master")
    report = master.facts["report"]
    assert hash_file(request.file(master)) == master.digest == f"sha256:{report['sha256'].removeprefix('sha256:')}"
    assert report["complete"] is True
    assert {"manufacturer", "model", "serial", "firmware"} <= report["recorder"].keys()
    assert abs(report["clock"]["offset"] - 37) < 1
    assert report["clock"]["method"]
    kinds = [event.kind for event in request.log()]
    assert kinds == ["opened", "acquired", "reported", "checked", "derived"]


def test_3_2_the_playback_check_is_made_in_the_browser(at: Arrive) -> None:
    request = at("check_playback")
    operator = request.office.person("operator")
    page = parsed(operator.get(f"/tasks/{request.task('check_playback').id}"))
    assert page.xpath("//video/@src") == [request.footage()]
    whole = operator.get(request.footage())
    assert (whole.status_code, whole.mimetype) == (200, "video/mp4")
    part = operator.get(request.footage(), headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.data) == (206, whole.data[1000:2000]), "one can seek in it"


@pytest.mark.parametrize("missing", ["complete", "clear", "continuous", "undamaged"])
def test_3_2_nothing_is_backed_up_before_the_playback_check_is_passed(at: Arrive, missing: str) -> None:
    request = at("check_playback")
    answers = {**ANSWERS["check_playback"][1], missing: False}
    assert request.submit("check_playback", answers, by="operator").fields == {missing}
    request.office.work()
    assert request.waiting == {"check_playback"}
    assert request.log("copied") == []


def test_3_2_a_failed_playback_check_retrieves_again(at: Arrive) -> None:
    request = at("check_playback")
    (first,) = items(request, "master")
    assert request.decide("check_playback", "retry").fields == {"comment"}
    assert request.decide("check_playback", "retry", "画面花屏").status == 200
    request.lead("complete_record")
    before, again = items(request, "master")
    assert (before.id, before.digest, before.discarded_at) == (first.id, first.digest, None), (
        "a master is never rewritten"
    )
    assert request.data["acquisitions"][0]["item"] == again.id != first.id
    copied = {copy["item"] for copy in request.data["backup"]["copies"]}
    assert (again.id in copied, first.id in copied) == (True, False)


# ---- 3.3 ------------------------------------------------------------------------------------------------------------


def test_3_3_two_copies_are_read_back_from_two_stores(at: Arrive) -> None:
    request = at("complete_record")
    stores = {store.name: store for store in open_stores(request.office.settings)}
    assert len(stores) == 2
    for item in items(request, "master", "viewing_copy", "report"):
        assert {copy.store for copy in item.copies} == set(stores)
        for copy in item.copies:
            assert stores[copy.store].digest(copy.key) == copy.digest == item.digest
            assert copy.verified_at >= copy.stored_at
    copies = request.data["backup"]["copies"]
    assert sorted({copy["store"] for copy in copies}) == sorted(stores)
    assert len(request.log("copied")) == 2 * len(items(request))


def test_3_3_a_master_is_written_once(at: Arrive, tmp_path: Path) -> None:
    request = at("complete_record")
    (master,) = items(request, "master")
    other = tmp_path / "other.mkv"
    other.write_bytes(b"something else")
    paths = [request.file(master)]
    for store in open_stores(request.office.settings):
        (copy,) = [copy for copy in master.copies if copy.store == store.name]
        with pytest.raises(AlreadyStoredError):
            store.put(copy.key, other, hash_file(other))
        assert store.digest(copy.key) == master.digest
        paths.append(request.office.folder / "store" / store.name / copy.key)
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) & 0o222 == 0, f"{path} may be written"
        assert hash_file(path) == master.digest


def test_3_3_a_store_that_fails_is_repaired_and_the_backup_repeated(at: Arrive) -> None:
    request = at("check_playback")
    backup = request.office.folder / "store" / "backup"
    shutil.rmtree(backup, ignore_errors=True)
    backup.parent.mkdir(parents=True, exist_ok=True)
    backup.write_text("a disk that is not there")
    assert request.submit("check_playback", ANSWERS["check_playback"][1], by="operator").status == 200
    request.office.work()
    assert request.waiting == {"handle_store_fault"}
    assert request.grants() == [], "nothing is handed over that is not safe"
    backup.unlink()
    assert request.decide("handle_store_fault", "retry", by="operator").status == 200
    request.lead("complete_record")
    assert all(len(item.copies) == 2 for item in items(request, "master", "viewing_copy"))
