"""The archived bag, withdrawal, a new version in mid-case, verification, on the real system (5.1, N3, F3, conduct)."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pypdf
import pytest
from office import Office, Request
from sqlalchemy import select
from stages import Arrive
from visitor import parsed

from device.bags import verify_bag
from device.models import ArchiveEntry
from device.storage import hash_file, open_stores
from engine import definitions, replay
from engine.settings import ROOT

STAGES = ("sign_application", "vote_committee", "check_playback", "complete_record", "register_shelf")


def bag_of(request: Request, store: str = "primary") -> Path:
    return request.office.folder / "store" / store / str(request.data["archive"]["key"])


def entry_of(request: Request) -> ArchiveEntry:
    with request.office.database.reading() as session:
        return session.scalars(select(ArchiveEntry).where(ArchiveEntry.case_id == request.case.id)).one()


def text_of(pdf: bytes) -> str:
    return "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages).replace("\n", "")


# ---- 5.1: the bag ---------------------------------------------------------------------------------------------------


def test_5_1_the_bag_lies_on_both_stores_and_validates(at: Arrive) -> None:
    request = at("archived")
    assert (request.instance.state, request.case.outcome) == ("completed", "archived")
    for store in ("primary", "backup"):
        bag = bag_of(request, store)
        assert verify_bag(bag) == []
        checked = subprocess.run(
            [sys.executable, "-m", "bagit", "--validate", str(bag)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
    assert request.data["archive"]["valid"] is True
    assert request.case.number in request.told("applicant")[-1]


def test_5_1_the_bag_holds_masters_forms_and_history(at: Arrive) -> None:
    request = at("archived")
    payload = bag_of(request) / "data"
    for item in request.items("master", "viewing_copy"):
        folder = {"master": "footage", "viewing_copy": "viewing"}[item.kind]
        assert hash_file(payload / folder / Path(item.path).name) == item.digest
    assert len(list((payload / "reports").iterdir())) == 2, "the acquisition and the verdict"
    application = text_of((payload / "forms" / "application_form.pdf").read_bytes())
    record = text_of((payload / "forms" / "record_form.pdf").read_bytes())
    for text, parts in (
        (application, ("视频监控录像调取申请表", request.case.number, "核实东门一起车辆刮擦的经过", "王主管", "委员")),
        (record, ("视频监控录像调取记录表", request.case.number, "东大门", "钱调取", "孙档案")),
    ):
        for part in parts:
            assert part in text, part
    data = json.loads((payload / "forms" / "process_data.json").read_text())
    assert data["application"] == json.loads((payload / "forms" / "application.json").read_text())
    assert data["record"]["signature"]
    signed = json.loads((payload / "forms" / "signatures.json").read_text())
    assert [one["username"] for one in signed] == ["head", "operator", "archivist"]
    described = {one["file"]: one for one in json.loads((payload / "items.json").read_text())}
    for name, one in described.items():
        assert hash_file(payload / name) == one["sha256"]
    (viewing,) = [one for one in described.values() if one["kind"] == "viewing_copy"]
    (master,) = [one for one in described.values() if one["kind"] == "master"]
    assert viewing["master_sha256"] == master["sha256"], "a derivative names its master"


def test_5_1_the_bag_holds_the_diagram_and_the_history_up_to_archiving(at: Arrive) -> None:
    request = at("archived")
    payload = bag_of(request) / "data"
    with request.office.database.reading() as session:
        deployed = definitions.files(session, request.instance.definition_id)
    held = {str(path.relative_to(payload / "diagram")) for path in (payload / "diagram").rglob("*") if path.is_file()}
    assert held == {*deployed, "definition.json"}
    assert (payload / "diagram" / "footage_retrieval.bpmn").read_text() == deployed["footage_retrieval.bpmn"]
    assert json.loads((payload / "diagram" / "definition.json").read_text())["version"] == 1
    lines = [orjson.loads(line) for line in (payload / "history" / "process.jsonl").read_bytes().splitlines()]
    history = request.office.person("auditor").api("GET", f"/instances/{request.id}/history").body
    assert [line["digest"] for line in lines] == [event["digest"] for event in history[: len(lines)]]
    assert [event["kind"] for event in history[len(lines) :]] == ["result"], "only the archiving itself comes after"
    heads = json.loads((payload / "history" / "heads.json").read_text())
    assert (heads["process"], heads["process_seq"]) == (lines[-1]["digest"], len(lines))
    custody = [orjson.loads(line) for line in (payload / "history" / "custody.jsonl").read_bytes().splitlines()]
    assert {"opened", "acquired", "checked", "derived", "copied", "granted"} <= {event["kind"] for event in custody}
    assert heads["custody"] == custody[-1]["digest"]


def test_5_1_damage_to_the_bag_is_found(at: Arrive) -> None:
    request = at("archived")
    bag = bag_of(request)
    (master,) = (bag / "data" / "footage").iterdir()
    master.chmod(0o644)
    content = bytearray(master.read_bytes())
    content[len(content) // 2] ^= 1
    master.write_bytes(content)
    assert verify_bag(bag) != []
    assert verify_bag(bag_of(request, "backup")) == [], "the other copy is sound"


def test_5_1_shelf_medium_and_custodian_are_registered(at: Arrive) -> None:
    request = at("archived")
    entry = entry_of(request)
    assert (entry.shelf, entry.medium, entry.custodian) == ("A-03-17", "disk_array", "孙档案")
    assert entry.bag_key == request.data["archive"]["key"]
    page = request.office.person("archivist").get("/archive/?q=A-03-17").text
    for part in (request.case.number, "A-03-17", "孙档案"):
        assert part in page
    assert request.office.person("applicant").get("/archive/").status_code == 403


@pytest.mark.parametrize("missing", ["shelf", "medium", "custodian"])
def test_5_1_nothing_is_archived_without_its_place(at: Arrive, missing: str) -> None:
    request = at("register_shelf")
    answers = {"shelf": "A-1", "medium": "optical", "custodian": "孙档案", missing: ""}
    assert request.submit("register_shelf", answers, by="archivist").fields == {missing}
    request.office.work()
    assert request.waiting == {"register_shelf"}


def test_5_1_a_store_that_fails_is_repaired_and_the_bag_put_again(at: Arrive) -> None:
    request = at("register_shelf")
    archive = request.office.folder / "store" / "backup" / "archive"
    archive.write_text("in the way")
    answers = {"shelf": "A-1", "medium": "optical", "custodian": "孙档案"}
    assert request.submit("register_shelf", answers, by="archivist").status == 200
    request.office.work()
    assert request.waiting == {"handle_archive_fault"}
    archive.unlink()
    assert request.decide("handle_archive_fault", "retry", by="archivist").status == 200
    request.office.work()
    assert request.case.outcome == "archived"
    for store in open_stores(request.office.settings):
        assert verify_bag(bag_of(request, store.name)) == []


# ---- withdrawal -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_conduct_the_applicant_withdraws_at_any_time_before_the_end(at: Arrive, stage: str) -> None:
    request = at(stage)
    working = [request.file(item) for item in request.items()]
    copies = [copy for item in request.items() for copy in item.copies]
    footage = request.footage() if request.items("viewing_copy") else ""
    task = request.open_tasks()[0]
    assert request.withdraw("已另行解决").status_code == 302
    assert (request.instance.state, request.case.outcome, request.case.reason) == (
        "completed",
        "withdrawn",
        "已另行解决",
    )
    assert request.waiting == set()
    assert not any(path.exists() for path in working), "working copies are cleaned up"
    assert len(request.log("discarded")) == len(working)
    stores = {store.name: store for store in open_stores(request.office.settings)}
    assert all(stores[copy.store].digest(copy.key) == copy.digest for copy in copies), "what is on the stores stays"
    assert all(grant.revoked_at for grant in request.grants())
    if footage:
        assert request.office.person("applicant").get(footage).status_code == 404
    late = request.office.person(task.assignee or "operator").api("POST", f"/tasks/{task.id}/claim")
    assert late.status in (403, 404, 409)
    assert request.withdraw().status_code == 409
    assert "已另行解决" in request.office.person("applicant").get(request.page).text


def test_conduct_a_withdrawal_stops_a_retrieval_under_way(office: Office) -> None:
    request = office.apply("gate", "counter").lead("confirm_readiness")
    assert request.decide("confirm_readiness", "ready", equipment_ready=True).status == 200
    office.work(until="check_footage")
    assert [item.kind for item in request.items("master")], "one camera has been retrieved"
    assert request.waiting == {"acquire_footage", "check_footage"}
    assert request.withdraw().status_code == 302
    assert request.case.outcome == "withdrawn"
    assert request.items() == []
    assert request.waiting == set()


def test_conduct_a_request_is_withdrawn_before_it_is_submitted(office: Office) -> None:
    request = office.begin()
    assert request.withdraw("填错了").status_code == 302
    assert request.instance.state == "completed"
    assert request.waiting == set()


def test_conduct_only_the_applicant_withdraws_and_says_why(at: Arrive) -> None:
    request = at("vote_committee")
    for other in ("colleague", "head", "reviewer", "member1"):
        page = request.office.person(other).post(f"/requests/{request.id}/withdraw", {"reason": "不必要"})
        assert page.status_code == 404
        message = {"name": "withdraw", "correlation": {"instance": str(request.id)}, "data": {"reason": "不必要"}}
        assert request.office.person(other).api("POST", "/messages", message).status in (403, 404)
    assert request.withdraw("").status_code == 422
    assert request.waiting == {"vote_committee"}


@pytest.mark.parametrize("data", [{}, {"reason": ""}, {"reason": None}, {"reason": ["x"]}])
def test_conduct_a_withdrawal_over_the_api_says_why_too(at: Arrive, data: dict[str, Any]) -> None:
    request = at("vote_committee")
    message = {"name": "withdraw", "correlation": {"instance": str(request.id)}, "data": data}
    answer = request.office.person("applicant").api("POST", "/messages", message)
    assert 400 <= answer.status < 500
    assert request.waiting == {"vote_committee"}
    assert request.office.incidents() == []


def test_conduct_an_archived_case_cannot_be_withdrawn(at: Arrive) -> None:
    request = at("archived")
    assert request.withdraw().status_code == 409
    assert request.case.outcome == "archived"
    assert request.log("discarded") == []


# ---- F3: a new version ----------------------------------------------------------------------------------------------


def test_f3_a_running_case_stays_on_its_version(at: Arrive) -> None:
    """The new version gives the reviewer one day instead of three; the case under way is not touched."""
    request = at("review_request")
    office = request.office
    text = (ROOT / "bpmn" / "footage_retrieval.bpmn").read_text()
    assert "P3D</bpmn:timeDuration>" in text
    text = text.replace("P3D</bpmn:timeDuration>", "P1D</bpmn:timeDuration>").replace(
        "初审（合法、合理）", "初审（新版）"
    )
    for person, status in (("operator", 403), ("owner", 201)):
        posted = {"file": (io.BytesIO(text.encode()), "footage_retrieval.bpmn"), "note": "期限缩短为一天"}
        headers = {"Authorization": f"Bearer {office.tokens[person]}"}
        answer = office.app.test_client().post("/api/v1/deployments", data=posted, headers=headers)
        assert answer.status_code == status, answer.text
    newer = office.apply(by="colleague").lead("review_request")
    assert (request.instance.version, newer.instance.version) == (1, 2)
    names = [found.task("review_request").name for found in (request, newer)]
    assert names == ["初审（合法、合理）", "初审（新版）"]
    office.wait(days=1, hours=1)
    assert (request.visited().count("escalate_review"), newer.visited().count("escalate_review")) == (0, 1)
    request.lead()
    assert request.case.outcome == "archived"
    diagram = (bag_of(request) / "data" / "diagram" / "footage_retrieval.bpmn").read_text()
    assert "初审（合法、合理）" in diagram
    assert "期限缩短为一天" in office.person("owner").get("/studio/footage_retrieval").text


# ---- verification ---------------------------------------------------------------------------------------------------


def test_every_finished_case_passes_verification_by_re_execution(at: Arrive) -> None:
    request = at("archived")
    verified = request.office.person("auditor").api("GET", f"/instances/{request.id}/verification").body
    assert (verified["ok"], verified["events"], verified["findings"]) == (True, request.instance.seq, [])


def test_a_forged_decision_is_found_by_re_execution(at: Arrive) -> None:
    request = at("archived")
    with request.office.database.transaction() as session:
        session.get_one(type(request.instance), request.id).data = {**request.data, "approval": {"decision": "refuse"}}
        session.flush()
        assert [finding.seq for finding in replay.verify(session, request.id).findings] == [0]
        session.rollback()


def test_the_history_page_steps_through_the_diagram(at: Arrive) -> None:
    request = at("archived")
    page = parsed(request.office.person("auditor").get(f"/audit/cases/{request.id}"))
    text = page.text_content()
    for name in ("Department head signs", "Preliminary review"):
        assert name in text
